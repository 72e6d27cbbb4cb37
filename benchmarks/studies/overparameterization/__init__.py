"""Networks with more parameters than data: what they fit, by which way, where they end, and what that is worth.

Experiments on linear models stand beside those on networks: there the same statements are theorems.
"""
