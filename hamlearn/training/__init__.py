"""Training: the loop, the optimizer, checkpoints, and one run from posts to a model folder."""
