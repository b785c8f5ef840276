from typer.testing import CliRunner

from hamlearn.cli import app


def test_a_corpus_has_a_least_size_and_no_negative_seed(tmp_path):
    for option, value in (("--posts", "29"), ("--seed", "-1")):
        arguments = ["demo", "corpus", "--out", str(tmp_path / "corpus"), option, value]
        assert CliRunner().invoke(app, arguments).exit_code == 2
    assert not (tmp_path / "corpus").exists()
