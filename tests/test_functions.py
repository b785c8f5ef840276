import pytest

from hamlearn.errors import HamlearnError
from hamlearn.functions import load_function


def test_a_module_of_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "functions_of_mine.py").write_text("def build():\n    return 7\n")
    monkeypatch.chdir(tmp_path)
    assert load_function("functions_of_mine:build", "systems.mine.build")() == 7


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_at_all:build", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("hamlearn.errors:build", "AttributeError: module 'hamlearn.errors' has no attribute"),
    ],
)
def test_what_cannot_be_imported_is_named(name, reason):
    message = f"systems.mine.build: found {name}, which cannot be imported: {reason}"
    with pytest.raises(HamlearnError, match=message):
        load_function(name, "systems.mine.build")


def test_a_module_that_fails_is_one_error(tmp_path, monkeypatch):
    (tmp_path / "broken_of_mine.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HamlearnError, match="cannot be imported: ZeroDivisionError: division"):
        load_function("broken_of_mine:build", "systems.mine.build")
