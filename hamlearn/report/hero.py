"""The first screen of the page: what was run, the best system, every system, three posts."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from hamlearn.corpus.labels import Entity, entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.scores import ALL
from hamlearn.evaluation.significance import LEVEL, Interval, count, difference, level
from hamlearn.report.contact import thumbnail
from hamlearn.report.inputs import CorpusResults, RunResult
from hamlearn.report.style import TEXT, Figure, draw, look, place_of, tip
from hamlearn.settings import Settings
from hamlearn.vision.images import ImageError, open_image

MOST_POSTS = 3
WIDTH = 5.0  # inches
SIDE, QUALITY = 320, 70  # of the image of a post


@dataclass(frozen=True)
class SystemScore:
    """Lenient F1 on test of one system, in percent."""

    detector: str
    variant: str
    f1: Interval  # over posts and, if several, seeds
    by_seed: dict[int, float]


@dataclass(frozen=True)
class TellingPost:
    """A post that one system gets right and another wrong."""

    words: list[tuple[str, str]]  # parts of the text, each with its gold type or ""
    right: str
    wrong: str
    said: str  # by the system that is wrong, in words
    image: str  # data URI
    link: str  # fragment of the post in the browser


def facts(corpora: Sequence[CorpusResults], results: Path) -> dict[str, str]:
    """Return what was run, when and where, by its name; from the runs, not from the page."""
    runs = [run for corpus in corpora for run in corpus.runs]
    trained = [training.facts for run in runs for training in run.trainings]
    ended = sorted(one.ended for one in trained if one.ended)
    seconds = wall_time(results)
    found = {
        "Corpora": ", ".join(corpus.name for corpus in corpora),
        "Systems": str(len({(run.detector, run.variant) for run in runs})),
        "Seeds": str(len({run.seed for run in runs})),
        "Trained": _range(sorted({one[:10] for one in ended})),
        "Commit": ", ".join(dict.fromkeys(one.commit for one in trained if one.commit)),
        "Version": ", ".join(dict.fromkeys(one.hamlearn for one in trained)),
        "Hardware": "; ".join(dict.fromkeys(one.machine or one.device for one in trained)),
        "Jobs took": "" if seconds is None else duration(seconds),
    }
    return {name: value or "not recorded" for name, value in found.items()}


def wall_time(results: Path) -> float | None:
    """Return the seconds of all jobs before the report together; None if none was measured."""
    files = sorted((results / "benchmarks").rglob("*.tsv"))
    total, known = 0.0, False
    for path in files:
        if path.name == "report.tsv":  # written after the page
            continue
        with suppress(
            KeyError, IndexError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError
        ):
            total += float(pd.read_csv(path, sep="\t")["s"].iloc[0])
            known = True
    return total if known else None


def duration(seconds: float) -> str:
    """Return a time in the two largest of hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def system_scores(corpus: CorpusResults) -> list[SystemScore]:
    """Return F1 of every system, in the order of the scores; empty without test posts."""
    if not any(entities(post.labels) for post in corpus.test):
        return []
    found = []
    for detector, variant in corpus.variants:
        runs = corpus.runs_of(detector, variant)
        counts = np.stack([count(corpus.test, run.labels) for run in runs])
        by_seed = {
            run.seed: 100 * level(one[None]).value for run, one in zip(runs, counts, strict=True)
        }
        f1 = level(counts)
        in_percent = Interval(100 * f1.value, 100 * f1.low, 100 * f1.high)
        found.append(SystemScore(detector, variant, in_percent, by_seed))
    return found


def best(corpus: CorpusResults, scores: Sequence[SystemScore]) -> str:
    """Return which system is best on a corpus, in one sentence; empty without scores."""
    if not scores:
        return ""
    ordered = sorted(scores, key=lambda one: -one.f1.value)
    top = [one for one in ordered if f"{one.f1.value:.2f}" == f"{ordered[0].f1.value:.2f}"]
    names = " and ".join(dict.fromkeys(one.variant for one in top))
    text = f"{names} {'is' if len(top) == 1 else 'are'} best on {corpus.name}"
    text += f" with {top[0].f1.value:.2f} F1 on test (lenient, percent)"
    if len(ordered) > len(top):
        second = ordered[len(top)]
        text += f", before {second.variant} with {second.f1.value:.2f}"
        if not _differ(corpus, top[0], second):
            text += " (no significant difference)"
    return f"{text}."


def _differ(corpus: CorpusResults, one: SystemScore, other: SystemScore) -> bool:
    """Return whether two systems differ significantly, on the seeds that both have."""
    seeds = sorted(one.by_seed.keys() & other.by_seed.keys())
    if not seeds:
        return False
    counts = [
        np.stack([count(corpus.test, run.labels) for run in runs])
        for runs in (
            [run for run in corpus.runs_of(system.detector, system.variant) if run.seed in seeds]
            for system in (one, other)
        )
    ]
    return difference(counts[0], counts[1]).excludes_zero


def chart(corpus: CorpusResults, scores: Sequence[SystemScore]) -> Figure | None:
    """Draw F1 of every system with its interval and seeds, on an axis that fits them."""
    if not scores:
        return None
    return draw(
        f"{corpus.name}-systems",
        f"Lenient F1 on test of every system: {corpus.name}",
        lambda axes: _draw(axes[0], corpus, scores),
        (WIDTH, 0.75 + 0.3 * len(scores)),
    )


def _draw(ax: Axes, corpus: CorpusResults, scores: Sequence[SystemScore]) -> None:
    variants = list(dict.fromkeys(one.variant for one in scores))
    several = len({one.detector for one in scores if one.detector != "none"}) > 1
    names = []
    for place, one in enumerate(scores):
        colour = look(place_of(one.variant, variants))[0]
        name = f"{one.variant} ({one.detector})" if several else one.variant
        names.append(name)
        text = f"{name}: {one.f1.value:.2f}, {LEVEL:.0%} interval {one.f1.low:.2f} to"
        text += f" {one.f1.high:.2f}"
        if len(one.by_seed) > 1:
            text += "; seeds " + ", ".join(f"{f1:.2f}" for f1 in one.by_seed.values())
            seeds = list(one.by_seed.values())
            ax.plot(seeds, [place] * len(seeds), "|", color=colour, markersize=9, alpha=0.7)
        ax.plot([one.f1.low, one.f1.high], [place, place], color=colour, linewidth=2.2, alpha=0.55)
        (dot,) = ax.plot(one.f1.value, place, "o", color=colour, markersize=7)
        tip(dot, text)
        ax.annotate(
            f"{one.f1.value:.2f}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            color=TEXT,
        )
    if ALL in corpus.ceiling:
        ceiling = 100 * corpus.ceiling[ALL]
        line = ax.axvline(ceiling, color=TEXT, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
        tip(line, f"text ceiling: {ceiling:.2f}")
        ax.annotate(
            "text ceiling",
            (ceiling, 1.01),
            xycoords=("data", "axes fraction"),
            ha="center",
            fontsize=8.5,
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("lenient F1, percent")
    ax.grid(axis="x")


def telling_posts(
    settings: Settings, corpus: CorpusResults, base: RunResult | None, most: int = MOST_POSTS
) -> list[TellingPost]:
    """Return posts with an image that `base` gets right and another system wrong.

    Each is of another system, as far as there are enough; posts with few wrong systems come first.
    """
    if base is None or not settings.report.pictures or not settings.report.posts:
        return []
    others: dict[tuple[str, str], RunResult] = {}
    for run in corpus.runs:
        if (run.detector, run.variant) != (base.detector, base.variant) and run.seed == base.seed:
            others.setdefault((run.detector, run.variant), run)
    wrong_by: dict[int, list[RunResult]] = {}
    for place, post in enumerate(corpus.test):
        gold = entities(post.labels)
        usable = post.image_path is not None and post.image_id not in corpus.failures
        if gold and usable and set(gold) == set(entities(base.labels[place])):
            wrong = [
                run for run in others.values() if set(entities(run.labels[place])) != set(gold)
            ]
            if wrong:
                wrong_by[place] = wrong
    found: list[TellingPost] = []
    taken: dict[str, int] = {}
    while len(found) < most and wrong_by:
        # The system shown least, then the post with the fewest systems that are wrong.
        place, run = min(
            ((place, run) for place, runs in wrong_by.items() for run in runs),
            key=lambda pair: (taken.get(pair[1].variant, 0), len(wrong_by[pair[0]]), pair[0]),
        )
        del wrong_by[place]
        post = corpus.test[place]
        with suppress(ImageError):
            image = open_image(str(post.image_path), settings.pictures.max_pixels)
            source = thumbnail(image, SIDE, QUALITY)
            taken[run.variant] = taken.get(run.variant, 0) + 1
            found.append(_telling(corpus, post, base, run, run.labels[place], source))
    return found


def _telling(
    corpus: CorpusResults,
    post: CorpusPost,
    base: RunResult,
    other: RunResult,
    labels: Sequence[str],
    source: str,
) -> TellingPost:
    gold, found = entities(post.labels), entities(labels)
    said = [f"{_text(post, one)} {one.type}" for one in found if one not in gold]
    parts, at = [], 0
    for one in sorted(gold, key=lambda entity: entity.start):
        parts += [(" ".join(post.words[at : one.start]), ""), (_text(post, one), one.type)]
        at = one.end
    parts.append((" ".join(post.words[at:]), ""))
    return TellingPost(
        words=[part for part in parts if part[0]],
        right=base.variant,
        wrong=other.variant,
        said=", ".join(said) or "finds nothing there",
        image=source,
        link=f"#post/{quote(corpus.name, safe='')}/{quote(post.id, safe='')}",
    )


def _text(post: CorpusPost, entity: Entity) -> str:
    return " ".join(post.words[entity.start : entity.end])


def _range(days: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))
