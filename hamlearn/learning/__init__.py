"""Batches, training and prediction."""
