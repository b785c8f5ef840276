import os
import shutil
import time

import pytest

from hamlearn import fingerprints
from hamlearn.fingerprints import Digests, images_of_corpus, listing


@pytest.fixture
def settled(monkeypatch):
    """Files count as unchanged for long."""
    monkeypatch.setattr(fingerprints, "_SETTLED", -1)


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read."""
    names = []
    real = fingerprints.digest_of_file
    monkeypatch.setattr(
        fingerprints, "digest_of_file", lambda path: (names.append(path.name), real(path))[1]
    )
    return names


def test_a_digest_is_of_the_content_and_of_absent_files(tmp_path):
    digests, (one, two) = Digests(tmp_path / "digests.json"), (tmp_path / "one", tmp_path / "two")
    absent = digests.of([one, two])
    one.write_text("a")
    two.write_text("a")
    both = digests.of([one, two])
    assert digests.of([two, one]) == both != absent
    two.write_text("b")
    assert digests.of([one, two]) != both
    two.write_text("a")
    assert digests.of([one, two]) == both


def test_a_file_is_read_once_and_again_when_it_was_replaced_with_its_old_time(
    tmp_path, settled, reads
):
    file, other = tmp_path / "weights", tmp_path / "other"
    file.write_text("one")
    before = Digests(tmp_path / "digests.json").of([file])
    assert Digests(tmp_path / "digests.json").of([file]) == before
    assert reads == ["weights"]
    other.write_text("two")
    os.utime(other, ns=(0, file.stat().st_mtime_ns))
    shutil.copy2(other, file)  # as cp -p
    assert Digests(tmp_path / "digests.json").of([file]) != before
    assert reads == ["weights"] * 2
    stored = (tmp_path / "digests.json").read_text()
    assert stored.count(str(file)) == 1


def test_a_digest_of_a_file_that_was_just_written_is_not_stored(tmp_path, reads):
    (tmp_path / "file").write_text("one")
    digests = Digests(tmp_path / "digests.json")
    assert digests.of([tmp_path / "file"]) == digests.of([tmp_path / "file"])
    assert reads == ["file"]
    assert not (tmp_path / "digests.json").exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"a": 1}'])
def test_a_broken_file_of_digests_is_replaced(tmp_path, settled, reads, content):
    (tmp_path / "digests.json").write_bytes(content)
    (tmp_path / "file").write_text("one")
    for _ in range(2):
        Digests(tmp_path / "digests.json").of([tmp_path / "file"])
    assert reads == ["file"]


def test_digests_that_cannot_be_stored_are_computed(tmp_path, settled):
    (tmp_path / "file").write_text("one")
    place = tmp_path / "file" / "digests.json"
    assert Digests(place).of([tmp_path / "file"])


def test_a_listing_changes_with_names_sizes_and_times(tmp_path):
    found = {listing(tmp_path)}
    (tmp_path / "a.npz").write_text("1")
    (tmp_path / "b.npz").symlink_to("nowhere")
    found.add(listing(tmp_path))
    (tmp_path / "a.npz").write_text("12")
    found.add(listing(tmp_path))
    os.utime(tmp_path / "a.npz", (1, 1))
    found.add(listing(tmp_path))
    (tmp_path / "a.npz").rename(tmp_path / "c.npz")
    found.add(listing(tmp_path))
    assert len(found) == 5
    assert listing(tmp_path) in found
    assert Digests(tmp_path / "d").of([tmp_path]) != Digests(tmp_path / "d").of([tmp_path / "d"])
    assert listing(tmp_path / "c.npz") != listing(tmp_path / "b.npz")


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "café.PNG", "other.jpg"):
        (tmp_path / "images" / name).write_text(name)
    (tmp_path / "train.txt").write_bytes("\ufeffIMGID:1\na O\n\nIMGID:café\nb O\n".encode())
    (tmp_path / "test.txt").write_text("IMGID:2.jpg:large\na O\n")
    return tmp_path


def test_images_of_a_corpus_are_those_that_it_names(corpus):
    before = images_of_corpus(corpus, None)
    assert images_of_corpus(corpus, corpus / "images") == before
    (corpus / "images/other.jpg").write_text("changed")
    assert images_of_corpus(corpus, None) == before
    for name in ("2.jpg", "café.PNG"):
        (corpus / "images" / name).write_text("a new image")
        after = images_of_corpus(corpus, None)
        assert after != before
        before = after
    (corpus / "images/1.jpg").unlink()
    assert images_of_corpus(corpus, None) != before


def test_a_corpus_without_images_has_none(corpus):
    shutil.rmtree(corpus / "images")
    assert images_of_corpus(corpus, None) == ""
    assert images_of_corpus(corpus / "nowhere", corpus) != ""


def test_ten_thousand_images_take_less_than_a_second(corpus):
    with (corpus / "train.txt").open("w") as file:
        for number in range(10_000):
            file.write(f"IMGID:17_06_{number}\na O\n\n")
            (corpus / f"images/17_06_{number}.jpg").touch()
    started = time.process_time()
    images_of_corpus(corpus, None)
    assert time.process_time() - started < 1
