"""A corpus in four scripts without images, IMGID lines and a dev split, from text to scores."""

import json

import pytest

from hamlearn.corpus.posts import read_posts
from hamlearn.corpus.prepare import prepare
from hamlearn.data.sources import InputFiles
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.windows import tokenize
from hamlearn.evaluation.evaluate import evaluate, uncontrolled
from hamlearn.features.extraction import extract_images, extract_objects
from hamlearn.features.graphs import build_graphs
from hamlearn.inference.prediction import predict
from hamlearn.settings import load_settings
from hamlearn.training.run import train
from hamlearn.training.scratch_encoder import write_scratch_encoder

POSTS = (
    "Die O\nNähmaschine B-Produkt\nläuft O\n",
    "患者 O\n糖尿 B-疾病\n病 I-疾病\n",
    "زرت O\nالقاهرة\tB-creative-work\n",  # noqa: RUF001
    "मैं O\nदिल्ली B-स्थान\nमें O\n",
)
TYPES = {"Produkt", "疾病", "creative-work", "स्थान"}
SETTINGS = {
    "backbone": "demo",
    "detector": "demo",
    "text": {"scratch": {"width": 24, "layers": 1, "heads": 2, "lowercase": False}},
    "model": {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8},
    "training": {"epochs": 12, "batch_size": 4, "lr": 3e-3},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "train.txt").write_text("\n".join(POSTS * 5), encoding="utf-8")
    (folder / "test.txt").write_text("\n".join(POSTS), encoding="utf-8")
    prepare(folder, None, folder, 0.2, 0)
    settings = load_settings(json.dumps(SETTINGS))
    write_scratch_encoder(folder / "posts.jsonl", folder / "encoder", settings.text.scratch)
    return folder, settings


def test_no_word_of_any_script_is_lost_or_unknown(corpus):
    folder, _ = corpus
    posts = read_posts(folder / "posts.jsonl")
    tokenizer = load_tokenizer(folder / "encoder")
    rows = tokenize([post.words for post in posts], tokenizer, 64)
    for post, (tokens,) in zip(posts, rows, strict=True):
        assert tokens.words == len(post.words)
        assert tokenizer.unk_token_id not in tokens.ids
        for number, word in enumerate(post.words):  # nothing is stripped: no accent, no vowel sign
            pieces = tokenizer.convert_ids_to_tokens(tokens.ids[tokens.word_ids == number].tolist())
            assert "".join(piece.removeprefix("##") for piece in pieces) == word


def test_labels_of_any_script_are_learned_predicted_and_scored(corpus, tmp_path):
    folder, settings = corpus
    posts = folder / "posts.jsonl"
    train(posts, folder / "encoder", settings, "text_only", 0, tmp_path / "run")
    out = tmp_path / "test.jsonl"
    predict(tmp_path / "run", posts, ["test"], tmp_path)
    run = {"corpus": "mine", "detector": "none", "variant": "text_only", "seed": 0}
    scores = evaluate([out], read_posts(posts), **run)
    assert set(scores["type"]) == TYPES | {"all"}
    micro = uncontrolled(scores)
    micro = micro[(micro["type"] == "all") & (micro["scheme"] == "strict")]
    assert micro["f1"].item() > 0.7  # the test posts are those of train


def test_the_full_model_works_where_no_post_has_a_picture(corpus, tmp_path, caplog):
    caplog.set_level("INFO")
    folder, settings = corpus
    posts = folder / "posts.jsonl"
    files = InputFiles(*[tmp_path / f"{name}.h5" for name in ("images", "objects", "graphs")])
    extract_images(posts, files.images, settings, "demo")
    extract_objects(posts, files.objects, settings, "demo")
    build_graphs(files.objects, files.graphs, settings.graph)
    facts = train(posts, folder / "encoder", settings, "full", 0, tmp_path / "run", files)
    missing = {split: counts.missing_images for split, counts in facts.splits.items()}
    assert missing == {"train": 16, "dev": 4}
    assert "no post has a picture: text_only is as good and takes less time" in caplog.text
    out = tmp_path / "test.jsonl"
    predict(tmp_path / "run", posts, ["test"], tmp_path, files)
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [one["has_image"] for one in found] == [False] * 4
    assert [one["relevance"] for one in found] == [None] * 4
