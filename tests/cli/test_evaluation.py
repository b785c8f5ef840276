from typer.testing import CliRunner

from hamlearn.cli import app


def test_the_posts_of_pairs_are_named_by_corpus(tmp_path):
    words = ["test.jsonl", "--posts", "posts.jsonl", "--csv", str(tmp_path / "pairs.csv")]
    done = CliRunner().invoke(app, ["paper", "pairs", *words])
    assert str(done.exception) == "--posts: found 'posts.jsonl', expected CORPUS=posts.jsonl"
