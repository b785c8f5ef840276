"""The machinery of the benchmarks on tiny networks: what is timed, the table, the JSON file."""

import io
import json
from dataclasses import asdict

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import startup, storage, timing
from benchmarks.pictures import LARGEST, SMALLEST, draw, posts_over
from benchmarks.plan import Plan
from benchmarks.results import LIBRARIES, Line, show, write
from hamlearn.corpus.posts import read_posts
from hamlearn.vision.images import open_image

PLAN = Plan(
    threads=1,
    rounds=2,
    pictures=8,
    detected=2,
    memory=(2, 3),
    distinct=2,
    rows=40,
    read=100,
    cold=2,
    few=40,
    backbone="demo",
    min_size=None,
    compile=False,
)


def test_things_take_turns_and_the_first_round_is_not_counted(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def thing(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds if len(order) > 2 else 100  # the first round warms up

        return run

    taken = timing.in_turn({"a": thing("a", 2.0), "b": thing("b", 3.0)}, rounds=3)
    assert order == ["a", "b"] * 4
    assert taken == {"a": [2.0] * 3, "b": [3.0] * 3}
    assert timing.quicker(taken, "a", "b") == 1.5


def test_a_ratio_is_the_median_of_its_rounds():
    taken = {"ours": [1.0, 8.0, 1.0], "floor": [0.9, 7.0, 0.5]}  # all slow in the second round
    assert timing.quicker(taken, "ours", "floor") == pytest.approx(0.875)
    numbers = timing.summary(taken, count=4)["ours"]
    assert (numbers["median"], numbers["minimum"], numbers["per_second"]) == (1.0, 1.0, 4.0)


@pytest.mark.parametrize(
    ("line", "verdict", "target"),
    [
        (Line("a", 0.9, at_least=0.9), "pass", ">= 0.9"),
        (Line("a", 0.89, at_least=0.9), "short", ">= 0.9"),
        (Line("a", 1.1, at_most=1.1), "pass", "<= 1.1"),
        (Line("a", 1.2, at_most=1.1), "short", "<= 1.1"),
        (Line("a", 0.1), "", ""),
        (Line("a", None, at_least=0.9), "", ">= 0.9"),
    ],
)
def test_verdicts(line, verdict, target):
    assert (line.verdict, line.target) == (verdict, target)


def test_pictures_have_the_size_of_tweets_and_posts_share_them(tmp_path):
    paths = draw(tmp_path, 2)
    for path in paths:
        size = open_image(path).size
        assert all(a <= b <= c for a, b, c in zip(SMALLEST, size, LARGEST, strict=True))
        assert 0.08 < path.stat().st_size / (size[0] * size[1]) < 0.4
    posts = read_posts(posts_over(paths, 5, tmp_path / "posts.jsonl"))
    assert len({post.image_id for post in posts}) == 5
    assert [post.image_path for post in posts] == [str(paths[n % 2]) for n in range(5)]


def test_peak_memory_is_that_of_a_process_that_extracts(tmp_path):
    posts = posts_over(draw(tmp_path, 1), 1, tmp_path / "posts.jsonl")
    assert 100 < storage.peak_of("images", posts, threads=1) < 5000
    assert (tmp_path / "images.h5").is_file()


def two_trainings(folder, cores):
    """Leave what Snakemake writes of each job, in the place of a workflow that takes a minute."""
    for run, seconds in (("full", 2), ("text_only", 3)):
        path = folder / "results" / "benchmarks" / "train" / "demo" / f"{run}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:0{seconds}\n")


def test_a_run_ends_in_a_table_and_a_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "peak_of", lambda kind, posts, threads: 500.0)
    monkeypatch.setattr(startup, "_snakemake", two_trainings)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(command, "Plan", lambda **given: PLAN)
    rooms = ["vision", "reading", "startup"]  # the fourth has tests of its own
    said = CliRunner().invoke(
        _app(), [*rooms, "--out", str(tmp_path / "b.json")], catch_exceptions=False
    )
    assert said.exit_code == 0
    for words in ("demo: extraction", "peak memory, objects", "bytes per post", "b.json"):
        assert words in " ".join(said.stdout.split())
    document = json.loads((tmp_path / "b.json").read_text())
    assert document.keys() == {"date", "machine", "versions", "settings", "rooms"}
    assert document["settings"] == json.loads(json.dumps(asdict(PLAN)))
    assert set(LIBRARIES) < document["versions"].keys()
    assert all(document["machine"][key] for key in ("cpu", "cores", "memory_gib", "device"))
    lines = {line["what"]: line for line in document["rooms"]["vision"]}
    assert len(lines) == 7
    taken = lines["demo: extraction"]["numbers"]
    for thing in ("extraction", "forward", "one by one"):
        assert len(taken[thing]["seconds"]) == 2
        assert min(taken[thing]["seconds"]) > 0
    size = lines["bytes per post on disk"]
    formula = 2048 * 2 + 9 + 15 * (2048 * 2 + 24) + 4 + 9 + 256
    assert sum(size["numbers"]["by_formula"].values()) == formula
    assert formula < size["value"] < 1.05 * formula
    assert size["verdict"] == "pass"
    read = {line["what"]: line for line in document["rooms"]["reading"]}
    assert read["warm, shuffled batches of 32"]["value"] > 0
    assert len(read["from the disk, shuffled batches of 32"]["numbers"]["seconds"]["map"]) == 2
    started = {line["what"]: line for line in document["rooms"]["startup"]}
    assert 0 < started["`hamlearn --help`"]["value"] < 60
    assert started["stage train, whole"]["value"] == 2.5
    error = read["float16, largest relative error of a feature"]
    assert 2**-13 < error["value"] <= 2**-11


def _app():
    app = typer.Typer()
    app.command()(command.main)
    return app


def test_an_unknown_room_is_refused(tmp_path):
    said = CliRunner().invoke(_app(), ["kitchen", "--out", str(tmp_path / "b.json")])
    assert said.exit_code == 2
    assert not (tmp_path / "b.json").exists()


def test_the_file_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path / "b.json", {"vision": [Line("a", 1, numbers={"x": object()})]}, {})
    assert list(tmp_path.iterdir()) == []
    console = Console(file=io.StringIO(), width=100)
    show("vision", [Line("a", 0.5, at_least=0.9, note="why")], console)
    assert "short" in console.file.getvalue()
