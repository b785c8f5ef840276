import json
import math
from collections import Counter

import pytest
from PIL import Image

from hamlearn.demo.composition import CUES, DECISIONS, TYPES, probability
from hamlearn.demo.corpus import TOTAL, draw_post, split_sizes, write_corpus
from hamlearn.demo.grammar import NAMES, PER_POOL, WITHHELD
from hamlearn.outputs import MARKER

POSTS = 70


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "corpus"
    write_corpus(out, 3, POSTS)
    return out


@pytest.fixture(scope="module")
def drawn():
    return [draw_post(5, split, k)[0] for split in ("train", "test") for k in range(2500)]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_conll(path):
    posts, words = {}, None
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("IMGID:"):
            words = posts[line[6:]] = []
        elif line:
            words.append(tuple(line.split("\t")))
    return posts


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    write_corpus(tmp_path / "again", 3, POSTS)
    assert contents(tmp_path / "again") == contents(folder)


def test_another_seed_gives_other_bytes(folder, tmp_path):
    write_corpus(tmp_path / "other", 4, POSTS)
    other = contents(tmp_path / "other")
    assert other["train.txt"] != contents(folder)["train.txt"]
    mine = {data for name, data in contents(folder).items() if name.endswith(".jpg")}
    assert not mine & {data for name, data in other.items() if name.endswith(".jpg")}


def test_without_images_everything_else_is_the_same(folder, tmp_path):
    write_corpus(tmp_path / "words", 3, POSTS, images=False)
    files, words = contents(folder), contents(tmp_path / "words")
    for found in (files, words):
        del found[MARKER]  # lists the other files
    assert words == {name: data for name, data in files.items() if not name.endswith(".jpg")}
    assert not (tmp_path / "words" / "images").exists()


def test_a_longer_corpus_begins_with_the_shorter_one(folder, tmp_path):
    write_corpus(tmp_path / "longer", 3, POSTS + 35)
    longer = (tmp_path / "longer" / "train.txt").read_bytes()
    assert longer.startswith((folder / "train.txt").read_bytes())


def test_splits_have_their_shares():
    assert split_sizes(TOTAL) == {"train": 2000, "dev": 600, "test": 900}
    assert sum(split_sizes(31).values()) == 31


def test_the_manifest_agrees_with_text_and_images(folder):
    text = {
        split: read_conll(folder / name)
        for split, name in (("train", "train.txt"), ("dev", "valid.txt"), ("test", "test.txt"))
    }
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    assert [line["id"] for line in lines] == [name for posts in text.values() for name in posts]
    assert {path.stem for path in (folder / "images").iterdir()} == {x["id"] for x in lines}
    for line in lines:
        labels = [label for _, label in text[line["split"]][line["id"]]]
        expected = ["O"] * len(labels)
        for entity in line["entities"]:
            assert entity["cue"] == line["cue"]
            expected[entity["start"]] = f"B-{entity['type']}"
            for k in range(entity["start"] + 1, entity["end"]):
                expected[k] = f"I-{entity['type']}"
        assert labels == expected
        assert len(line["entities"]) == 1
        with Image.open(folder / "images" / f"{line['id']}.jpg") as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert image.size == (line["width"], line["height"])
        for thing in line["objects"]:
            x0, y0, x1, y1 = thing["box"]
            assert 0 <= x0 < x1 <= line["width"]
            assert 0 <= y0 < y1 <= line["height"]
        assert line["relevant"] == (line["cue"] != "text")


def test_the_ceiling_is_written_with_the_corpus(folder):
    about = json.loads((folder / "ceiling.json").read_text())
    assert about["text_ceiling"] == {
        "overall": pytest.approx(2 / 3, abs=1e-5),
        "scene": 0.5, "object": 0.5, "relation": 0.5, "text": 1.0,
    }  # fmt: skip
    assert sum(about["posts"].values()) == POSTS


def test_cues_have_their_shares(drawn):
    counts = Counter(post.cue for post in drawn)
    for cue, share in CUES.items():
        assert counts[cue] / len(drawn) == pytest.approx(share, abs=0.03)
    assert sum(probability(cue, d) for cue in CUES for d in DECISIONS) == pytest.approx(1)


def test_both_types_of_every_question_come_equally_often(drawn):
    for decision in DECISIONS:
        for textual in (False, True):
            kinds = [
                p.kind for p in drawn if p.decision is decision and (p.cue == "text") == textual
            ]
            assert set(kinds) == set(decision.types)
            noise = 4 * math.sqrt(0.25 / len(kinds))
            assert kinds.count(decision.types[0]) / len(kinds) == pytest.approx(0.5, abs=noise)
    assert {post.kind for post in drawn} == set(TYPES)


def test_a_name_is_either_type_half_of_the_time(drawn):
    first: dict[str, list[bool]] = {}
    for post in drawn:
        name = " ".join(post.sentence.words[post.sentence.start : post.sentence.end])
        first.setdefault(name, []).append(post.kind == min(post.decision.types))
    assert len(first) == len(NAMES) * PER_POOL
    z = [(sum(x) - len(x) / 2) / math.sqrt(len(x) / 4) for x in first.values()]
    assert max(map(abs, z)) < 4.5
    assert sum(v * v for v in z) / len(z) == pytest.approx(1, abs=0.35)


def test_withheld_names_occur_only_outside_training(drawn):
    withheld = {name for names in NAMES.values() for name in names[-WITHHELD:]}
    seen = Counter()
    for post in drawn:
        name = " ".join(post.sentence.words[post.sentence.start : post.sentence.end])
        seen["train" if "_train_" in post.id else "test"] += name in withheld
    assert seen["train"] == 0
    assert seen["test"] / 2500 == pytest.approx(WITHHELD / PER_POOL, abs=0.03)


def test_the_image_of_a_textual_post_suggests_the_other_type(drawn):
    for post in drawn:
        says = post.decision.types[post.decision.readings.index(post.reading)]
        assert (says == post.kind) == (post.cue != "text")


def test_images_show_their_reading(drawn):
    for post in drawn:
        kinds = [kind for kind, _ in post.composition.objects]
        assert len(set(kinds)) == len(kinds)
        if post.decision.cue == "scene":
            assert post.composition.scene == post.reading
        elif post.decision.cue == "object":
            assert [kind for kind in kinds if kind in post.decision.kinds] == [post.reading]
        else:
            assert set(post.decision.kinds) <= set(kinds)


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("hamlearn.demo.corpus.jpeg_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_corpus(tmp_path / "x", 0, 30)
    assert list(tmp_path.iterdir()) == []


def test_noise_has_the_same_words_and_images_that_tell_nothing():
    number = range(1500)
    own = [draw_post(5, "train", k)[0] for k in number]
    noise = [draw_post(5, "train", k, "noise")[0] for k in number]
    for one, other in zip(own, noise, strict=True):
        assert one.conll() == other.conll()
        assert one.composition != other.composition
    scene = [post for post in noise if post.decision.name == "stadium_or_ice"]
    by_kind = Counter((post.kind, post.composition.scene == "stadium") for post in scene)
    share = {
        kind: by_kind[kind, True] / (by_kind[kind, True] + by_kind[kind, False])
        for kind in ("ORG", "MISC")
    }
    assert abs(share["ORG"] - share["MISC"]) < 0.12
    told = {
        post.kind: post.composition.scene == "stadium"
        for post in own
        if post.decision.name == "stadium_or_ice" and post.cue == "scene"
    }
    assert told == {"ORG": True, "MISC": False}


def test_noise_is_written_like_the_corpus(folder, tmp_path):
    write_corpus(tmp_path / "noise", 3, POSTS, pictures="noise")
    before, after = contents(folder), contents(tmp_path / "noise")
    assert before.keys() == after.keys()
    assert before["train.txt"] == after["train.txt"]
    images = [name for name in before if name.endswith(".jpg")]
    assert all(before[name] != after[name] for name in images)
    lines = after["manifest.jsonl"].decode().splitlines()
    assert not any(json.loads(line)["relevant"] for line in lines)


def test_a_mixed_image_counts_where_the_last_word_names_its_scene():
    posts = [draw_post(5, "train", k, "mixed")[0] for k in range(1200)]
    for post in posts:
        first, second = post.decision.types
        named = post.sentence.words[-1]
        assert post.relevant == (named == f"#{post.composition.scene}")
        shown = [kind for kind, _ in post.composition.objects if kind in post.decision.kinds]
        assert shown == [post.reading]
        sees_second = post.reading == post.decision.readings[1]
        assert post.kind == (second if sees_second and post.relevant else first)
    for reader in ("words", "object"):  # neither sees whether the image is relevant
        right = 0
        for post in posts:
            sees_second = reader == "object" and post.reading == post.decision.readings[1]
            right += post.kind == post.decision.types[sees_second]
        assert abs(right / len(posts) - 0.75) < 0.04


def test_a_mixed_corpus_states_its_cue_and_ceiling(tmp_path):
    write_corpus(tmp_path / "mixed", 3, POSTS, images=False, pictures="mixed")
    lines = (tmp_path / "mixed" / "manifest.jsonl").read_text().splitlines()
    facts = [json.loads(line) for line in lines]
    assert {line["cue"] for line in facts} == {"relevance"}
    assert {line["relevant"] for line in facts} == {True, False}
    about = json.loads((tmp_path / "mixed" / "ceiling.json").read_text())
    assert about["text_ceiling"] == {"overall": 0.75, "relevance": 0.75}
