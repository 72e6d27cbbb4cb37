"""Nondimensionalization and scale-invariance: what units and normalisers leave of learning rate and weight decay.

Weights before a normaliser may be scaled and the network stays the same; the gradient is then orthogonal to them, and
rate, decay and norm act through few combinations. Everything is in float64, with the optimizers that the networks of
the other studies are trained with.
"""
