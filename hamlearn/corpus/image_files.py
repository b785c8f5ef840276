"""Names of images: one rule by which IMGIDs, files, captions and features find each other.

A name and a key are one image if `image_id_of` gives the same for both. Of several keys, the one
that equals the name is taken; then one that differs in folder and accents alone; then one without
an extension; then the first in the order of EXTENSIONS.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

from hamlearn.errors import HamlearnError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".jfif", ".jpe", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif"),  # not decoded, which the error of the image then says
)
# Twitter's sizes follow the extension, as in `x.jpg:large`; browsers replace the colon.
_EXTENSION = re.compile(
    rf"({'|'.join(map(re.escape, EXTENSIONS))})([:_-](thumb|small|medium|large|orig))?$",
    re.IGNORECASE,
)
T = TypeVar("T")


def file_name_of(name: str) -> str:
    """Return a name without folders of any system and byte order mark, with composed accents."""
    last = re.split(r"[/\\]", name.removeprefix("\ufeff").strip())[-1]
    return unicodedata.normalize("NFC", last)


def image_id_of(name: str) -> str:
    r"""Return the image id of an IMGID, a path of an image, or a key of captions or features.

    It is the file name without its extension, if that is one of images, and without one of
    Twitter's sizes after it: `17_06.1` for `17_06.1`, `images\17_06.1.PNG` and
    `17_06.1.jpg:large`.
    """
    file_name = file_name_of(name)
    return _EXTENSION.sub("", file_name) or file_name


class ByImage(Mapping[str, T]):
    """Values by image name: a name finds the key of the same image, as the module describes."""

    def __init__(self, items: Mapping[str, T]) -> None:
        self._items = items

    def __getitem__(self, name: str) -> T:
        if name in self._items:
            return self._items[name]
        file_name = file_name_of(name)
        keys = self._keys.get(image_id_of(name)) or self._keys.get(file_name)
        if keys is None:
            raise KeyError(name)
        return self._items[min(keys, key=lambda key: (file_name_of(key) != file_name, _rank(key)))]

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        """The keys of each image id; only a name that is no key needs them."""
        keys: dict[str, list[str]] = {}
        for key in self._items:
            keys.setdefault(image_id_of(key), []).append(key)
        return keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def _rank(key: str) -> tuple[int, int]:
    """Return the place of a key among others of its image."""
    found = _EXTENSION.search(key)
    return (EXTENSIONS.index(found[1].lower()), found.end() - found.end(1)) if found else (-1, 0)


def none_found(place: str, what: str, count: int, name: str, given: Iterable[str]) -> HamlearnError:
    """Return the error that none of `count` images, such as `name`, is among those `given`."""
    other = next(iter(given), None)
    found = "nothing" if other is None else f"such as {other!r:.80}"
    return HamlearnError(
        f"{place}: found {what} for none of {count} images: expected names such as"
        f" {name!r:.80}, found {found}"
    )


def is_file_name(image_id: str) -> bool:
    """Return True if an image id can be a file name: it is not empty and cannot leave a folder."""
    return image_id not in ("", ".", "..") and not any(mark in image_id for mark in "/\\\0")


def find_image(directory: str | Path, image_id: str) -> Path | None:
    """Return the path of an image, or None if the folder has no such file.

    The file of exactly this name comes first; see the module for the others.

    Raises:
        HamlearnError: the id is not a name, or the folder is absent.
    """
    if not is_file_name(image_id):
        raise HamlearnError(
            f"image id {image_id!r} is not a name: expected one without `/`, `\\` or NUL, "
            "other than `.` and `..`"
        )
    directory = Path(directory)
    if (directory / image_id).is_file():
        return directory / image_id
    if not directory.is_dir():
        raise HamlearnError(f"{directory}: no such folder; expected the images of the corpus")
    name = _files(directory, directory.stat().st_mtime_ns).get(image_id)
    return None if name is None else directory / name


def file_names(directory: str | Path) -> list[str]:
    """Return the names of the files of a folder, sorted."""
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if Path(entry).is_file())


@lru_cache(maxsize=4)
def _files(directory: Path, modified: int) -> ByImage[str]:
    """Return the names of the files of a folder by image."""
    del modified  # only part of the cache key, so that a changed folder is listed again
    return ByImage({name: name for name in file_names(directory)})
