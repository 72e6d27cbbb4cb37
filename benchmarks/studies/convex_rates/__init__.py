"""Classical convex optimization: worst-case rates on the functions that attain them, and a familiar convex problem.

Every experiment runs the optimizers that the networks are trained with, in float64.
"""
