import pytest

from hamlearn.io import atomic_write, canonical, digest_of_file, digest_of_text


def test_a_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "scores.csv"
    with atomic_write(target) as part:
        part.write_text("a,b\n")
        assert not target.exists()
    assert target.read_text() == "a,b\n"
    assert [path.name for path in target.parent.iterdir()] == ["scores.csv"]


def test_a_failed_block_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "scores.csv"
    target.write_text("old")

    def half_write():
        with atomic_write(target) as part:
            part.write_text("new")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        half_write()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    target = tmp_path / "scores.csv"
    (tmp_path / ".scores.csv.part").mkdir()
    (tmp_path / ".scores.csv.part" / "scores.csv").write_text("half")
    with atomic_write(target) as part:
        assert not part.exists()
        part.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "run"
    for text in ("first", "second"):
        with atomic_write(target) as part:
            part.mkdir()
            (part / f"{text}.txt").write_text(text)
    assert [path.name for path in target.iterdir()] == ["second.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_canonical_json_forgets_the_order_of_keys():
    assert canonical({"b": 1, "a": [2]}) == canonical({"a": [2], "b": 1}) == '{"a":[2],"b":1}'


def test_digests_agree_with_the_published_vector(tmp_path):
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_text("abc")
    assert digest_of_text("abc") == digest_of_file(tmp_path / "abc") == expected
