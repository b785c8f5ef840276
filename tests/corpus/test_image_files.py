import subprocess
import sys
import unicodedata

import pytest

from hamlearn.corpus.image_files import find_image
from hamlearn.errors import HamlearnError


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "a\0b"])
def test_ids_that_are_paths_are_refused(tmp_path, name):
    with pytest.raises(HamlearnError, match="is not a name"):
        find_image(tmp_path, name)


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "png", "webp", "JPG", "Jpeg", "WebP"])
def test_extensions_in_any_case(tmp_path, extension):
    (tmp_path / f"17_06_4705.{extension}").touch()
    (tmp_path / "17064705.jpg").touch()
    assert find_image(tmp_path, "17_06_4705") == tmp_path / f"17_06_4705.{extension}"
    assert find_image(tmp_path, "17_06") is None


def test_ids_with_dots_and_a_missing_folder(tmp_path):
    (tmp_path / "a.b.jpg").touch()
    (tmp_path / "a.gif").touch()
    (tmp_path / "folder.jpg").mkdir()
    assert find_image(tmp_path, "a.b") == tmp_path / "a.b.jpg"
    assert find_image(tmp_path, "a") is None
    assert find_image(tmp_path, "folder") is None
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
