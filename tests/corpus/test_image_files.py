import subprocess
import sys
import unicodedata

import pytest

from hamlearn.corpus.image_files import EXTENSIONS, ByImage, find_image, image_id_of
from hamlearn.errors import HamlearnError


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        *((f"17_06.1{extension}", "17_06.1") for extension in ("", *EXTENSIONS)),
        *((f"a{end}", "a") for end in (".JPG", ".Tiff", ".jpg_large", ".jpg:large", ".PNG-orig")),
        *(("\ufeffa.jpg", "a"), (" a.jpg ", "a"), ("images/sub/a.jpg", "a"), ("D:\\x\\a.png", "a")),
        *(("a.b.jpg", "a.b"), ("a.jpg.jpg", "a.jpg"), ("a.txt", "a.txt"), ("2.5", "2.5")),
        *((".jpg", ".jpg"), ("a_large", "a_large"), ("cafe\u0301.gif", "caf\u00e9")),
    ],
)
def test_every_spelling_of_a_name_is_one_image(name, image_id):
    assert image_id_of(name) == image_id


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("x.jpg", "x.jpg"), ("x.png", "x.png"), ("x.gif", "x.png"), ("x", "x.png")),
        *(
            ("y", "y"),
            ("y.jpg", "y.jpg"),
            ("y.png", "y"),
            ("z.webp", "a/z.jpg_large"),
            ("b\\z.PNG", "b/z.PNG"),
        ),
        *(("v", "v.tif"), ("w.jpg", "w.jpg.jpg"), ("w", None), ("X", None), ("", None)),
    ],
)
def test_the_exact_name_comes_first_then_the_order_of_extensions(name, key):
    keys = ["x.webp", "x.png", "y.jpg", "y", "b/z.PNG", "a/z.jpg_large", "v.tiff", "v.tif"]
    keys += ["w.jpg.jpg", *(["x.jpg"] if name == "x.jpg" else [])]
    found = ByImage({key: key for key in keys})
    assert found.get(name) == key
    assert (name in found) == (key is not None)
    assert list(found) == keys


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "a\0b"])
def test_ids_that_are_paths_are_refused(tmp_path, name):
    with pytest.raises(HamlearnError, match="is not a name"):
        find_image(tmp_path, name)


@pytest.mark.parametrize(
    "extension",
    [
        *(".jpg", ".jpeg", ".png", ".webp", ".JPG", ".Jpeg", ".WebP", ".gif", ".jfif", ".BMP"),
        *(".tif", ".jpg_large", ".jpg:large", ""),
    ],
)
def test_extensions_in_any_case(tmp_path, extension):
    path = tmp_path / f"17_06_4705{extension}"
    path.touch()
    (tmp_path / "17064705.jpg").touch()
    for image_id in ("17_06_4705", f"17_06_4705{extension}", "17_06_4705.jpg"):
        assert find_image(tmp_path, image_id) == path
    assert find_image(tmp_path, "17_06") is None


def test_ids_with_dots_and_a_missing_folder(tmp_path):
    (tmp_path / "a.b.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert find_image(tmp_path, "a.b") == tmp_path / "a.b.jpg"
    assert find_image(tmp_path, "a") is None
    assert find_image(tmp_path, "folder") is None
    assert find_image(tmp_path, "loop") is None
    with pytest.raises(HamlearnError, match="no such folder"):
        find_image(tmp_path / "none", "a")


def test_looking_up_pictures_imports_no_torch():
    code = "import sys, hamlearn.corpus.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("name", ["caf\u00e9 am Park.jpg", "caf\u00e9 am Park.PNG"])
def test_names_with_spaces_and_accents_from_another_system(tmp_path, name, composed):
    forms = ["NFC", "NFD"] if composed else ["NFD", "NFC"]
    ours, theirs = (unicodedata.normalize(form, name) for form in forms)
    (tmp_path / ours).touch()
    for image in (ours, theirs, ours.rsplit(".", 1)[0], theirs.rsplit(".", 1)[0]):
        assert find_image(tmp_path, image) == tmp_path / ours
    assert find_image(tmp_path, "caf\u00e9") is None
