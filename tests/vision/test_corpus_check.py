import csv
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.statistics import Edition
from hamlearn.errors import HamlearnError
from hamlearn.vision import corpus_check as check
from hamlearn.vision.corpus_check import Finding, check_corpus, find_images, write_findings

IDS = {"train": ("1", "2", "O_3"), "valid": ("4",), "test": ("5",)}
COUNTS = {
    split: {"PER": n, "LOC": 0, "ORG": 0, "MISC": 1, "total": n + 1, "tweets": n}
    for split, n in zip(SPLITS, (3, 1, 1), strict=True)
}


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A corpus that counts as twitter2015, with good pictures in images/."""
    folder = tmp_path / "data" / "twitter2015"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, ids in IDS.items():
        posts = [f"IMGID:{image}\nAnn\tB-PER\nis\tO\n" for image in ids]
        posts[0] += "here\tB-OTHER\n"
        (folder / f"{split}.txt").write_text("\n".join(posts) + "\n")
        for image in ids:
            pixels = rng.integers(0, 256, (230, 240, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{image}.jpg", quality=30)
    known = [Edition("twitter2015", "as printed", COUNTS)]
    monkeypatch.setattr(check, "editions", lambda: known)
    return folder


def statuses(found):
    return [(finding.image, finding.split, finding.status) for finding in found.findings]


def test_a_whole_corpus_is_usable(corpus):
    found = check_corpus(corpus, None, 10**6)
    assert (found.faults, found.findings) == ([], [])
    assert "Edition: as printed\n" in found.text
    assert (
        "\ntrain           3        3          0          0          0          0\n" in found.text
    )


def test_pictures_are_missing_broken_small_and_twice(corpus):
    images = corpus / "images"
    (images / "5.jpg").unlink()
    (images / "1.jpg").write_bytes((images / "1.jpg").read_bytes()[:2000])
    Image.new("RGB", (300, 223)).save(images / "2.jpg")
    shutil.copy(images / "2.jpg", images / "4.jpg")
    found = check_corpus(corpus, images, 10**6)
    assert statuses(found) == [
        ("1", "train", "broken"),
        ("2", "train", "small"),
        ("4", "dev", "duplicate"),
        ("4", "dev", "small"),
        ("5", "test", "missing"),
    ]
    assert found.faults == ["pictures: 1 missing", "pictures: 1 broken"]
    assert (
        "\ntest            1        0          1          0          0          0\n" in found.text
    )
    assert "4 (dev): of 2" in found.text
    assert "2 (train): 300x223" in found.text


def test_too_many_pixels_are_broken(corpus):
    assert {finding.status for finding in check_corpus(corpus, None, 100).findings} == {"broken"}


def test_a_text_that_is_none_of_the_editions_is_told_in_differences(corpus):
    text = (corpus / "test.txt").read_text().replace("B-PER", "B-LOC")
    (corpus / "test.txt").write_text(text)
    found = check_corpus(corpus, None, 10**6)
    assert found.faults == ["text: 2 counts differ from as printed"]
    assert "  test PER: 0, expected 1\n  test LOC: 1, expected 0\n" in found.text


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("data/twitter2015/images", "twitter2015"),
        ("data/twitter2015_images", "twitter2015"),
        ("data/twitter2015/twitter2015_images", "twitter2015"),
        ("data/Twitter_2015_text_images", "Twitter_2015_text"),
        ("data/twitter2015_images", "Twitter_2015_text"),
        ("data/twitter2015_images", "texts"),
    ],
)
def test_pictures_are_found_where_others_keep_them(corpus, tmp_path, place, name):
    folder = corpus.rename(corpus.parent / name)
    (folder / "images").rename(tmp_path / "found")
    for decoy in (corpus.parent / "twitter2017_images", folder / "images"):
        decoy.mkdir(exist_ok=True)
    (corpus.parent / "twitter2017_images" / "1.jpg").touch()
    (tmp_path / place).parent.mkdir(exist_ok=True)
    shutil.rmtree(tmp_path / place, ignore_errors=True)
    (tmp_path / "found").rename(tmp_path / place)
    found = find_images(folder, "twitter2015", IDS["train"])
    assert found.resolve() == (tmp_path / place).resolve()


def test_no_folder_of_pictures(corpus):
    shutil.rmtree(corpus / "images")
    found = check_corpus(corpus, None, 10**6)
    assert found.faults == ["pictures: no folder found; name it with --images"]
    assert str(corpus.parent / "twitter2015_images") in found.text
    with pytest.raises(HamlearnError, match="no such folder"):
        check_corpus(corpus, corpus / "images", 10**6)


def test_a_finding_is_no_formula(tmp_path):
    write_findings(tmp_path / "a.csv", [Finding("=1+1", "dev", "broken", "@x"), Finding(*"+1aa")])
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == ["image,split,status,reason", "'=1+1,dev,broken,'@x", "'+,1,a,a"]


def test_the_command_ends_with_0_or_1_and_a_list(corpus, tmp_path):
    done = CliRunner().invoke(app, ["corpus", "check", str(corpus)])
    assert done.exit_code == 0
    assert done.stdout.endswith("Usable.\n")
    (corpus / "images" / "5.jpg").unlink()
    table = tmp_path / "found.csv"
    done = CliRunner().invoke(app, ["corpus", "check", str(corpus), "--csv", str(table)])
    assert done.exit_code == 1
    assert done.stdout.endswith("- pictures: 1 missing\n")
    with table.open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["5"]


@pytest.fixture
def other(corpus):
    """The same images, with a text that is far from the known one."""
    folder = corpus.rename(corpus.parent / "ours")
    for path in folder.glob("*.txt"):
        text = path.read_text().replace("B-PER", "B-Person").replace("B-OTHER", "B-Place")
        path.write_text(text * 3)
    return folder


def test_any_corpus_is_checked_and_its_counts_are_not_judged(other):
    folder = other
    found = check_corpus(folder, None, 10**6)
    assert (found.faults, found.findings) == ([], [])
    assert "Edition: none of the known ones, so the counts are not judged\n" in found.text
    (folder / "images").rename(folder.parent / "twitter2015_images")
    found = check_corpus(folder, None, 10**6)
    assert "twitter2015" not in found.text  # the pictures of another corpus
    assert found.faults == ["pictures: no folder found; name it with --images"]


def test_a_missing_dev_split_is_drawn_from_train(other):
    (other / "valid.txt").unlink()
    found = check_corpus(other, None, 10**6)
    assert found.faults == []
    assert "Dev posts out of train" in found.text


def test_an_edition_without_its_dev_split_is_judged(corpus):
    (corpus / "valid.txt").unlink()
    (fault,) = check_corpus(corpus, None, 10**6).faults
    assert fault.endswith("counts differ from as printed")


def test_a_text_that_names_no_images_needs_none(other):
    folder = other
    for path in folder.glob("*.txt"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith("IMGID")))
    found = check_corpus(folder, None, 10**6)
    assert (found.faults, found.findings) == ([], [])
    assert "Pictures: none, the text has no line `IMGID:<id>`\n" in found.text
    found = check_corpus(folder, folder / "images", 10**6)
    assert found.faults == [f"pictures: no line `IMGID:<id>` names one in {folder / 'images'}"]


def test_a_mistyped_label_is_warned_of(corpus):
    text = (corpus / "train.txt").read_text().replace("B-PER", "B-PRE", 1)
    (corpus / "train.txt").write_text(text)
    assert (
        "Warning: type 'PRE' of 1 entities is nearly 'PER'"
        in check_corpus(corpus, None, 10**6).text
    )
