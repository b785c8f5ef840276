"""What a file is that is no image, by its first bytes: for messages."""

HEAD = 512  # bytes that `file_kind` reads
_MEDIA = {  # by the brand of an ISO media file
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"qt  ": "QuickTime",
}
_SIGNATURES: dict[str, bytes | tuple[bytes, ...]] = {
    **{"a damaged JPEG": b"\xff\xd8\xff", "a damaged PNG": b"\x89PNG", "a damaged GIF": b"GIF8"},
    **{"a damaged TIFF": (b"II*\0", b"MM\0*"), "a damaged BMP": b"BM"},
    **{"JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG 2000": b"\0\0\0\x0cjP  "},
    **{"WebM or Matroska": b"\x1a\x45\xdf\xa3", "a RIFF file that is no WEBP": b"RIFF"},
    **{"an icon": b"\0\0\1\0", "PSD": b"8BPS", "PDF": b"%PDF", "PostScript": b"%!PS"},
    **{"a ZIP archive": b"PK\3\4", "gzip": b"\x1f\x8b", "HDF5": b"\x89HDF"},
    "a pointer of Git LFS": b"version https://git-lfs",
}


def file_kind(head: bytes) -> str:
    """Return in words what a file is, by its first HEAD bytes: for messages on unknown images."""
    if not head.strip(b"\0"):
        return "zero bytes alone" if head else "an empty file"
    if head[4:8] == b"ftyp":
        return _MEDIA.get(head[8:12], "MP4")
    for kind, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if b"<svg" in text:
        return "SVG"
    if text.startswith(b"<"):
        return "XML"
    if b"\0" not in head:
        try:
            # The last bytes may be the beginning of a character.
            start = head.decode("utf-8", "strict" if len(head) < HEAD else "ignore")
            return f"text that begins {start[:40]!r}"
        except UnicodeDecodeError:
            pass
    return f"an unknown format that begins {head[:8].hex(' ')}"
