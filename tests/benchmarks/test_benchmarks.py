import io
import json
from dataclasses import asdict
from statistics import median

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import startup, storage, timing
from benchmarks.images import LARGEST, SMALLEST, write_image_posts, write_images
from benchmarks.peak import peak_memory
from benchmarks.plan import Plan
from benchmarks.results import LIBRARIES, WIDTH, Result, show, write, write_tables
from hamlearn.corpus.posts import read_posts
from hamlearn.vision.images import open_image

PLAN = Plan(
    threads=1,
    rounds=2,
    compile=False,
    backbone="demo",
    clip_layers=1,
    detr_layers=1,
    detr_side=64,
    detr_images=1,
    images=8,
    detector_images=2,
    min_size=None,
    predicted_posts=3,
    peak_images=(2, 3),
    image_files=2,
    stored_posts=40,
    read_posts=100,
    cold_batches=2,
    start_posts=40,
    width=24,
    layers=1,
)


def test_functions_alternate_and_the_warm_up_round_is_not_counted(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def function(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds if len(order) > 2 else 100  # the first round is slow

        return run

    times = timing.time_alternately({"a": function("a", 2.0), "b": function("b", 3.0)}, rounds=3)
    assert order == ["a", "b"] * 4
    assert times == {"a": [2.0] * 3, "b": [3.0] * 3}
    assert timing.speedup(times, "a", "b") == 1.5


def test_speedup_is_the_median_of_the_ratios_per_round():
    times = {"ours": [1.0, 8.0, 1.0], "baseline": [0.9, 7.0, 0.5]}  # the second round is slow
    assert timing.speedup(times, "ours", "baseline") == pytest.approx(0.875)
    numbers = timing.summarize(times, count=4)["ours"]
    assert (numbers["median"], numbers["minimum"], numbers["per_second"]) == (1.0, 1.0, 4.0)


@pytest.mark.parametrize(
    ("result", "verdict", "target"),
    [
        (Result("a", 0.9, at_least=0.9), "pass", ">= 0.9"),
        (Result("a", 0.89, at_least=0.9), "short", ">= 0.9"),
        (Result("a", 1.1, at_most=1.1), "pass", "<= 1.1"),
        (Result("a", 1.2, at_most=1.1), "short", "<= 1.1"),
        (Result("a", 0.1), "", ""),
        (Result("a", None, at_least=0.9), "", ">= 0.9"),
    ],
)
def test_verdicts(result, verdict, target):
    assert (result.verdict, result.target) == (verdict, target)


def test_images_have_the_size_of_tweets_and_posts_share_them(tmp_path):
    paths = write_images(tmp_path, 2)
    for path in paths:
        size = open_image(path).size
        assert all(a <= b <= c for a, b, c in zip(SMALLEST, size, LARGEST, strict=True))
        assert 0.08 < path.stat().st_size / (size[0] * size[1]) < 0.4
    posts = read_posts(write_image_posts(tmp_path / "posts.jsonl", paths, 5))
    assert len({post.image_id for post in posts}) == 5
    assert [post.image_path for post in posts] == [str(paths[n % 2]) for n in range(5)]


def test_peak_memory_of_extraction_is_that_of_its_process(tmp_path):
    posts = write_image_posts(tmp_path / "posts.jsonl", write_images(tmp_path, 1), 1)
    images = tmp_path / "images.h5"
    assert 100 < peak_memory(storage.EXTRACTION, str(posts), str(images), "images", "1") < 5000
    assert images.is_file()


def run_two_trainings(folder, cores):
    """Write what Snakemake records of two jobs, instead of running a workflow for a minute."""
    for run, seconds in (("full", 2), ("text_only", 3)):
        path = folder / "results" / "benchmarks" / "train" / "demo" / f"{run}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:0{seconds}\n")


def test_a_run_prints_tables_and_writes_every_number(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "peak_memory", lambda code, *arguments: 500.0)
    monkeypatch.setattr(startup, "_snakemake", run_two_trainings)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(command, "Plan", lambda **options: PLAN)
    groups = ["vision", "reading", "startup"]  # the others have their own tests
    outcome = CliRunner().invoke(
        _app(), [*groups, "--out", str(tmp_path / "b.json")], catch_exceptions=False
    )
    assert outcome.exit_code == 0
    for words in ("demo: extraction", "peak memory, objects", "bytes per post", "b.json"):
        assert words in " ".join(outcome.stdout.split())
    tables = (tmp_path / "b.md").read_text()
    assert [line[3:] for line in tables.splitlines() if line.startswith("## ")] == groups
    assert tables.count("| benchmark | measured |") == len(groups)
    document = json.loads((tmp_path / "b.json").read_text())
    for group in groups:
        for result in document["groups"][group]:
            assert f"| {result['name']} | " in tables
    assert document["machine"]["cpu"] in tables
    assert document.keys() == {"date", "machine", "versions", "settings", "groups"}
    assert document["settings"] == json.loads(json.dumps(asdict(PLAN)))
    assert set(LIBRARIES) < document["versions"].keys()
    assert all(document["machine"][key] for key in ("cpu", "cores", "memory_gib", "device"))
    vision, reading, start = (
        {result["name"]: result for result in document["groups"][group]} for group in groups
    )
    assert len(vision) == 10
    (prediction,) = (one for name, one in vision.items() if name.startswith("prediction with"))
    assert prediction["value"] > 0
    assert prediction["at_least"] == 0.9
    parts = [
        prediction["numbers"][name]["seconds"] for name in ("detector", "image network", "full")
    ]
    forward = prediction["numbers"]["forward"]["seconds"]
    assert forward == pytest.approx([sum(each) for each in zip(*parts, strict=True)])
    taken = prediction["numbers"]["prediction"]["seconds"]
    ratios = [bare / own for bare, own in zip(forward, taken, strict=True)]
    assert prediction["value"] == pytest.approx(median(ratios))
    numbers = vision["demo: extraction"]["numbers"]
    for name in ("extraction", "forward", "batch 1"):
        assert len(numbers[name]["seconds"]) == 2
        assert min(numbers[name]["seconds"]) > 0
    size = vision["bytes per post on disk"]
    formula = 2048 * 2 + 9 + 15 * (2048 * 2 + 24) + 4 + 9 + 256
    assert sum(size["numbers"]["formula"].values()) == formula
    assert formula < size["value"] < 1.05 * formula
    assert size["verdict"] == "pass"
    cached = reading["cached in memory, shuffled batches of 32"]
    assert cached["value"] > 0
    assert cached["at_least"] == 10_000
    assert len(reading["from disk, shuffled batches of 32"]["numbers"]["seconds"]["map"]) == 2
    error = reading["float16, largest relative error of a feature"]
    assert 2**-13 < error["value"] <= 2**-11
    assert 0 < start["`hamlearn --help`"]["value"] < 60
    assert start["stage train"]["value"] == 2.5


def _app():
    app = typer.Typer()
    app.command()(command.main)
    return app


def test_an_unknown_group_is_refused(tmp_path):
    outcome = CliRunner().invoke(_app(), ["kitchen", "--out", str(tmp_path / "b.json")])
    assert outcome.exit_code == 2
    assert not (tmp_path / "b.json").exists()


def test_the_file_is_written_atomically(tmp_path):
    with pytest.raises(TypeError):
        write(tmp_path / "b.json", {"vision": [Result("a", 1, numbers={"x": object()})]}, {})
    assert list(tmp_path.iterdir()) == []


def test_the_tables_in_markdown_have_every_cell(tmp_path):
    few = Result("a", 0.5, "b", at_least=0.9, note="why")
    write_tables(tmp_path / "b.md", {"vision": [few, Result("c", None, note="no GPU")]})
    lines = (tmp_path / "b.md").read_text().splitlines()
    assert lines[0] == "## vision"
    assert lines[4:6] == [
        "| a | 0.50 x | b | >= 0.9 | short | why |",
        "| c | not measured | | | | no GPU |",
    ]


def test_the_table_shows_verdicts():
    console = Console(file=io.StringIO(), width=WIDTH)
    show("vision", [Result("a", 0.5, at_least=0.9, note="why")], console)
    assert "short" in console.file.getvalue()


def test_the_table_breaks_no_word_in_100_columns():
    console = Console(file=io.StringIO(), width=WIDTH)
    name = "encoder: native_layer_norm_backward"
    baseline = "its published code, 0.742 s per post on another machine"
    note = "one thousand posts per second, and the R-GCN is that of dgl: " * 2
    show(
        "learning",
        [Result(name, 12345.6, baseline, at_least=10_000, unit="posts/s", note=note)],
        console,
    )
    said = console.file.getvalue()
    assert max(map(len, said.splitlines())) <= WIDTH == 100
    assert {"12,346 posts/s", ">= 10,000", "pass"} <= {part.strip() for part in said.split("│")}
    assert set(f"{name} {baseline} {note}".split()) <= set(said.replace("│", " ").split())
