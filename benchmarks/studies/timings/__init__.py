"""What things cost in seconds: a step of the training loop, Hessian eigenvalues, a step of each optimizer."""
