"""Fetching a file over HTTP: gone on with where it was cut off, verified, whole or not at all."""

import fcntl
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file

_BLOCK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def fetch(url: str, path: Path, sha256: str) -> None:
    """Fetch a file to `path`, through `path` with `.part` behind its name.

    What a fetch that was cut off left in the part is kept, and only the rest is asked for. The
    part takes its final name when its digest is right, and is removed when it is not.

    Args:
        url: of http or https.
        path: where the file shall lie.
        sha256: the expected digest, or its beginning.

    Raises:
        HamlearnError: the address does not answer, or the file was cut off or is another than
            expected.
    """
    if not url.startswith(("http://", "https://")):
        raise HamlearnError(f"{url}: expected an address of http or https")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with _locked(part) as file:
        if path.is_file():  # another process has fetched it meanwhile
            part.unlink()
            return
        try:
            _receive(url, file)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not file.tell():
                raise _stopped(url, file, part, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise _stopped(url, file, part, error) from error
        file.flush()
        digest = digest_of_file(part)
        if not digest.startswith(sha256):
            part.unlink()
            raise HamlearnError(
                f"{url}: sha256 is {digest}, expected {sha256}; what was fetched is removed"
            )
        os.replace(part, path)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open a file for adding to it once no other process does; the lock dies with the process."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            current = False
            with suppress(FileNotFoundError):  # it was renamed or removed while we waited
                current = os.path.samestat(os.fstat(file.fileno()), part.stat())
            if current:
                yield file
                return


def _stopped(url: str, file: BinaryIO, part: Path, error: Exception) -> HamlearnError:
    """Return what to say of a fetch that failed; what came is kept."""
    said = f"{url}: {error or type(error).__name__}"
    if not file.tell():
        part.unlink()
        return HamlearnError(said)
    return HamlearnError(
        f"{said}; {file.tell()} bytes are kept in {part}, and the next try goes on after them"
    )


def _receive(url: str, file: BinaryIO) -> None:
    """Add what the file lacks, or all of it where the server cannot give a part."""
    have = file.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        begins = f"bytes {have}-"
        if have and not answer.headers.get("Content-Range", "").startswith(begins):
            file.truncate(0)
            file.seek(0)
        before, length = file.tell(), answer.headers.get("Content-Length")
        while block := answer.read(_BLOCK):
            file.write(block)
        if length is not None and file.tell() - before != int(length):
            raise OSError(f"cut off after {file.tell() - before} of {length} bytes")
