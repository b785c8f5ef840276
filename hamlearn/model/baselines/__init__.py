"""The systems that the paper compares with, and what they share."""
