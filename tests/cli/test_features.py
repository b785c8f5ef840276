import pytest
from typer.testing import CliRunner

from hamlearn.cli import app
from hamlearn.corpus.posts import write_posts
from hamlearn.errors import HamlearnError
from tests.builders import make_posts


@pytest.mark.parametrize("kind", [("images", "--backbone"), ("objects", "--detector")])
def test_a_shard_that_is_none_ends_before_anything_is_written(tmp_path, kind):
    write_posts(tmp_path / "posts.jsonl", make_posts(2, 1, 1))
    command, network = kind
    files = ["--posts", str(tmp_path / "posts.jsonl"), "--out", str(tmp_path / "out.h5")]
    words = ["features", command, "--settings", "{}", network, "demo", "--shard", "3-of-2", *files]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, HamlearnError)
    assert "shard" in str(done.exception)
    assert not (tmp_path / "out.h5").exists()
