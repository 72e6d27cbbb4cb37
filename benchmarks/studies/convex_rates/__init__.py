"""Classical convex optimization: worst-case rates on the functions that attain them, and a convex problem people know.

Every experiment runs the optimizers that the networks are trained with, in float64.
"""
