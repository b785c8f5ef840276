import zipfile

import pytest

from hamlearn.archives import check_archive
from hamlearn.errors import HamlearnError


def test_an_archive_holds_what_it_claims(tmp_path):
    for name, method in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            archive.writestr("data", bytes(100_000))
    check_archive(tmp_path / "stored")
    with pytest.raises(HamlearnError, match=r"packed: found 100000 bytes in a file of \d+"):
        check_archive(tmp_path / "packed")


def test_other_files_are_left_to_their_readers(tmp_path):
    (tmp_path / "other").write_bytes(b"no archive")
    check_archive(tmp_path / "other")
    check_archive(tmp_path / "absent")


def test_a_broken_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "broken", "w") as archive:
        archive.writestr("data", b"x" * 100)
    data = bytearray((tmp_path / "broken").read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place : place + 4] = b"XXXX"
    (tmp_path / "broken").write_bytes(data)
    with pytest.raises(HamlearnError, match="broken: not a readable archive"):
        check_archive(tmp_path / "broken")
