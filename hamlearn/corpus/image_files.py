"""Which file is the picture of a post: an IMGID is a name, and never a path."""

import unicodedata
from functools import lru_cache
from pathlib import Path

from hamlearn.errors import HamlearnError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


def picture_path(directory: str | Path, image_id: str) -> Path | None:
    """Return the file of a picture, or None where the folder has none.

    An image id is a name, with its extension or without it. Among files of that name the extensions
    are tried in the order of EXTENSIONS, in whatever case. Accents may be composed in one of id and
    file name and not in the other, as happens when files come from another system.

    Args:
        directory: folder of pictures named by image id.
        image_id: the IMGID of a post.

    Raises:
        HamlearnError: the id is a path and not a name, or the folder is absent.
    """
    if image_id in ("", ".", "..") or any(mark in image_id for mark in "/\\\0"):
        raise HamlearnError(
            f"image id {image_id!r} is not a name: expected one without `/`, `\\` or NUL, "
            "other than `.` and `..`"
        )
    directory = Path(directory)
    extensions = ("", *EXTENSIONS) if image_id.lower().endswith(EXTENSIONS) else EXTENSIONS
    for name in dict.fromkeys((image_id, _composed(image_id))):
        for extension in extensions:
            path = directory / f"{name}{extension}"
            if path.is_file():
                return path
    if not directory.is_dir():
        raise HamlearnError(f"{directory}: no such folder; expected the pictures of the corpus")
    names = _unusual_names(directory, directory.stat().st_mtime_ns)
    for extension in extensions:
        unusual = names.get((_composed(image_id), extension))
        if unusual is not None:
            return directory / unusual
    return None


@lru_cache(maxsize=4)
def _unusual_names(directory: Path, changed: int) -> dict[tuple[str, str], str]:
    """List pictures whose extension has a capital letter or whose accents are apart.

    Each is there by its composed name without extension, and by that with it.
    """
    del changed  # part of the key alone: a folder that changed is listed anew
    names = {}
    for path in sorted(directory.iterdir(), reverse=True):
        extension = path.suffix.lower()
        if extension not in EXTENSIONS or not path.is_file():
            continue
        if path.suffix != extension or path.name != _composed(path.name):
            names[_composed(path.stem), extension] = path.name
            names[_composed(path.name), ""] = path.name
    return names


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
