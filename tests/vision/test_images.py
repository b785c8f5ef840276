import contextlib
import io
import random
import threading
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from hamlearn.vision.images import (
    ImageError,
    Status,
    decode_images,
    memory_checked,
    open_image,
)

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def failure(path, **options):
    with pytest.raises(ImageError) as caught:
        open_image(path, **options)
    return caught.value


def close(found, expected, off=6):
    return all(abs(a - b) <= off for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = Image.new("RGB", (40, 20), WHITE)
    upright.paste(RED, (0, 0, 10, 10))
    upright.paste(BLUE, (30, 10, 40, 20))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    opened = open_image(tmp_path / "a.jpg")
    assert opened.size == (40, 20)
    assert close(opened.getpixel((3, 3)), RED)
    assert close(opened.getpixel((36, 16)), BLUE)
    assert close(opened.getpixel((36, 3)), WHITE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_keeps_the_picture(tmp_path):
    Image.new("RGB", (8, 8), RED).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_image(tmp_path / "a.jpg").size == (8, 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(tmp_path, mode):
    picture = Image.new(mode, (2, 1), (0,) * len(mode))
    picture.putpixel((1, 0), (0,) * (len(mode) - 1) + (255,))
    picture.save(tmp_path / "a.png")
    opened = open_image(tmp_path / "a.png")
    assert opened.mode == "RGB"
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (0, 0, 0)]


def test_half_transparent_red_is_pink(tmp_path):
    Image.new("RGBA", (1, 1), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert close(open_image(tmp_path / "a.png").getpixel((0, 0)), (255, 127, 127), 1)


def test_png_palette_with_transparency_inside_jpg(tmp_path):
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([0, 255, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "a.jpg", format="PNG", transparency=0)
    opened = open_image(tmp_path / "a.jpg")
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]


def test_rgb_with_a_transparent_colour(tmp_path):
    picture = Image.new("RGB", (2, 1), RED)
    picture.putpixel((1, 0), BLUE)
    picture.save(tmp_path / "a.png", transparency=RED)
    opened = open_image(tmp_path / "a.png")
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]


def test_grey_cmyk_and_sixteen_bits(tmp_path):
    Image.new("L", (4, 4), 90).save(tmp_path / "grey.jpg", quality=95)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    Image.new("I;16", (4, 4), 40_000).save(tmp_path / "deep.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "bit.png")
    assert close(open_image(tmp_path / "grey.jpg").getpixel((0, 0)), (90, 90, 90), 1)
    assert close(open_image(tmp_path / "cmyk.jpg").getpixel((0, 0)), RED)
    assert open_image(tmp_path / "deep.png").getpixel((0, 0)) == (156, 156, 156)
    assert open_image(tmp_path / "bit.png").getpixel((0, 0)) == WHITE


def test_missing(tmp_path):
    error = failure(tmp_path / "a.jpg")
    assert error.status == Status.MISSING
    assert str(tmp_path / "a.jpg") in str(error)
    assert failure(None).status == Status.MISSING


def test_zero_bytes_truncated_and_not_a_picture(tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, "JPEG")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    (tmp_path / "folder.jpg").mkdir()
    reasons = {
        name: failure(tmp_path / f"{name}.jpg") for name in ("empty", "cut", "text", "folder")
    }
    assert {error.status for error in reasons.values()} == {Status.UNDECODABLE}
    assert reasons["empty"].reason == "zero bytes"
    assert "truncated" in reasons["cut"].reason
    assert reasons["text"].reason.startswith("found HTML, expected one of JPEG, ")
    assert reasons["folder"].reason == "not a file"


def test_a_bomb_is_refused_from_its_header(tmp_path):
    def chunk(kind, data):
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    side = (60_000).to_bytes(4, "big")
    header = chunk(b"IHDR", side + side + b"\x08\x02\x00\x00\x00")
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    error = failure(tmp_path / "bomb.png")
    assert error.status == Status.TOO_LARGE
    assert "60000x60000" in error.reason


def test_the_limit_is_ours_and_pillows_own_stays(tmp_path, recwarn):
    before = Image.MAX_IMAGE_PIXELS
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png", max_pixels=100).size == (10, 10)
    assert failure(tmp_path / "a.png", max_pixels=99).status == Status.TOO_LARGE
    assert before == Image.MAX_IMAGE_PIXELS
    assert not recwarn


def test_a_phones_double_picture_is_its_first(tmp_path):
    first = Image.new("RGB", (8, 8), RED)
    first.save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)]
    )
    assert close(open_image(tmp_path / "a.jpg").getpixel((0, 0)), RED)


@pytest.mark.filterwarnings("ignore")
def test_random_damage_is_always_a_typed_failure(tmp_path):
    source = random.Random(0)
    picture = Image.effect_noise((32, 32), 80).convert("RGB")
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for _ in range(source.randint(1, 8)):
                data[source.randrange(min(len(data), 400))] = source.randrange(256)
            (tmp_path / "a.jpg").write_bytes(data)
            with contextlib.suppress(ImageError):
                assert open_image(tmp_path / "a.jpg", max_pixels=10_000_000).mode == "RGB"


# --- whatever an image comes in ----------------------------------------------------------------


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(mode, size=(24, 16)):
    ramp = Image.linear_gradient("L").resize(size)
    if mode in ("RGBA", "LA"):
        image = ramp.convert(mode)
        image.putalpha(ramp.rotate(180))
        return image
    if mode == "CMYK":
        return Image.merge("CMYK", [ramp, ramp.rotate(180), ramp, ramp.point(lambda v: v // 3)])
    return ramp.convert(mode)


def deep(dtype, order="<"):
    values = np.linspace(0, 1, 24 * 16).reshape(16, 24)
    return (values * 65535).astype(f"{order}u2") if dtype == "u2" else values.astype(dtype)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(gradient("RGB"), "JPEG", exif=exif)


SAME = {
    "alpha": saved(gradient("RGBA"), "PNG"),
    "grey and alpha": saved(gradient("LA"), "PNG"),
    "palette": saved(gradient("RGB").quantize(9), "GIF", transparency=2),
    "transparent colour": saved(gradient("RGB"), "PNG", transparency=(7, 7, 7)),
    "transparent grey": saved(gradient("L"), "PNG", transparency=9),
    "turned": turned(),
    "16 bits": saved(Image.fromarray(deep("u2")), "PNG"),
    "16 bits, transparent": saved(
        Image.fromarray(deep("u2")), "PNG", transparency=int(deep("u2")[5, 7])
    ),
    "16 bits, TIFF": saved(Image.fromarray(deep("u2")), "TIFF"),
    "16 bits, big-endian TIFF": saved(Image.fromarray(deep("u2", ">")), "TIFF"),
    "floats": saved(Image.fromarray(deep("f4")), "TIFF"),
    "CMYK": saved(gradient("CMYK"), "JPEG"),
    "CMYK, TIFF": saved(gradient("CMYK"), "TIFF"),
    "1 bit": saved(gradient("1"), "PNG"),
    "progressive": saved(gradient("RGB"), "JPEG", progressive=True),
    "WebP": saved(gradient("RGBA"), "WEBP"),
}


@pytest.mark.parametrize("name", SAME)
def test_path_bytes_and_an_image_of_pillow_are_one(tmp_path, name):
    content = SAME[name]
    (tmp_path / "a").write_bytes(content)
    loaded = Image.open(io.BytesIO(content))
    loaded.load()
    others = [
        str(tmp_path / "a"),
        content,
        bytearray(content),
        Image.open(tmp_path / "a"),
        Image.open(io.BytesIO(content)),
        loaded,
        loaded.copy(),
    ]
    expected = open_image(tmp_path / "a")
    assert expected.mode == "RGB"
    assert len(set(expected.convert("L").tobytes())) > 1
    for other in others:
        found = open_image(other)
        assert (found.size, found.tobytes()) == (expected.size, expected.tobytes())


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "I;16", "F"])
def test_an_array_is_the_image_of_its_samples(mode):
    if mode in ("I;16", "F"):
        image = Image.fromarray(deep("u2" if mode == "I;16" else "f4"))
    else:
        image = gradient(mode)
    values = np.asarray(image)
    if mode == "1":
        assert values.dtype == bool
    expected = open_image(saved(image, "TIFF" if mode == "F" else "PNG")).tobytes()
    for array in (values, values.copy(order="F"), np.repeat(values, 2, axis=0)[::2]):
        assert open_image(array).tobytes() == expected
    if values.dtype == np.uint8:
        deeper = values.astype(np.uint16) * 256 + 77
        assert open_image(deeper).tobytes() == expected
        assert open_image(deeper.astype(">u2")).tobytes() == expected
        for dtype in (np.float32, np.float64):
            assert open_image(values.astype(dtype) / 255).tobytes() == expected


def test_sixteen_bits_and_floats_are_scaled():
    grey = open_image(SAME["16 bits, TIFF"])
    assert np.array_equal(np.asarray(grey)[..., 0], deep("u2") >> 8)
    for name in ("16 bits", "16 bits, big-endian TIFF"):
        assert open_image(SAME[name]).tobytes() == grey.tobytes()
    assert np.array_equal(np.asarray(open_image(SAME["floats"]))[..., 0], np.rint(deep("f4") * 255))
    transparent = np.asarray(open_image(SAME["16 bits, transparent"])) != np.asarray(grey)
    assert np.argwhere(transparent.any(axis=2)).tolist() == [[5, 7]]
    inverted = saved(Image.fromarray(deep("u2")), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(np.asarray(open_image(inverted))[..., 0], 255 - (deep("u2") >> 8))


def closed():
    image = Image.open(io.BytesIO(SAME["alpha"]))
    image.close()
    return image


CUT = saved(Image.effect_noise((64, 64), 50), "JPEG")[:-1000]
FEW = "expected (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)"
REFUSED = {
    "closed image": (closed(), Status.UNDECODABLE, "Operation on closed image"),
    "cut image": (Image.open(io.BytesIO(CUT)), Status.UNDECODABLE, "truncated"),
    "cut bytes": (CUT, Status.UNDECODABLE, "truncated"),
    "no bytes": (b"", Status.UNDECODABLE, "zero bytes"),
    "text": (b"hello", Status.UNDECODABLE, "found text that begins 'hello'"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", Status.UNDECODABLE, "found PostScript, expected one of"),
    "large bytes": (saved(gradient("L", (99, 99)), "PNG"), Status.TOO_LARGE, "99x99 pixels"),
    "large image": (gradient("L", (99, 99)), Status.TOO_LARGE, "99x99 pixels"),
    "large array": (np.zeros((99, 98, 3)), Status.TOO_LARGE, "98x99 pixels, expected at most"),
    "empty array": (np.zeros((0, 5)), Status.UNDECODABLE, "5x0 pixels, expected at least one"),
    "empty image": (Image.new("L", (0, 5)), Status.UNDECODABLE, "0x5 pixels, expected at least"),
    "channels": (np.zeros((3, 9, 9)), Status.UNDECODABLE, f"of shape (3, 9, 9), {FEW}"),
    "row": (np.zeros(9), Status.UNDECODABLE, f"of shape (9,), {FEW}"),
    "floats": (np.ones((9, 9)) * 255, Status.UNDECODABLE, "from 255 to 255, expected 0 to 1"),
    "no number": (np.full((9, 9), np.nan), Status.UNDECODABLE, "float64 from nan to nan"),
    "float TIFF": (
        saved(Image.new("F", (9, 9), 200.0), "TIFF"),
        Status.UNDECODABLE,
        "found samples of float32 from 200 to 200, expected 0 to 1",
    ),
    "integers": (np.zeros((9, 9), int), Status.UNDECODABLE, "samples of int64, expected uint8"),
    "TIFF of integers": (
        saved(Image.new("I", (9, 9), 200), "TIFF"),
        Status.UNDECODABLE,
        "found samples of int32, expected uint8, uint16, or floats from 0 to 1",
    ),
    "objects": (np.full((9, 9), None), Status.UNDECODABLE, "samples of object"),
    "number": (5, Status.UNDECODABLE, "found int, expected a path, bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_said(name):
    source, status, reason = REFUSED[name]
    error = failure(source, max_pixels=5000)
    assert error.status == status
    assert reason in error.reason


def test_an_image_of_pillow_stays_as_it_was():
    image = Image.open(io.BytesIO(SAME["turned"]))
    open_image(image)
    assert image.size == (24, 16)
    frames = [Image.new("L", (9, 9), value) for value in (10, 200)]
    several = Image.open(
        io.BytesIO(saved(frames[0], "TIFF", save_all=True, append_images=[frames[1]]))
    )
    several.seek(1)
    assert open_image(several).getpixel((0, 0)) == (200, 200, 200)
    assert several.tell() == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")]
)
def test_too_little_memory_is_a_failure_of_the_image(tmp_path, monkeypatch, error):
    def failing(*_):
        raise error

    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        Image.new("RGB", (9, 9)).save(path)
    prepared = list(decode_images(paths, failing, 1000, threads=1, ahead=1))
    assert [item.value.status for item in prepared] == [Status.TOO_LARGE] * 2
    monkeypatch.setattr(Image.Image, "transpose", failing)
    assert failure(SAME["turned"]).reason == "there is too little memory for it"


def test_another_error_of_torch_is_no_failure_of_the_image():
    with pytest.raises(RuntimeError, match="shapes"), memory_checked():
        raise RuntimeError("shapes do not match")


# --- in threads -------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path):
    for number in range(12):
        Image.new("RGB", (number + 1, 2)).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(12)]


def test_order_sizes_and_failures(paths):
    paths[3] = None
    paths[5].write_bytes(b"")
    items = list(
        decode_images(paths, lambda picture, row: picture.width + row, 1000, threads=4, ahead=3)
    )
    assert [item.row for item in items] == list(range(12))
    assert [item.value for item in items if item.row not in (3, 5)] == [
        2 * number + 1 for number in range(12) if number not in (3, 5)
    ]
    assert items[7].size == (8, 2)
    assert items[3].size == (0, 0)
    assert isinstance(items[3].value, ImageError)
    assert [items[row].value.status for row in (3, 5)] == [Status.MISSING, Status.UNDECODABLE]


def test_memory_is_bounded(paths):
    made = []
    for number, _ in enumerate(
        decode_images(paths, lambda *given: made.append(given), 1000, 4, ahead=3), start=1
    ):
        time.sleep(0.005)
        assert len(made) <= number + 3


def test_decoding_runs_beside_the_consumer(paths):
    second = threading.Event()

    def prepare(picture, row):
        if picture.width == 2:
            second.set()

    items = decode_images(paths, prepare, 1000, threads=1, ahead=2)
    next(items)
    assert second.wait(5)


def test_an_error_in_a_thread_is_an_error(paths):
    def prepare(picture, row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decode_images(paths, prepare, 1000, threads=2, ahead=2))


def test_threads_that_decode_compute_alone_and_others_as_before(paths):
    before = torch.get_num_threads()
    seen, later = [], []
    torch.set_num_threads(2)
    try:
        items = decode_images(
            paths, lambda *given: seen.append(torch.get_num_threads()), 1000, threads=3, ahead=3
        )
        for _ in items:
            assert torch.get_num_threads() == 2
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 12
    assert later == [2]


@pytest.mark.parametrize("place", ["", "images/"])
def test_a_url_in_place_of_a_file_is_named(place):
    error = failure(f"{place}https://example.org/media/AbCd.jpg")
    assert error.status == Status.MISSING
    assert error.reason == "found a URL, expected the name of a file"
