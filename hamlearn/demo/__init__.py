"""The embedded demo: a drawn corpus and the tiny vision weights that read it."""
