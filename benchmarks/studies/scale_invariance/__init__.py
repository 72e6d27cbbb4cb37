"""Nondimensionalization and scale-invariance: what learning rate and weight decay mean, given units and normalization.

Weights before a normaliser may be rescaled without changing the network; the gradient is then orthogonal to them, and
rate, decay and norm act through few combinations. Everything is in float64, with the optimizers that the networks of
the other studies are trained with.
"""
