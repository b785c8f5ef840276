"""A line of 3 GB in any text file is one error that names the file, in little memory."""

import os
import resource

import pytest

from hamlearn.corpus.conll import read_conll
from hamlearn.corpus.posts import PostFile, read_posts
from hamlearn.corpus.prepare import with_cues
from hamlearn.corpus.texts import read_texts
from hamlearn.data.lexicon import Lexicon, read_vectors
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import read_predictions
from hamlearn.evaluation.tables import read_table
from hamlearn.features.object_files import drawn_objects
from hamlearn.features.tsv_objects import tsv_file
from hamlearn.inference.posts import Unreadable
from hamlearn.inference.predict_file import join
from hamlearn.inference.readers import read_posts as posts_of
from hamlearn.io import read_yaml
from hamlearn.runs import read_run_facts
from hamlearn.vision.base import class_names

SIZE = 3 << 30
ROOM = 400 << 20  # bytes of address space that a reader may add

READERS = {
    "texts": read_texts,
    "class names": class_names,
    "conll": read_conll,
    "cues": lambda path: with_cues([], path),
    "lexicon": Lexicon.read,
    "manifest of the demo": lambda path: drawn_objects(path.parent),
    "predictions": lambda path: read_predictions(path, []),
    "shard": lambda path: join(path.with_name("posts.jsonl"), [path], path.with_name("o")),
    "prepared posts": read_posts,
    "prepared posts of a split": lambda path: PostFile(path, "test"),
    "run": read_run_facts,
    "table": lambda path: read_table(path, ["f1"], [], "evaluate"),
    "tsv": tsv_file,
    "word vectors": lambda path: read_vectors(path, ["a"]),
    "yaml": read_yaml,
}  # fmt: skip


@pytest.fixture
def little_memory():
    """Bound the address space of this process for a moment."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def one_line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    (folder / "posts.jsonl").write_text('{"text": "a"}\n')
    with (folder / "manifest.jsonl").open("wb") as file:
        file.truncate(SIZE)  # sparse: NULs that take no room
    return folder / "manifest.jsonl"


@pytest.mark.parametrize("form", ["csv", "text"])
def test_a_post_of_3_gb_is_one_record(one_line, little_memory, form):
    try:
        (post,) = posts_of(one_line, str, form)
    except HamlearnError as error:
        post = Unreadable("1", str(error))  # the header of a table
    assert "longer than 1000000 characters" in post.error


@pytest.mark.parametrize("name", READERS)
def test_one_line_of_3_gb_is_one_error(one_line, little_memory, name):
    with pytest.raises(
        HamlearnError, match=r"manifest\.jsonl.*found (a line of )?more than \d+ bytes"
    ):
        READERS[name](one_line)
