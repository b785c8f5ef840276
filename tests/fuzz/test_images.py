"""Broken pictures, and pictures that claim to be huge."""

import io
import struct
import zlib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from PIL import Image

from hamlearn.vision.images import ImageError, Status, open_image
from tests.fuzz.mutations import cases_of, fuzz, mutated, outcome, seeds

LIMIT = 10_000  # pixels
TOKENS = (b"Exif\0\0", b"II*\0", b"MM\0*", b"IHDR", b"zTXt", b"IDAT", b"\xff\xd8", b"\xff\xc0")


def _picture(kind: str, mode: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((19, 13)).convert(mode).save(file, kind)
    return file.getvalue()


GOOD = [
    *(_picture(kind, "RGB") for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")),
    *(_picture("GIF", "P"), _picture("PNG", "RGBA"), _picture("PNG", "I;16")),
    *(_picture("TIFF", "F"), _picture("JPEG", "CMYK")),
]


@fuzz(10_000)
@given(seeds)
def test_a_picture_is_opened_or_refused(folder: Path, seed: int) -> None:
    path = folder / "picture.jpg"
    for rng in cases_of(seed):
        data = mutated(rng, rng.choice(GOOD), TOKENS)
        path.write_bytes(data)
        picture = outcome(partial(open_image, path, LIMIT), data)
        if picture is not None:
            assert picture.mode == "RGB"
            assert 0 < picture.width * picture.height <= LIMIT


def _png(width: int, height: int, data: bytes = b"", extra: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (10**5, 10**5), (10**9, 1), (101, 100)])
def test_a_picture_that_claims_to_be_huge_is_not_decoded(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(*size, zlib.compress(bytes(10**6))))
    with pytest.raises(ImageError) as caught:
        open_image(path, LIMIT)
    assert caught.value.status in (Status.TOO_LARGE, Status.UNDECODABLE)


def test_text_that_unpacks_to_a_gigabyte_is_not_unpacked(tmp_path: Path) -> None:
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(10**7)) for _ in range(50)) + packer.flush()
    body = b"x\0\0" + bomb
    text = struct.pack(">I", len(body)) + b"zTXt" + body
    text += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(10, 10, zlib.compress(bytes(310)), text))
    outcome(partial(open_image, path, LIMIT))


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b", "../" * 2000, "loop"])
def test_a_path_that_no_file_can_have_is_a_missing_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ImageError):
        open_image(tmp_path / name, LIMIT)
