"""The report: one page that needs no network, and its figures as files beside it."""

import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from markupsafe import Markup

from hamlearn.evaluation.evaluate import ALL
from hamlearn.evaluation.summary import mean_and_deviation
from hamlearn.io import atomic_write
from hamlearn.report import figures
from hamlearn.report.analysis import confusion, f1_by_length, f1_by_objects, objects_of_posts
from hamlearn.report.browser import Browser, browser_of
from hamlearn.report.contact import GROUP_COLOURS, Sheet, contact_sheet
from hamlearn.report.figures import Picture
from hamlearn.report.findings import BASE, Finding, findings, how_told
from hamlearn.report.inputs import NO_DETECTOR, TEST, CorpusResults, read_results
from hamlearn.report.paper_tables import PaperTables, paper_tables
from hamlearn.report.provenance import Caution, cautions, provenance_table
from hamlearn.report.style import inline
from hamlearn.report.tables import (
    Table,
    by_cue,
    by_type,
    chosen_rows,
    corpus_table,
    headline,
    run_facts,
    variants_of,
)
from hamlearn.settings import Settings
from hamlearn.systems import SYSTEMS
from hamlearn.templates import environment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Section:
    """What the page shows of one corpus, in the order of the page.

    Attributes:
        name: of the corpus.
        cautions: what to know before its numbers.
        variants: name and meaning of each variant.
        headline: scores of the test split, then of dev.
        cues: F1 by cue, if the corpus has cues.
        findings: what the numbers say.
        how_told: what a finding rests on.
        types: F1 by entity type.
        by_cue: a figure for each detector.
        curves: a figure for each variant.
        relevance: by cue and by outcome, for each detector.
        confusions: types taken for each other, for each detector.
        breakdowns: F1 by length and by number of objects.
        sheets: what each detector found.
        browser: every test post; None where the page leaves them out.
        corpus: Table 1.
        runs: every run.
        provenance: every feature file.
    """

    name: str
    cautions: list[Caution]
    variants: list[tuple[str, str]]
    headline: list[Table]
    cues: Table | None
    findings: list[Finding]
    how_told: str
    types: Table | None
    by_cue: list[Picture]
    curves: list[Picture]
    relevance: list[Picture]
    confusions: list[Table]
    breakdowns: list[Picture]
    sheets: list[Sheet]
    browser: Browser | None
    corpus: Table
    runs: Table
    provenance: Table | None

    @property
    def pictures(self) -> list[Picture]:
        """Every figure."""
        found = _present([sheet.counts for sheet in self.sheets])
        return [*self.by_cue, *self.breakdowns, *self.curves, *self.relevance, *found]


def write_report(
    settings: Settings, metrics_csv: str | Path, results_dir: str | Path, out_dir: str | Path
) -> None:
    """Write index.html and the folder `figures` of a finished run of the workflow.

    Args:
        settings: of the experiment; shown on the page.
        metrics_csv: the gathered scores, which tell which runs to show.
        results_dir: the folder that the workflow writes.
        out_dir: the folder of the report, made if absent; other files in it stay.

    Raises:
        HamlearnError: an input is absent or malformed.
    """
    corpora = read_results(settings, metrics_csv, Path(results_dir))
    folder = Path(results_dir)
    sections = [
        section_of(
            corpus,
            folder,
            [contact_sheet(settings, corpus, name, folder) for name in corpus.detectors],
            browser_of(settings, corpus, folder) if settings.report.posts else None,
        )
        for corpus in corpora
    ]
    page = render(
        settings,
        [state_of(corpus) for corpus in corpora],
        sections,
        paper_tables(settings, folder),
    )
    out = Path(out_dir)
    with atomic_write(out / "figures") as part:
        part.mkdir()
        for picture in (picture for section in sections for picture in section.pictures):
            (part / f"{picture.name}.svg").write_text(picture.svg, encoding="utf-8")
    with atomic_write(out / "index.html") as part:
        part.write_text(page, encoding="utf-8")
    for caution in (caution for section in sections for caution in section.cautions):
        log.warning("%s: %s", caution.corpus, caution.headline)
    log.info("report written to %s", out / "index.html")


def render(
    settings: Settings,
    state: Sequence[str],
    sections: Sequence[Section],
    paper: PaperTables | None = None,
) -> str:
    """Return the page.

    Args:
        settings: shown at its end.
        state: one sentence a corpus.
        sections: one a corpus.
        paper: tables of the paper, and every pair of systems, where they are asked for.
    """
    folder = Path(__file__).parent / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("style.css", "page.js"))
    return (
        environment("hamlearn.report")
        .get_template("page.html.jinja")
        .render(
            style=Markup(style),
            script=Markup(script),
            script_digest=_digest(script),
            inline=lambda picture: Markup(inline(picture.svg, picture.title)),
            groups=GROUP_COLOURS,
            settings=yaml.safe_dump(settings.model_dump(), sort_keys=False, allow_unicode=True),
            state=state,
            sections=sections,
            paper=paper,
        )
    )


def section_of(
    corpus: CorpusResults, results: Path, sheets: list[Sheet], browser: Browser | None
) -> Section:
    """Make everything that the page shows of one corpus.

    Args:
        corpus: what is known of it.
        results: the folder that the workflow writes.
        sheets: what each detector found.
        browser: every test post, or None.
    """
    pairs = variants_of(corpus.scores)
    visual = corpus.detectors
    first = [corpus.runs_of(detector, BASE)[:1] for detector in visual]
    shown = first if any(first) else [corpus.runs[:1]]
    breakdowns = [f1_by_length(corpus, name) for name in visual or [NO_DETECTOR]]
    for name in visual:
        objects = objects_of_posts(corpus, name, results)
        breakdowns.append(f1_by_objects(corpus, name, objects))
    return Section(
        name=corpus.name,
        cautions=cautions(corpus),
        variants=[
            (name, SYSTEMS[name].about if name in SYSTEMS else "")
            for name in dict.fromkeys(variant for _, variant in pairs)
        ],
        headline=[t for split in (TEST, "dev") if (t := headline(corpus, split)) is not None],
        cues=by_cue(corpus),
        findings=findings(corpus),
        how_told=how_told(corpus),
        types=by_type(corpus),
        by_cue=_present([figures.f1_by_cue(corpus, name) for name in visual or [NO_DETECTOR]]),
        curves=[figures.training_curves(corpus, *pair) for pair in pairs],
        relevance=_present(
            [
                figures.relevance(corpus, run, by)
                for runs in first
                for run in runs
                for by in ("cue", "outcome")
            ]
        ),
        confusions=[t for runs in shown for run in runs if (t := confusion(corpus, run))],
        breakdowns=_present(breakdowns),
        sheets=sheets,
        browser=browser,
        corpus=corpus_table(corpus),
        runs=run_facts(corpus),
        provenance=provenance_table(corpus),
    )


def state_of(corpus: CorpusResults) -> str:
    """Say in one sentence what was run on a corpus, and where it ended."""
    pairs, scores = variants_of(corpus.scores), corpus.scores
    variants, seeds = {variant for _, variant in pairs}, scores["seed"].nunique()
    told = (
        f"{corpus.name}: {_counted(len(variants), 'variant')}, {_counted(int(seeds), 'seed')},"
        f" {len(corpus.posts)} posts"
    )
    chosen = next((pair for pair in pairs if pair[1] == BASE), pairs[0])
    f1 = chosen_rows(
        scores,
        detector=chosen[0],
        variant=chosen[1],
        split=TEST,
        scheme="lenient",
        type=ALL,
        cue=ALL,
    )["f1"]
    if f1.empty:
        return f"{told}."
    return f"{told}; {chosen[1]} reaches {mean_and_deviation(f1)} F1 on test (lenient, percent)."


def _digest(script: str) -> str:
    """Return what the page's policy says of the only script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _present(pictures: Sequence[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
