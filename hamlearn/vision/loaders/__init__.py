"""Backbones and detectors by the library that their source names: `from_` and its kind."""
