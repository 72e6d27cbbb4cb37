"""What runs: problems, architectures, optimizers, the training loop and the measurements.

Nothing here knows a file path, a pipeline or a tracking service.
"""
