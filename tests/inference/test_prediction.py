import json
from dataclasses import replace

import h5py
import pytest

from hamlearn.corpus.posts import read_posts, write_posts
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, Sources
from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import write_texts
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.prediction import predict
from hamlearn.io import digest_of_file
from hamlearn.settings import load_settings
from hamlearn.training.run import train
from tests.builders import (
    CLASSES,
    make_posts,
    write_corpus,
    write_graphs,
    write_image_features,
    write_object_features,
)

MODEL = {"heads": 2, "vit_layers": 1, "rounds": 2, "class_width": 8, "graph_backend": "dense"}
SETTINGS = {
    "text": {"max_subtokens": 9},
    "model": MODEL | {"share_rounds": True},
    "training": {"epochs": 2, "batch_size": 8, "lr": 5e-3, "eval_batch_size": 3},
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    missing = ("train_1", "test_0", "test_2")
    return write_corpus(tmp_path_factory.mktemp("corpus"), missing=missing)


def pictures_in(paths):
    return {name: paths[name] for name in ("images", "objects", "graphs")}


@pytest.fixture(scope="module")
def runs(paths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    settings = load_settings(json.dumps(SETTINGS))
    for variant in ("full", "wo_rm", "text_only"):
        files = {} if variant == "text_only" else pictures_in(paths)
        out = folder / variant
        train(paths["posts"], paths["encoder"], settings, variant, 0, out, InputFiles(**files))
    return folder


def test_the_file_for_conlleval_holds_no_control_characters(paths, runs, tmp_path):
    posts = read_posts(paths["posts"], "test")[:1]
    write_posts(
        tmp_path / "posts.jsonl", [replace(posts[0], words=("\x1b[2J", "a\x85"), labels=("O", "O"))]
    )
    predict(runs / "text_only", tmp_path / "posts.jsonl", ["test"], tmp_path)
    rows = [line.split() for line in (tmp_path / "test.conll").read_text().splitlines() if line]
    assert [row[0] for row in rows] == [r"\x1b[2J", r"a\x85"]
    assert {len(row) for row in rows} == {3}


def test_files_hold_what_the_model_says_of_each_post_alone(paths, runs, tmp_path):
    jsonl, conll = tmp_path / "test.jsonl", tmp_path / "test.conll"
    predict(runs / "full", paths["posts"], ["test"], tmp_path, InputFiles(**pictures_in(paths)))
    lines = [json.loads(line) for line in jsonl.read_text().splitlines()]
    posts = read_posts(paths["posts"], "test")
    run = load_model(runs / "full")
    assert not run.network.training
    assert [line["id"] for line in lines] == [post.id for post in posts]
    cut = 0
    with VisualReader(*pictures_in(paths).values()) as pictures:
        data = PostDataset(
            posts, run.tokenizer, run.facts.text, run.labels, Sources(visual=pictures)
        )
        for index, (post, line) in enumerate(zip(posts, lines, strict=True)):
            (path,), relevance = run.network.decode(data.batch([index]))
            labels = [run.labels[number] for number in path]
            cut += len(post.words) - len(path)
            assert line["predicted"] == labels + ["O"] * (len(post.words) - len(path))
            assert (line["image_id"], line["words"]) == (post.image_id, list(post.words))
            assert line["gold"] == list(post.labels)
            assert line["has_image"] == (post.image_id not in ("test_0", "test_2"))
            if line["has_image"]:
                expected = {view: float(values[0]) for view, values in relevance.items()}
                assert line["relevance"] == pytest.approx(expected, abs=1e-5)
                assert set(expected) == {"semantic", "spatial"}
            else:
                assert line["relevance"] is None
    assert cut > 0
    blocks = conll.read_text().split("\n\n")
    assert blocks[-1] == ""
    for block, line in zip(blocks, lines, strict=False):
        rows = [row.split(" ") for row in block.split("\n")]
        assert [list(column) for column in zip(*rows, strict=True)] == [
            line["words"],
            line["gold"],
            line["predicted"],
        ]


def predicted(run, posts, split, folder, **files):
    predict(run, posts, [split], folder, InputFiles(**files))
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("variant", ["wo_rm", "text_only"])
def test_without_relevance_measuring_there_is_none(paths, runs, tmp_path, variant):
    files = {} if variant == "text_only" else pictures_in(paths)
    found = predicted(runs / variant, paths["posts"], "dev", tmp_path, **files)
    assert len(found) == 8
    assert all(one["relevance"] is None for one in found)
    assert all(one["has_image"] is (True if files else None) for one in found)


def test_prediction_never_uses_gold(paths, runs, tmp_path):
    posts = read_posts(paths["posts"])
    text = paths["posts"].read_text().replace('"B-', '"B-NEVER_SEEN_')
    (tmp_path / "posts.jsonl").write_text(text)
    found = [
        predicted(runs / "text_only", path, "test", tmp_path)
        for path in (paths["posts"], tmp_path / "posts.jsonl")
    ]
    assert [one["predicted"] for one in found[0]] == [one["predicted"] for one in found[1]]
    assert any("NEVER" in label for one in found[1] for label in one["gold"])
    assert len(posts) == 34


def test_same_predictions_same_bytes(paths, runs, tmp_path):
    given = (runs / "full", paths["posts"])
    files = InputFiles(**pictures_in(paths))
    controls = {"removed": ("removed", 0), "shuffled-1": ("shuffled", 1)}
    predict(*given, ["dev", "test"], tmp_path / "a", files, controls=controls)
    for split in ("test", "dev"):
        predict(*given, [split], tmp_path / "b", files)
    predict(*given, [], tmp_path / "b", files, controls=controls)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    plain = ["dev.conll", "dev.jsonl", "test.conll", "test.jsonl"]
    assert names == sorted([*plain, "test.removed.jsonl", "test.shuffled-1.jsonl"])
    for name in names:
        assert digest_of_file(tmp_path / "a" / name) == digest_of_file(tmp_path / "b" / name)
    assert len({digest_of_file(tmp_path / "a" / name) for name in names}) == len(names)


def test_a_system_that_reads_no_images_is_predicted_under_no_control(paths, runs, tmp_path):
    given = (runs / "text_only", paths["posts"], ["test"], tmp_path)
    with pytest.raises(HamlearnError, match="found the system text_only, which reads no images"):
        predict(*given, controls={"removed": ("removed", 0)})
    assert not any(tmp_path.iterdir())


def test_features_of_another_width_are_refused(paths, runs, tmp_path):
    wide = write_image_features(
        tmp_path / "wide.h5", [post.image_id for post in make_posts()], width=9
    )
    files = InputFiles(**(pictures_in(paths) | {"images": wide}))
    with pytest.raises(HamlearnError, match=r"wide\.h5: image: found 9, expected 6 as in"):
        predict(runs / "full", paths["posts"], ["test"], tmp_path, files)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.h5"]


def test_a_corpus_with_its_own_list_of_classes_is_predicted_by_their_names(paths, tmp_path):
    """Precomputed objects of two corpora: the classes of each are those that occur in it."""
    source = {"extractor": "precomputed", "settings": '{"backend":"npz"}'}
    ids = [post.image_id for post in make_posts()]
    files = {}
    for name, classes in (("a", CLASSES), ("b", CLASSES[:2])):
        objects = write_object_features(
            tmp_path / name / "o.h5", ids, seed=7, classes=classes, **source
        )
        graphs = write_graphs(tmp_path / name / "g.h5", objects)
        files[name] = {"images": paths["images"], "objects": objects, "graphs": graphs}
    settings = load_settings(json.dumps(SETTINGS | {"training": {"epochs": 6, "lr": 2e-2}}))
    run = tmp_path / "run"
    train(paths["posts"], paths["encoder"], settings, "full", 0, run, InputFiles(**files["a"]))
    with h5py.File(files["b"]["objects"], "r+") as file:
        labels = file["labels"][:]
        assert set(labels.ravel()) == {-1, 0, 1, 2}  # 2 is "none"
        file["labels"][labels == 2] = 3  # as the run numbers them
        del file["classes"]
        write_texts(file, "classes", CLASSES)
    expected = predicted(run, paths["posts"], "test", tmp_path, **files["b"])
    with h5py.File(files["b"]["objects"], "r+") as file:
        for old, new in ((0, 2), (1, 1), (3, 3)):
            file["labels"][labels == {0: 0, 1: 1, 3: 2}[old]] = new
        del file["classes"]
        write_texts(file, "classes", ["cat", "dog", "person"])
    assert predicted(run, paths["posts"], "test", tmp_path, **files["b"]) == expected


def test_a_split_without_posts_is_named(runs, paths, tmp_path):
    with pytest.raises(HamlearnError, match="no post of the split `tset`"):
        predict(runs / "text_only", paths["posts"], ["tset"], tmp_path)


def test_a_split_without_any_of_the_texts_is_predicted(paths, tmp_path):
    (tmp_path / "known.jsonl").write_text('{"id": "train_0", "text": "a b"}\n')
    systems = {"told": {"like": "bert_crf", "reads": ["known"]}}
    settings = load_settings(json.dumps(SETTINGS | {"systems": systems}))
    files = InputFiles(texts={"known": tmp_path / "known.jsonl"})
    train(paths["posts"], paths["encoder"], settings, "told", 0, tmp_path / "run", files)
    predict(tmp_path / "run", paths["posts"], ["test"], tmp_path, files)
    lines = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    assert [line["has_text"] for line in lines] == [{"known": False}] * len(lines)
    (tmp_path / "known.jsonl").write_text('{"id": "nobody", "text": "a b"}\n')
    with pytest.raises(HamlearnError, match=r"texts\.known: .*known\.jsonl"):
        predict(tmp_path / "run", paths["posts"], ["test"], tmp_path, files)
