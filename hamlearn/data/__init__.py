"""Posts and features of their images to batches."""
