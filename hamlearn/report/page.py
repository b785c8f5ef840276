"""The report: one page that needs no network, with its figures as files next to it."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from markupsafe import Markup

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.means import mean_and_deviation
from hamlearn.evaluation.scores import ALL
from hamlearn.outputs import FIGURES, MARKER, atomic_folder, atomic_write
from hamlearn.report import controls, figures, grid, hero, provenance, tables
from hamlearn.report.browser import as_json, browser_of
from hamlearn.report.contact import GROUP_COLOURS, contact_sheet
from hamlearn.report.findings import BASE, explanation, findings
from hamlearn.report.forms import forms
from hamlearn.report.inputs import (
    NO_DETECTOR,
    TEST,
    CorpusResults,
    Detections,
    read_detections,
    read_results,
)
from hamlearn.settings import Settings
from hamlearn.templates import environment
from hamlearn.variants import variant_of

log = logging.getLogger(__name__)
T = TypeVar("T")


def write_report(
    settings: Settings, metrics: str | Path, results: str | Path, out: str | Path
) -> None:
    """Write index.html and the folder `figures` of a finished run of the workflow.

    The gathered scores, `metrics`, decide the runs to show. `results` is the folder written by the
    workflow, `out` that of the report, in which other files stay.

    Raises:
        HamlearnError: a result is absent or malformed, or `out` holds a page or figures of others.
    """
    results, out = Path(results), Path(out)
    if (out / "index.html").exists() and not (out / "figures" / MARKER).exists():
        raise HamlearnError(
            f"{out / 'index.html'}: found a page that hamlearn did not write; expected a new folder"
        )
    sections, settings_by_dev = [], grid.read_grid(settings, results)
    left_out = grid.left_out(settings_by_dev)
    charts = grid.grid_figures(settings_by_dev)
    corpora = read_results(settings, metrics, results, left_out)
    for corpus in corpora:
        detections = [
            read_detections(corpus, name, results, relations=settings.report.pictures)
            for name in corpus.detectors
        ]
        notes = grid.notes(settings_by_dev, corpus.name)
        sections.append({**section_of(settings, corpus, detections), "notes": notes})
    folder = Path(__file__).parent / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = (
        environment("hamlearn.report")
        .get_template("page.html.jinja")
        .render(
            style=Markup(style),
            script=Markup(script),
            script_digest=f"sha256-{digest}",  # the only script that the page's policy allows
            groups=GROUP_COLOURS,
            settings=yaml.safe_dump(settings.model_dump(), sort_keys=False, allow_unicode=True),
            name=settings.name,
            facts=hero.facts(corpora, results),
            forms=lambda table: as_json(forms(table)),
            sections=sections,
            paper=tables.paper_tables(settings, results),
            grid=grid.grid_tables(settings_by_dev),
            charts=charts,
            pairs=tables.pair_tables(settings, results, left_out),
        )
    )
    with (  # the page appears after the figures
        atomic_write(out / "index.html") as part,
        atomic_folder(out / "figures", FIGURES) as folder,
    ):
        part.write_text(_without_controls(page), encoding="utf-8")
        every = [*charts.values()]
        for section in sections:
            every += _present([section["chart"], *(sheet.counts for sheet in section["sheets"])])
            for name in ("by_cue", "breakdowns", "curves", "relevance"):
                every += section[name]
        for figure in every:
            svg = _without_controls(figure.svg)
            (folder / f"{figure.name}.svg").write_text(svg, encoding="utf-8")
    for section in sections:
        for caution in section["cautions"]:
            log.warning("%s: %s", caution.corpus, caution.headline)
    log.info("report written to %s", out / "index.html")


def section_of(
    settings: Settings, corpus: CorpusResults, detections: Sequence[Detections]
) -> dict[str, Any]:
    """Return everything that the page shows of one corpus; see page.html.jinja."""
    base = [run for name in corpus.detectors for run in corpus.runs_of(name, BASE)[:1]]
    detectors = corpus.detectors or [NO_DETECTOR]
    breakdowns = [figures.f1_by_length(corpus, name) for name in detectors]
    for found in detections:
        images = [found.images.get(post.image_id) for post in corpus.test]
        objects = [None if image is None else len(image.names) for image in images]
        breakdowns.append(figures.f1_by_objects(corpus, found.detector, objects))
    names = dict.fromkeys(variant for _, variant in corpus.variants)
    relevance = [figures.relevance(corpus, run, by) for run in base for by in ("cue", "outcome")]
    scores = hero.system_scores(corpus)
    confusions = [tables.confusion_table(corpus, run) for run in base or corpus.runs[:1]]
    return {
        "name": corpus.name,
        "state": state_of(corpus),
        "several": len({run.seed for run in corpus.runs}) > 1,
        "best": hero.best(corpus, scores),
        "chart": hero.chart(corpus, scores),
        "telling": hero.telling_posts(settings, corpus, base[0] if base else None),
        "cautions": provenance.cautions(corpus),
        "variants": {name: about(settings, name) for name in names},
        "headline": _present([tables.headline(corpus, split) for split in (TEST, "dev")]),
        "cues": tables.by_cue(corpus),
        "findings": findings(corpus),
        "effects": _present([controls.effects_table(corpus), controls.relevance_table(corpus)]),
        "explanation": explanation(corpus),
        "types": tables.by_type(corpus),
        "by_cue": _present([figures.f1_by_cue(corpus, name) for name in detectors]),
        "confusions": _present(confusions),
        "breakdowns": _present(breakdowns),
        "curves": [figures.training_curves(corpus, *pair) for pair in corpus.variants],
        "relevance": _present(relevance),
        "sheets": [contact_sheet(settings, corpus, found) for found in detections],
        "browser": browser_of(settings, corpus, detections) if settings.report.posts else None,
        "corpus": provenance.corpus_table(corpus),
        "coverage": provenance.coverage_table(corpus),
        "runs": provenance.run_table(corpus),
        "provenance": provenance.provenance_table(corpus),
    }


def about(settings: Settings, label: str) -> str:
    """Return what a variant is: its system, and the settings that differ from the base."""
    try:
        variant = variant_of(settings, label)
    except HamlearnError:
        return "not of this configuration"
    what = settings.system(variant.system).about
    values = [f"{key} = {json.dumps(value)}" for key, value in variant.changed.items()]
    return "; ".join([what, ", ".join(values)]) if values else what


def state_of(corpus: CorpusResults) -> str:
    """Return what was run on a corpus and what it reached, in one sentence."""
    variants = {variant for _, variant in corpus.variants}
    seeds = {run.seed for run in corpus.runs}
    state = (
        f"{corpus.name}: {_counted(len(variants), 'variant')}, {_counted(len(seeds), 'seed')},"
        f" {len(corpus.posts)} posts"
    )
    detector, variant = next(
        (pair for pair in corpus.variants if pair[1] == BASE), corpus.variants[0]
    )
    runs = tables.select(corpus.scores, detector=detector, variant=variant)
    f1 = tables.select(runs, split=TEST, scheme="lenient", type=ALL, cue=ALL)["f1"]
    if f1.empty:
        return f"{state}."
    return f"{state}; {variant} reaches {mean_and_deviation(f1)} F1 on test (lenient, percent)."


def _without_controls(text: str) -> str:
    """Return markup with control characters spelled out, which neither HTML nor XML may hold."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m.group()):02x}", text)


def _present(items: Sequence[T | None]) -> list[T]:
    return [item for item in items if item is not None]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
