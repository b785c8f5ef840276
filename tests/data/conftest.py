import pytest

from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.visual import VisualReader
from tests.builders import write_corpus

LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tokenizer(paths):
    return load_tokenizer(paths["encoder"])


@pytest.fixture
def pictures(paths):
    with VisualReader(paths["images"], paths["objects"], paths["graphs"]) as opened:
        yield opened
