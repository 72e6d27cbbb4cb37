"""Networks with more parameters than data: what they fit, by which path, where they end, and how good that is.

Experiments on linear models accompany those on networks: there the same statements are theorems.
"""
