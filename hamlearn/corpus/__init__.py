"""Text in: CoNLL files become posts, labels and statistics."""
