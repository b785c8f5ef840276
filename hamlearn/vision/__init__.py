"""Pixels in: pictures become image, object and box features."""
