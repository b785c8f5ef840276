"""Functions of the user's own modules, named as `package.module:function`."""

import importlib
import sys
from pathlib import Path
from typing import Any

from hamlearn.errors import HamlearnError


def load_function(name: str, place: str) -> Any:
    """Import a function; its module may lie in the working directory.

    Args:
        name: `package.module:function`.
        place: key of the configuration, for messages.

    Raises:
        HamlearnError: the module cannot be imported, or has no such function.
    """
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), function)
    except Exception as error:  # the module is the user's, and may raise anything
        raise HamlearnError(
            f"{place}: found {name}, which cannot be imported: {type(error).__name__}:"
            f" {error!s:.300}"
        ) from error
