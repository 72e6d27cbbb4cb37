"""From lazy to rich: output multiplier and learning rate moved together, and how learning rates transfer in muP."""
