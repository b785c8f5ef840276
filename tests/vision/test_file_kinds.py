import pytest

from hamlearn.vision.images import ImageError, Status, open_image


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "found HEIC, expected one of JPEG, PNG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "found AVIF"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "found MP4"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "found WebM"),
        (b"\n<!DOCTYPE html>\n<title>404</title>", "found HTML"),
        (b"\xef\xbb\xbf<html>", "found HTML"),
        (b'<?xml version="1.0"?>\n<svg xmlns="">', "found SVG"),
        (b'<?xml version="1.0"?><Error/>', "found XML"),
        (b"%PDF-1.7\n", "found PDF"),
        (b"\xff\xd8\xff", "found a damaged JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "found a pointer of Git LFS"),
        (b'{"error": "gone"}', 'found text that begins \'{"error": "gone"}\''),
        ("é".encode() * 2000, "found text that begins 'éééé"),
        (b"x" + "é".encode() * 2000, "found text that begins 'xééé"),
        (b"\0" * 900, "found zero bytes alone"),
        (b"\x01\x02\xfe\xff", "found an unknown format that begins 01 02 fe ff"),
    ],
)
def test_what_lies_behind_the_name_of_an_image_is_said(tmp_path, content, said):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "a.jpg")
    assert caught.value.status == Status.UNDECODABLE
    assert caught.value.reason.startswith(said)
