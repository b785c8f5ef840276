"""What all tests share."""

from hypothesis import settings

# A shared machine may pause any example for longer than hypothesis expects.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
