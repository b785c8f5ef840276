"""What the page says of a corpus that is not the paper's."""

import json
from pathlib import Path

from hamlearn.corpus.posts import read_posts
from hamlearn.corpus.statistics import corpus_statistics, write_statistics
from hamlearn.report.inputs import read_results
from hamlearn.report.provenance import cautions
from hamlearn.report.tables import by_type, corpus_table
from tests.report.fabricated import Made, make


def cautions_of(made: Made) -> dict[str, str]:
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    return {caution.headline: caution.text for caution in cautions(corpus)}


def test_types_in_any_script_that_look_like_numbers_or_nothing(tmp_path: Path) -> None:
    types = ("NA", "01", "疾病", "creative-work", "null")
    made = make(tmp_path, corpora={"mine": False}, variants=("text_only",), types=types)
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    assert [row.name for row in corpus_table(corpus).rows][:5] == sorted(types)
    assert by_type(corpus).columns == (*sorted(types), "all")


def test_a_dev_split_out_of_train_is_said(tmp_path: Path) -> None:
    made = make(tmp_path, corpora={"mine": False}, variants=("text_only",))
    assert cautions_of(made) == {}
    folder = tmp_path / "corpus" / "mine"
    statistics = corpus_statistics(read_posts(folder / "posts.jsonl"), dev_from_train=True)
    write_statistics(folder / "statistics.csv", statistics)
    assert list(cautions_of(made)) == ["dev is 12 posts of train"]
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    named = {row.name: [cell.text for cell in row.cells] for row in corpus_table(corpus).rows}
    assert named["Dev posts out of train"] == ["0", "12", "0", "12"]


def test_cut_words_are_said_by_split(tmp_path: Path) -> None:
    made = make(tmp_path, corpora={"mine": False}, variants=("text_only",))
    folder = made.run_folder("mine", "none", "text_only", 0)
    facts = json.loads((folder / "run.json").read_text())
    facts["splits"]["train"] |= {"cut_words": 7, "cut_posts": 2}
    facts["text"]["max_subtokens"] = 64
    (folder / "run.json").write_text(json.dumps(facts))
    path = tmp_path / "predictions/mine/none/text_only/seed0/test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[3]["cut"] = 2
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ((headline, text),) = cautions_of(made).items()
    assert headline == "9 words lie past 64 sub-tokens and were not read"
    assert text.startswith("7 words of 2 posts in train, 0 words of 0 posts in dev, 2 words of 1")


def test_a_corpus_without_any_picture_is_advised_to_read_text_alone(tmp_path: Path) -> None:
    sizes = {"train": 3, "dev": 2, "test": 4}
    names = [f"{split}_{number}" for split, size in sizes.items() for number in range(size)]
    failures = dict.fromkeys(names, ("missing", "no such file"))
    made = make(tmp_path, variants=("full",), sizes=sizes, failures=failures)
    said = cautions_of(made)
    assert "text_only does the same" in said["9 of 9 posts have no usable picture"]
    failures.popitem()
    made = make(tmp_path / "b", variants=("full",), sizes=sizes, failures=failures)
    assert "text_only" not in cautions_of(made)["8 of 9 posts have no usable picture"]
