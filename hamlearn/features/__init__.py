"""Boxes become relations, relations become graphs."""
