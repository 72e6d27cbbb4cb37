"""The neural tangent kernel and the inductive bias of gradient descent: when networks train like their linearization,
how far the kernel moves when they do not, and which minimizer is found among many.
"""
