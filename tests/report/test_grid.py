"""A grid on the page: all settings in one table and one chart, the best of them elsewhere."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from hamlearn.evaluation.evaluate import read_scores
from hamlearn.evaluation.grid import grid_table
from hamlearn.evaluation.tables import write_table
from hamlearn.report.grid import MANY, grid_tables, left_out, notes, read_grid
from hamlearn.report.page import write_report
from hamlearn.settings import Settings
from hamlearn.variants import planned_variants
from tests.report.fabricated import make, write_controls
from tests.report.markup import without_scripts


def test_of_few_settings_all_are_shown_everywhere() -> None:
    columns = ["corpus", "detector", "system", "variant", "chosen"]
    rows = [("c", "none", "bert", f"bert-{n}", int(n == 0)) for n in range(MANY - 1)]
    few = pd.DataFrame([*rows, ("c", "none", "bert", "bert", 0)], columns=columns)
    assert left_out(few) == set()
    assert notes(few, "c") == []
    more = pd.concat([few, few.iloc[-2:-1].assign(variant="bert-x")])
    hidden = {("c", "none", f"bert-{n}") for n in (*range(1, MANY - 1), "x")}
    assert left_out(more) == hidden
    assert notes(more, "c") == [
        "Of 7 settings of bert this section shows those of the configuration, bert, and the best on"
        " dev, bert-0."
    ]
    best = more.assign(chosen=(more["variant"] == "bert").astype(int), detector="demo")
    assert notes(best, "c")[0].endswith(
        "bert, detector demo, this section shows those of the configuration, that is, the best on"
        " dev, bert."
    )
    assert notes(best, "another") == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Settings, Path]:
    """The report of a system with nine settings, whose results are those of one."""
    made = make(tmp_path_factory.mktemp("grid") / "results", variants=("text_only",))
    rates = [n * 1e-5 for n in range(1, 9)]
    values = made.settings.model_dump()
    values |= {"variants": ["text_only"], "experiments": {"grid": {"training.lr": rates}}}
    settings = Settings.model_validate(values)
    scores = read_scores(made.metrics)
    frames = []
    for place, label in enumerate(planned_variants(settings)):
        better = scores["f1"].where(scores["split"] != "dev", place / 100)
        frames.append(scores.assign(variant=label, f1=better))
        for name in ("models", "predictions"):
            own = made.root / name / "demo" / "none"
            if label != "text_only":
                shutil.copytree(own / "text_only", own / label)
    write_table(made.metrics, pd.concat(frames, ignore_index=True))
    write_controls(made)
    table = grid_table(read_scores(made.metrics), settings)
    write_table(made.root / "report" / "tables" / "grid.csv", table)
    write_report(settings, made.metrics, made.root, made.out)
    return without_scripts((made.out / "index.html").read_text()), settings, made.root


def test_all_settings_are_in_one_table_and_one_chart(page: tuple[str, Settings, Path]) -> None:
    text, settings, root = page
    labels = planned_variants(settings)
    (table,) = grid_tables(read_grid(settings, root)).values()
    assert [row.name for row in table.rows] == labels[::-1]
    begin = text.index('<section id="settings-by-dev">')
    own = text[begin : text.index("</section>", begin)]
    assert all(own.count(f">{label}<") >= 2 for label in labels)  # in the table and in the chart
    assert (root / "report" / "figures" / "demo-settings.svg").is_file()


def test_the_section_of_the_corpus_shows_the_best_and_says_so(
    page: tuple[str, Settings, Path],
) -> None:
    text, settings, root = page
    base, *others = planned_variants(settings)
    begin = text.index('<section id="demo">')
    own = text[begin : text.index("<pre ", begin)]
    assert (
        f"Of 9 settings of text_only this section shows those of the configuration, {base}" in own
    )
    assert others[-1] in own
    assert not any(f"{label}<" in own for label in others[:-1])
    drawn = {path.name for path in (root / "report" / "figures").glob("*-training.svg")}
    assert drawn == {f"demo-none-{label}-training.svg" for label in (base, others[-1])}
