"""Fingerprints of what the workflow reads and does not make, for the parameters of its rules.

Snakemake compares times, so that a file with an older one, as `cp -p`, tar and rsync write it,
would rerun nothing. Files are digested; of images, only names, sizes and times are compared.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hamlearn.corpus.image_files import file_name_of, image_id_of
from hamlearn.errors import HamlearnError
from hamlearn.io import canonical, cut_lines, digest_of_file, digest_of_text
from hamlearn.outputs import atomic_write

_MARK = b"IMGID:"
_LONGEST = 1000  # bytes of an IMGID line that are read
_SETTLED = 2.0  # seconds after which another change of a file has another time


class Digests:
    """The sha256 of files, each read once: digests are stored with what shows a changed file.

    Args:
        path: the file of stored digests. One that is absent or broken is replaced; where it cannot
            be written, files are read again in the next process.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._known: dict[str, str] = {}  # digest by path, size, times and inode
        with suppress(OSError, ValueError, AttributeError):
            items = json.loads(self._path.read_text(encoding="utf-8")).items()
            self._known = {key: value for key, value in items if isinstance(value, str)}

    def of(self, paths: Iterable[str | Path]) -> str:
        """Return one digest of files, each read if it may have changed, and of absent paths.

        A folder counts by the names, sizes and times of its files.
        """
        return digest_of_text(canonical([self._of_path(Path(path)) for path in paths]))

    def _of_path(self, path: Path) -> str | None:
        if path.is_dir():
            return listing(path)
        if not path.is_file():
            return None
        found = path.stat()
        times = (found.st_mtime_ns, found.st_ctime_ns)  # the second one shows `cp -p`
        key = canonical([str(path.absolute()), found.st_size, *times, found.st_ino])
        if key not in self._known:
            self._known[key] = digest_of_file(path)
            if time.time() - found.st_ctime > _SETTLED:
                self._store(key)
        return self._known[key]

    def _store(self, key: str) -> None:
        """Store a digest in place of that of an earlier state of its file."""
        place = key.partition(",")[0]
        kept = {old: value for old, value in self._known.items() if not old.startswith(f"{place},")}
        self._known = kept | {key: self._known[key]}
        with suppress(HamlearnError, OSError), atomic_write(self._path) as part:
            part.write_text(json.dumps(self._known), encoding="utf-8")


def listing(path: str | Path) -> str:
    """Return a digest of the names, sizes and times of the files in a folder, or of one file."""
    path = Path(path)
    if path.is_dir():
        return digest_of_text(canonical(sorted(_entries(path))))
    return digest_of_text(canonical(_state(path.stat())) if path.exists() else "")


def images_of_corpus(corpus: str | Path, images: str | Path | None) -> str:
    """Return a digest of the names, sizes and times of the images that a corpus names.

    Args:
        corpus: folder of the corpus.
        images: folder of the images; None for `images` in the corpus folder, if it exists.
    """
    corpus = Path(corpus)
    folder = corpus / "images" if images is None else Path(images)
    if not folder.is_dir():
        return ""
    names: set[str] = set()
    for split in ("train", "valid", "dev", "test"):
        with suppress(FileNotFoundError), (corpus / f"{split}.txt").open("rb") as file:
            for line in cut_lines(file, _LONGEST):
                _, mark, name = line.partition(_MARK)
                if mark:
                    text = name.decode("utf-8", "replace")
                    names |= {file_name_of(text), image_id_of(text)}
    named = [entry for entry in _entries(folder) if image_id_of(entry[0]) in names]
    return digest_of_text(canonical(sorted(named)))


def _entries(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield name, size and time of each file in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # a broken link
                if entry.is_file():
                    yield entry.name, _state(entry.stat())


def _state(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns]
