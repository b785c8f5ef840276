"""What all tests share."""

import os

from hypothesis import settings

# A shared machine may pause any example for longer than hypothesis expects. The same examples come
# in every run; HYPOTHESIS_PROFILE=thorough draws others, and tests/fuzz ten times as many.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))
