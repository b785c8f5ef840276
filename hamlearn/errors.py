"""The one error that a user is meant to read."""


class HamlearnError(ValueError):
    """Bad input: the message names the file, line or key, what was found and what was expected."""
