import pytest

from hamlearn.errors import HamlearnError
from hamlearn.vision.detectors.classes import class_names, numbered


@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_first_name_of_each_line(tmp_path, end, mark):
    lines = ["big dog,dog", " caf\u00e9 , bar", "tree"]
    text = ("\r\n" if "\r" in end else "\n").join(lines) + end
    (tmp_path / "names.txt").write_bytes(mark + text.encode())
    assert class_names(tmp_path / "names.txt", 3) == ["big dog", "caf\u00e9", "tree"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb", "txt: found 2 lines, expected 3 class names"),
        (b"a\nb\nc\nd", "txt: found 4 lines"),
        (b"a\n ,x\nc", "txt:2: found no name"),
        (b"a\nb\na,c", "txt:3: 'a' is the class of line 1 too"),
        (b"a\n\xff\nc", "txt: not UTF-8"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, said):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(HamlearnError, match=said):
        class_names(tmp_path / "names.txt", 3)


def test_an_absent_or_empty_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"none\.txt: no such file"):
        class_names(tmp_path / "none.txt")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(HamlearnError, match=r"empty\.txt:1: found no name"):
        class_names(tmp_path / "empty.txt")


def test_classes_without_names_are_numbered():
    assert (len(numbered()), numbered()[7]) == (1600, "vg_0007")
