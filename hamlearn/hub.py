"""Snapshots of the Hugging Face hub in its cache: found, and fetched only on request.

A snapshot is one revision of a repository. It is used whole or not at all: its config.json is
fetched last.
"""

import re
from pathlib import Path

from hamlearn.errors import HamlearnError

CONFIG = "config.json"
_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def is_id(name: str | Path) -> bool:
    """Return True if a name is no folder and can be an id of the hub."""
    path = Path(name)
    if not _ID.fullmatch(str(name)) or path.exists():
        return False
    return "/" not in str(name) or not path.parent.is_dir()  # else a mistyped folder in that one


def snapshot(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a snapshot in the cache, or None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, CONFIG, revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def local_folder(name: str, revision: str | None = None) -> Path:
    """Return a folder as it is, or that of the snapshot of an id of the hub. Nothing is fetched.

    Raises:
        HamlearnError: it is absent; the message says how it is fetched.
    """
    if not is_id(name):
        if not Path(name).is_dir():
            raise HamlearnError(f"{name}: found no such folder, expected one with {CONFIG}")
        return Path(name)
    found = snapshot(name, revision)
    if found is None:
        raise HamlearnError(
            f"{name}: found no snapshot of its revision {revision or 'main'} in the cache of the"
            " Hugging Face hub, which is not contacted unasked; expected one: fetch it by"
            " `python -m hamlearn weights fetch --settings FILE`, or name a folder"
        )
    return found
