"""The benchmark of memory on tiny corpora: its stages are the commands, and its index is true."""

import gc
import json
import sys
import tracemalloc

import lightning.pytorch as pl
import pytest

from benchmarks import memory
from benchmarks.memory import DTYPE, WIDTH, N, drawn, index_of
from benchmarks.peak import peak_of
from benchmarks.plan import Plan
from hamlearn.corpus.posts import read_posts
from hamlearn.corpus.prepare import load_corpus, prepare
from hamlearn.demo.corpus import write_corpus
from hamlearn.features.store import FeatureFile, object_columns
from hamlearn.settings import ScratchSettings
from hamlearn.training.scratch_encoder import write_scratch_encoder

PLAN = Plan(threads=1, corpora=(60, 80), truncated=2)


class Recorder(pl.Trainer):
    """Lightning's trainer, which tells how it was made and what it did."""

    made, steps = [], []

    def __init__(self, **settings):
        super().__init__(**settings)
        self.made.append(settings)

    def fit(self, *arguments, **settings):
        super().fit(*arguments, **settings)
        self.steps.append(self.global_step)


def test_a_peak_is_that_of_the_program_alone():
    kept = bytearray(300 << 20)  # of this process
    small, large = (
        peak_of("import sys; bytes([1]) * int(sys.argv[1])", n) for n in ("1", "1" + "0" * 8)
    )
    assert 5 < small < 100 < len(kept) / 2**20
    assert large - small == pytest.approx(1e8 / 2**20, rel=0.1)
    with pytest.raises(RuntimeError, match=r"ended with 1: (.|\n)*no such thing"):
        peak_of("raise ValueError('no such thing')", "x")


def test_the_room_has_a_line_for_each_stage(monkeypatch):
    run = []

    def in_this_process(code, *words):
        run.append(words[1:3])
        monkeypatch.setattr(sys, "argv", ["-c", *words])
        exec(code, {})
        return 100 + 10 * len(run)  # MiB

    monkeypatch.setattr(memory, "peak_of", in_this_process)
    monkeypatch.setattr(pl, "Trainer", Recorder)
    lines = list(memory.measure(PLAN))
    assert [words[0] for words in run] == [
        *("corpus", "graphs", "vocabulary", "train", "predict-split"),
        *("corpus", "graphs", "train", "predict-split"),
    ]
    assert [made["limit_train_batches"] for made in Recorder.made] == [2, 2]
    assert Recorder.steps == [2, 2]
    stages = ("reading", "graphs", "training", "prediction")
    assert [line.what for line in lines] == [f"{s}: peak memory at 80 posts" for s in stages]
    for line, few, many in zip(lines, (110, 120, 140, 150), (160, 170, 180, 190), strict=True):
        index = line.numbers["index"]
        assert line.numbers["mebibytes"] == {"60": few, "80": many}
        assert line.value == pytest.approx(many / (few + 20 * index / 2**20))
        assert line.numbers["grown"] == pytest.approx((many - few) * 2**20 / 20)
        assert line.target == "<= 1.15"
        assert 100 < index < 1000
    assert json.dumps([line.numbers for line in lines])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Corpora of 500 and 2,000 posts, with features of objects."""
    folders = {}
    for count in (500, 2000):
        folders[count] = tmp_path_factory.mktemp(str(count))
        write_corpus(folders[count] / "drawn", posts=count, images=False)
        posts = prepare(folders[count] / "drawn", None, folders[count])
        ids = [post.image_id for post in posts]
        drawn(folders[count] / "objects.h5", object_columns(WIDTH, N, DTYPE), ids)
    posts = folders[500] / "posts.jsonl"
    write_scratch_encoder(posts, folders[500] / "encoder", ScratchSettings())
    return folders


def grown(of_folder, corpora):
    """Return how many bytes a post the peak grows by, as Python counts them.

    Now and then Python makes room for all the texts of the process, whatever their number here: the
    least of several peaks has none of that.
    """
    few, many = (min(peak(of_folder, folder) for _ in range(3)) for folder in corpora.values())
    return (many - few) / 1500


def peak(of_folder, folder):
    of_folder(folder)
    gc.collect()  # tuples that wait to be used again would not be counted
    tracemalloc.start()
    kept = of_folder(folder)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return found


def opened(folder):
    with FeatureFile(folder / "objects.h5") as file:
        return file


@pytest.mark.parametrize(
    ("stage", "of_folder"), [("reading", lambda f: load_corpus(f / "drawn")), ("graphs", opened)]
)
def test_the_index_is_what_is_kept(corpora, stage, of_folder):
    index = index_of(read_posts(corpora[500] / "posts.jsonl"), corpora[500] / "encoder")
    # A table has room ahead of what is in it: more or less, by how many posts there are.
    assert 0.7 * index[stage] < grown(of_folder, corpora) < 1.1 * index[stage]
