"""Which file is the picture of a post: an IMGID is a name, and never a path."""

from functools import lru_cache
from pathlib import Path

from hamlearn.errors import HamlearnError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


def picture_path(directory: str | Path, image_id: str) -> Path | None:
    """Return the file of a picture, or None where the folder has none.

    An image id is a name. Among files of that name the extensions are tried in the order of
    EXTENSIONS, in whatever case.

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
    for extension in EXTENSIONS:
        path = directory / f"{image_id}{extension}"
        if path.is_file():
            return path
    if not directory.is_dir():
        raise HamlearnError(f"{directory}: no such folder; expected the pictures of the corpus")
    names = _unusual_names(directory, directory.stat().st_mtime_ns)
    for extension in EXTENSIONS:
        name = names.get((image_id, extension))
        if name is not None:
            return directory / name
    return None


@lru_cache(maxsize=4)
def _unusual_names(directory: Path, changed: int) -> dict[tuple[str, str], str]:
    """List the pictures of a folder whose extension has a capital letter."""
    del changed  # part of the key alone: a folder that changed is listed anew
    return {
        (path.stem, path.suffix.lower()): path.name
        for path in sorted(directory.iterdir(), reverse=True)
        if path.suffix != path.suffix.lower() and path.suffix.lower() in EXTENSIONS
        if path.is_file()
    }
