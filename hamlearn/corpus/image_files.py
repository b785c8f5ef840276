"""Find the image file of a post by its image id, which is a name and never a path."""

import unicodedata
from functools import lru_cache
from pathlib import Path

from hamlearn.errors import HamlearnError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


def is_file_name(image_id: str) -> bool:
    """Return True if an image id can be a file name: it is not empty and cannot leave a folder."""
    return image_id not in ("", ".", "..") and not any(mark in image_id for mark in "/\\\0")


def find_image(directory: str | Path, image_id: str) -> Path | None:
    """Return the path of an image, or None if the folder has no such file.

    The id may have an extension; others are tried in the order of EXTENSIONS, in any case. Accents
    may be composed in the id and not in the file name or the reverse, as in files copied from
    another operating system.

    Raises:
        HamlearnError: the id is not a name, or the folder is absent.
    """
    if not is_file_name(image_id):
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
        raise HamlearnError(f"{directory}: no such folder; expected the images of the corpus")
    names = _unusual_names(directory, directory.stat().st_mtime_ns)
    for extension in extensions:
        if (unusual := names.get((_composed(image_id), extension))) is not None:
            return directory / unusual
    return None


@lru_cache(maxsize=4)
def _unusual_names(directory: Path, modified: int) -> dict[tuple[str, str], str]:
    """Map name and extension to the images with upper-case extensions or decomposed accents."""
    del modified  # only part of the cache key, so that a changed folder is listed again
    names = {}
    for path in sorted(directory.iterdir(), reverse=True):
        extension = path.suffix.lower()
        is_unusual = path.suffix != extension or path.name != _composed(path.name)
        if extension in EXTENSIONS and is_unusual and path.is_file():
            names[_composed(path.stem), extension] = path.name
            names[_composed(path.name), ""] = path.name
    return names


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
