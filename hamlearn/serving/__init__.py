"""A page on this machine to try a model that was handed over."""
