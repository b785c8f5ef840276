import gc
import json
import sys
import tracemalloc

import lightning.pytorch as pl
import pytest

from benchmarks import memory
from benchmarks.memory import DTYPE, WIDTH, N, index_bytes, write_random_features
from benchmarks.peak import peak_memory
from benchmarks.plan import Plan
from hamlearn.corpus.posts import read_posts
from hamlearn.corpus.prepare import load_corpus, prepare
from hamlearn.demo.corpus import write_corpus
from hamlearn.features.store import FeatureFile, object_columns
from hamlearn.settings import ScratchSettings
from hamlearn.training.scratch_encoder import write_scratch_encoder

PLAN = Plan(threads=1, peak_posts=(60, 80), peak_batches=2)


class Recorder(pl.Trainer):
    """Lightning's trainer, recording its settings and its steps."""

    created, steps = [], []

    def __init__(self, **settings):
        super().__init__(**settings)
        self.created.append(settings)

    def fit(self, *arguments, **settings):
        super().fit(*arguments, **settings)
        self.steps.append(self.global_step)


def test_a_peak_is_that_of_the_program_alone():
    kept = bytearray(300 << 20)  # of this process
    small, large = (
        peak_memory("import sys; bytes([1]) * int(sys.argv[1])", n) for n in ("1", "1" + "0" * 8)
    )
    assert 5 < small < 100 < len(kept) / 2**20
    assert large - small == pytest.approx(1e8 / 2**20, rel=0.1)
    with pytest.raises(RuntimeError, match=r"failed with 1: (.|\n)*no such thing"):
        peak_memory("raise ValueError('no such thing')", "x")


def test_the_group_measures_each_stage(monkeypatch):
    run = []

    def in_this_process(code, *arguments):
        run.append(arguments[1])
        monkeypatch.setattr(sys, "argv", ["-c", *arguments])
        exec(code, {})
        return 100 + 10 * len(run)  # MiB

    monkeypatch.setattr(memory, "peak_memory", in_this_process)
    monkeypatch.setattr(pl, "Trainer", Recorder)
    results = list(memory.measure(PLAN))
    assert run == [
        *("corpus", "graphs", "vocabulary", "train", "predict-split"),
        *("corpus", "graphs", "train", "predict-split"),
    ]
    assert [settings["limit_train_batches"] for settings in Recorder.created] == [2, 2]
    assert Recorder.steps == [2, 2]
    stages = ("reading", "graphs", "training", "prediction")
    assert [result.name for result in results] == [f"{s}: peak memory at 80 posts" for s in stages]
    for result, few, many in zip(results, (110, 120, 140, 150), (160, 170, 180, 190), strict=True):
        index = result.numbers["index"]
        assert result.numbers["mebibytes"] == {"60": few, "80": many}
        assert result.value == pytest.approx(many / (few + 20 * index / 2**20))
        assert result.numbers["growth"] == pytest.approx((many - few) * 2**20 / 20)
        assert result.target == "<= 1.15"
        assert 100 < index < 1000
    assert json.dumps([result.numbers for result in results])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Corpora of 500 and 2,000 posts, with object features."""
    folders = {}
    for count in (500, 2000):
        folders[count] = tmp_path_factory.mktemp(str(count))
        write_corpus(folders[count] / "corpus", posts=count, images=False)
        posts = prepare(folders[count] / "corpus", None, folders[count])
        ids = [post.image_id for post in posts]
        columns = object_columns(WIDTH, N, DTYPE)
        write_random_features(folders[count] / "objects.h5", columns, ids)
    posts = folders[500] / "posts.jsonl"
    write_scratch_encoder(posts, folders[500] / "encoder", ScratchSettings())
    return folders


def growth(function, corpora):
    """Return the bytes per post by which the peak grows, as Python counts them.

    Python occasionally enlarges its table of interned strings, however many posts there are; the
    minimum of several peaks is free of that.
    """
    few, many = (min(peak(function, folder) for _ in range(3)) for folder in corpora.values())
    return (many - few) / 1500


def peak(function, folder):
    function(folder)
    gc.collect()  # tuples on free lists would not be counted
    tracemalloc.start()
    kept = function(folder)
    result = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return result


def open_features(folder):
    with FeatureFile(folder / "objects.h5") as file:
        return file


@pytest.mark.parametrize(
    ("stage", "function"),
    [("reading", lambda folder: load_corpus(folder / "corpus")), ("graphs", open_features)],
)
def test_the_index_is_what_is_kept(corpora, stage, function):
    index = index_bytes(read_posts(corpora[500] / "posts.jsonl"), corpora[500] / "encoder")
    # Tables have spare room, more or less depending on the number of posts.
    assert 0.7 * index[stage] < growth(function, corpora) < 1.1 * index[stage]
