"""Archives as torch.save writes them, checked before they are unpacked."""

import zipfile
from pathlib import Path

from hamlearn.errors import HamlearnError


def check_archive(path: str | Path) -> None:
    """Refuse an archive, as torch.save writes it, that unpacks to more bytes than it has.

    Raises:
        HamlearnError: it is compressed, or its parts overlap; no program of ours writes these.
    """
    path = Path(path)
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
    except Exception as error:  # whatever a damaged archive makes its reader raise
        raise HamlearnError(f"{path}: not a readable archive ({error!s:.200})") from error
    if claimed > (size := path.stat().st_size):
        raise HamlearnError(f"{path}: found {claimed} bytes in a file of {size}, expected no more")
