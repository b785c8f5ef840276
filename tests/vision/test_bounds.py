"""Small files that demand much work: each format, in bounded time and memory."""

import io
import resource
import struct
import time
import zlib
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from hamlearn.vision.bounds import (
    MAX_BYTES,
    MAX_MARKERS,
    MAX_READS,
    MAX_SCANS,
    REREAD,
    BoundedFile,
    BoundExceeded,
    jpeg_markers,
    tiff_strips,
)
from hamlearn.vision.images import ImageError, Status, open_image

SECONDS, MEMORY = 6.0, 200_000_000  # seconds of the CPU and bytes, for one file of SIZE bytes
SIZE = 6_000_000
SOS = 0xDA

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow has one for each faulty tag


@contextmanager
def bounded():
    """Limit the address space that may be added, and check the time."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, started = resource.getrlimit(resource.RLIMIT_AS), time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - started < SECONDS


def encoded(kind, mode="L", size=(16, 16), **options):
    file = io.BytesIO()
    Image.new(mode, size, 90).save(file, kind, **options)
    return file.getvalue()


# --- JPEG -------------------------------------------------------------------------------------


def with_scans(content, count):
    """Return a progressive JPEG whose last scan comes so often that it has `count` in all."""
    markers = jpeg_markers(content)
    last = content.rindex(b"\xff\xda")
    more = count - markers.count(SOS)
    return content[:-2] + content[last:-2] * more + content[-2:]


def test_scans_are_counted_as_the_decoder_sees_them():
    baseline, progressive = (encoded("JPEG", progressive=flag) for flag in (False, True))
    assert jpeg_markers(baseline).count(SOS) == 1
    assert 1 < jpeg_markers(progressive).count(SOS) < 20
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(progressive) + 2) + progressive
    assert jpeg_markers(baseline[:2] + thumbnail + baseline[2:]).count(SOS) == 1
    assert jpeg_markers(baseline + progressive).count(SOS) == 1  # of the first image alone
    assert jpeg_markers(with_scans(progressive, 40)).count(SOS) == 40
    assert jpeg_markers(encoded("PNG")) == jpeg_markers(b"") == []


def test_a_jpeg_of_many_scans_is_refused_and_one_of_some_is_read():
    progressive = encoded("JPEG", progressive=True)
    expected = open_image(progressive).tobytes()
    assert open_image(with_scans(progressive, MAX_SCANS)).tobytes() == expected
    with pytest.raises(ImageError, match="found more than 100 scans") as caught:
        open_image(with_scans(progressive, MAX_SCANS + 1))
    assert caught.value.status == Status.TOO_LARGE
    opened = Image.open(io.BytesIO(with_scans(progressive, MAX_SCANS + 1)))
    with pytest.raises(ImageError, match="found more than 100 scans"):
        open_image(opened)
    large = with_scans(encoded("JPEG", size=(4000, 4000), progressive=True), 4000)
    with bounded(), pytest.raises(ImageError, match=r"more than \d+ s"):
        open_image(large)


def segments(piece):
    content = encoded("JPEG")
    return content[:2] + piece * (SIZE // len(piece)) + content[2:]


@pytest.mark.parametrize(
    "piece",
    [b"\xff\xe5\0\2", b"\xff\xe1\xff\xffExif\0\0" + bytes(65527), b"\xff\xff\xff\xfe\0\2"],
    ids=["empty", "exif", "comments"],
)
def test_a_jpeg_of_many_segments(piece):
    content = segments(piece)
    with bounded():
        refused_or_read(content)


def refused_or_read(content):
    """Return the reason why an image is refused, or None for one that is read."""
    try:
        assert open_image(content).width <= 600
    except ImageError as error:
        return error.reason
    return None


# --- PNG --------------------------------------------------------------------------------------


def chunk(kind, body=b""):
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


PIXELS = zlib.compress(bytes(110))


def png(extra, pixels=PIXELS):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", pixels) + chunk(b"IEND")


@cache
def bomb(size):
    packer = zlib.compressobj()
    return b"".join(packer.compress(bytes(10**6)) for _ in range(size // 10**6)) + packer.flush()


@pytest.mark.parametrize("kind", [b"tEXt", b"abCd", b"IDAT"])
def test_a_png_of_many_chunks(kind):
    piece = chunk(kind, b"a\0b" if kind == b"tEXt" else b"")
    content = png(piece * (SIZE // len(piece)))
    with bounded():
        assert "too many small" in refused_or_read(content)


@pytest.mark.parametrize(
    ("kind", "head", "unpacked", "times"),
    [
        (b"zTXt", b"a\0\0", 400 * 10**6, 1),
        (b"iTXt", b"a\0\1\0\0\0", 400 * 10**6, 1),
        (b"iCCP", b"a\0\0", 400 * 10**6, 1),
        (b"zTXt", b"a\0\0", 10**6, 3000),
    ],
)
def test_a_png_whose_text_or_profile_unpacks_to_gigabytes(kind, head, unpacked, times):
    content = png(chunk(kind, head + bomb(unpacked)) * times)
    with bounded():
        refused_or_read(content)


def test_a_png_whose_pixels_unpack_to_gigabytes():
    content = png(b"", bomb(400 * 10**6))
    with bounded():
        refused_or_read(content)


# --- TIFF -------------------------------------------------------------------------------------

TAGS = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 273: 8, 278: 10, 279: 100}  # 10 x 10, grey


def directory(entries, after=0, order="<"):
    rows = b"".join(struct.pack(order + "HHII", *entry) for entry in sorted(entries))
    return struct.pack(order + "H", len(entries)) + rows + struct.pack(order + "I", after)


def tiff(extra, tail, order="<"):
    """Return a TIFF with further entries of the directory, whose values begin at the tail."""
    own = [(tag, 4, 1, value) for tag, value in TAGS.items() if tag not in dict(extra)]
    start = 8 + 2 + 12 * (len(own) + len(extra)) + 4
    entries = own + [(tag, kind, count, start) for tag, (kind, count) in extra]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return head + directory(entries, order=order) + tail


@pytest.mark.parametrize("order", "<>")
def test_a_tiff_of_many_strips(order):
    count = SIZE // 4
    content = tiff([(273, (4, count))], struct.pack(order + "I", 8) * count, order)
    assert tiff_strips(content) == count
    with bounded(), pytest.raises(ImageError, match="more than 100000 strips"):
        open_image(content)


def test_a_tiff_of_a_tile_much_larger_than_the_image():
    side, pixels = 16_000, bomb(16_000**2)
    extra = [(322, side), (323, side), (325, len(pixels))]
    own = {tag: value for tag, value in TAGS.items() if tag not in (273, 278, 279)} | {259: 8}
    own |= dict(extra) | {324: 8 + 2 + 12 * (len(own) + 4) + 4}
    entries = [(tag, 4, 1, value) for tag, value in own.items()]
    content = b"II*\0" + struct.pack("<I", 8) + directory(entries) + pixels
    for source in (content, Image.open(io.BytesIO(content))):
        with bounded(), pytest.raises(ImageError, match="more than 33554432 pixels in a tile"):
            open_image(source)


def test_strips_are_counted_in_good_and_cut_files():
    many = encoded("TIFF", size=(600, 600))
    assert tiff_strips(many) == tiff_strips(encoded("TIFF", big_tiff=True)) == 1
    assert tiff_strips(tiff([(324, (4, 7))], bytes(28))) == 7
    assert [tiff_strips(content) for content in (b"", b"II*\0", encoded("PNG"))] == [0, 0, 0]
    for end in range(0, len(many), len(many) // 50):
        assert tiff_strips(many[:end]) >= 0
    assert tiff_strips(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(99)) == 0


def test_a_tiff_of_tags_that_overlap():
    content = tiff([(40_000 + number, (7, SIZE)) for number in range(3000)], bytes(SIZE))
    with bounded():
        refused_or_read(content)


@pytest.mark.parametrize("ring", [False, True])
def test_a_tiff_of_many_directories(ring):
    content, entries = tiff([], b""), [(256, 4, 1, 10)]
    position, pieces = len(content), []
    for number in range(50_000):
        following = position + 18 if not ring or number % 1000 else len(content)
        pieces.append(directory(entries, following))
        position += 18
    start = 8 + 2 + 12 * len(TAGS)
    content = content[:start] + struct.pack("<I", len(content)) + content[start + 4 :]
    content += b"".join(pieces) + bytes(200)
    with bounded():
        assert refused_or_read(content) is None


# --- others -----------------------------------------------------------------------------------


def gif(extra):
    content = encoded("GIF")
    start = 13 + 3 * 2 ** ((content[10] & 7) + 1) * (content[10] >> 7)
    return content[:start] + extra + content[start:]


@pytest.mark.parametrize(
    "extra",
    [
        b"\x21\xfe\1x\0" * (SIZE // 5),
        b"\x21\xfe" + (b"\xff" + b"x" * 255) * (SIZE // 256) + b"\0",
        b"\x21\xff\x0bNETSCAPE2.0" + (b"\xff" + b"x" * 255) * (SIZE // 256) + b"\0",
    ],
    ids=["extensions", "comment", "application"],
)
def test_a_gif_of_many_blocks(extra):
    content = gif(extra)
    with bounded():
        refused_or_read(content)


def test_a_bmp_of_many_empty_runs():
    head = struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 8, 1, SIZE, 0, 0, 256, 0)
    content = b"BM" + struct.pack("<IHHI", SIZE + 1078, 0, 0, 1078) + head + bytes(1024)
    content += b"\1\0" * (SIZE // 2)
    with bounded():
        assert "too many small" in refused_or_read(content)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_only_the_first_of_a_thousand_frames_is_decoded(kind):
    frames = [Image.new("L", (200, 200), number % 255) for number in range(1000)]
    if kind == "WEBP":
        frames = [frame.convert("RGB") for frame in frames[::5]]
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    started = time.process_time()
    assert open_image(file.getvalue()).tobytes() == bytes(200 * 200 * 3)
    assert time.process_time() - started < 0.5


def test_a_file_is_read_so_often_and_no_more():
    file = BoundedFile(bytes(100))
    for _ in range(MAX_READS):
        file.read(0)
    with pytest.raises(BoundExceeded, match="too many small or overlapping pieces"):
        file.read(0)
    file = BoundedFile(bytes(10**6))
    for _ in range(REREAD):
        file.seek(0)
        file.read()
    file.seek(0)
    with pytest.raises(BoundExceeded):
        file.read()


def test_a_file_of_too_many_bytes_is_not_read(tmp_path):
    with (tmp_path / "a.bmp").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with bounded(), pytest.raises(ImageError, match=f"more than {MAX_BYTES} bytes") as caught:
        open_image(tmp_path / "a.bmp")
    assert caught.value.status == Status.TOO_LARGE


def test_bounds_leave_room_for_what_encoders_write():
    assert 10 * len(jpeg_markers(encoded("JPEG", "RGB", progressive=True))) < MAX_MARKERS
