"""Why do some optimizers work better than others? A fair comparison, and the mechanisms that are said to explain it."""
