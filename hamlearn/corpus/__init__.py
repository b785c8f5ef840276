"""Read CoNLL files into posts, labels and statistics."""
