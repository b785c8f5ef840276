"""The report's figures: F1 by cue, length and number of objects, training curves, relevance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hamlearn.evaluation.scores import ALL
from hamlearn.report.analysis import (
    LENGTHS,
    OBJECTS,
    Group,
    length_group,
    objects_group,
    relevance_by_cue,
    relevance_by_outcome,
    scores_by,
)
from hamlearn.report.inputs import NO_DETECTOR, TEST, CorpusResults, RunResult
from hamlearn.report.style import TEXT, Figure, draw, highlighting, in_series, look, place_of, tip
from hamlearn.report.tables import select

VIEWS = ("semantic", "spatial")
WIDTH = 4.4  # inches: a narrow screen, or part of a wide one
BAND = 0.84  # share of the height of a cue's row that the variants occupy
BINS = 24


def f1_by_cue(corpus: CorpusResults, detector: str) -> Figure | None:
    """Draw lenient test F1 by cue, with the text ceiling; None where there are no test scores.

    This and the next two figures show the runs of one detector and those without one.
    """
    micro = select(corpus.scores, split=TEST, scheme="lenient", type=ALL)
    micro = micro[micro["detector"].isin((detector, NO_DETECTOR))]
    if micro.empty:
        return None
    cues = [ALL, *corpus.cues]
    by = "variant and cue" if len(cues) > 1 else "variant"
    return draw(
        f"{corpus.name}-{detector}-f1-by-cue",
        f"Lenient F1 on test by {by}: {corpus.title(detector)}",
        lambda axes: _draw_cues(axes[0], corpus, micro, cues),
        (WIDTH, 0.8 + 0.7 * len(cues)),
    )


def f1_by_length(corpus: CorpusResults, detector: str) -> Figure | None:
    """Draw lenient test F1 by the number of words of an entity; None without test entities."""
    return _f1_by(corpus, detector, "length", "words of the entity", LENGTHS, length_group)


def f1_by_objects(
    corpus: CorpusResults, detector: str, objects: Sequence[int | None]
) -> Figure | None:
    """Draw lenient test F1 by the number of objects in the picture of each test post.

    The number is None where the picture is not usable. Returns None without test entities.
    """
    groups = [objects_group(number) for number in objects]
    label = "objects in the picture"
    return _f1_by(corpus, detector, "objects", label, OBJECTS, lambda number, _: groups[number])


def training_curves(corpus: CorpusResults, detector: str, variant: str) -> Figure:
    """Draw loss and dev F1 by epoch as in the paper's Figure 4, one line per seed and fold.

    The axes are the same for all variants of a corpus.
    """
    runs = corpus.runs_of(detector, variant)
    return draw(
        f"{corpus.name}-{detector}-{variant}-training",
        f"Loss and lenient dev F1 by epoch: {variant}, {corpus.title(detector)}",
        lambda axes: _draw_training(axes, corpus, runs),
        (3.3, 3.0),
        rows=2,
        share_x=True,
    )


def relevance(corpus: CorpusResults, run: RunResult, by: str = "cue") -> Figure | None:
    """Draw the distribution of relevance scores on test, by view and by "cue" or "outcome".

    Returns None where no post has a score, and by outcome where all are correct or none is.
    """
    scores = relevance_by_cue(corpus, run) if by == "cue" else relevance_by_outcome(corpus, run)
    views = [view for view in VIEWS if any(view in by_view for by_view in scores.values())]
    if not views or (by == "outcome" and len(scores) < 2):
        return None
    ending, words = ("", "") if by == "cue" else ("-by-outcome", " by outcome")
    return draw(
        f"{corpus.name}-{run.detector}-{run.variant}-relevance{ending}",
        f"Relevance scores of test posts{words}: {run.variant}, {corpus.title(run.detector)},"
        f" seed {run.seed}",
        lambda axes: _draw_relevance(axes, views, scores),
        (WIDTH, 0.6 + 1.75 * len(views)),
        rows=len(views),
    )


def _f1_by(
    corpus: CorpusResults,
    detector: str,
    key: str,
    label: str,
    order: Sequence[str],
    group: Group,
) -> Figure | None:
    values: dict[str, dict[str, list[float]]] = {}
    support: Counter[str] = Counter()
    for run in corpus.runs:
        if run.detector in (detector, NO_DETECTOR):
            of_variant = values.setdefault(run.variant, {})
            for name, score in scores_by(corpus.test, run.labels, group).items():
                if score.support:
                    of_variant.setdefault(name, []).append(100 * score.f1)
                    support[name] = score.support
    groups = [name for name in order if support[name]]
    if not groups:
        return None
    ticks = [f"{name}\n({support[name]:,})" for name in groups]

    def paint(axes: list[Axes]) -> None:
        for variant, by_group in values.items():
            colour, mark, dashes = look(place_of(variant, list(values)))
            known = [at for at, name in enumerate(groups) if name in by_group]
            means = [float(np.mean(by_group[groups[at]])) for at in known]
            line: dict[str, Any] = {"color": colour, "marker": mark, "ls": dashes, "markersize": 4}
            (drawn,) = axes[0].plot(known, means, label=variant, **line)
            in_series(drawn, variant)
            for at, f1 in zip(known, means, strict=True):
                (point,) = axes[0].plot(at, f1, mark, color=colour, markersize=4)
                tip(point, f"{variant}, {groups[at]}: {f1:.2f}", variant)
        axes[0].set_xticks(range(len(groups)), ticks)
        axes[0].set_xlim(-0.4, len(groups) - 0.6)
        axes[0].set_ylim(*_fitted([f1 for one in values.values() for f1 in _means(one)]))
        axes[0].set_xlabel(f"{label} (gold entities)")
        axes[0].set_ylabel("lenient F1, percent")
        axes[0].grid(axis="y")
        _legend_above(axes[0], 1.0)

    title = f"Lenient F1 on test by {label}: {corpus.title(detector)}"
    return draw(f"{corpus.name}-{detector}-f1-by-{key}", title, paint, (WIDTH, 3.2))


def _draw_cues(ax: Axes, corpus: CorpusResults, micro: pd.DataFrame, cues: Sequence[str]) -> None:
    """Draw a row per cue, a mark per variant, and the ceiling as a dashed line."""
    variants = list(dict.fromkeys(micro["variant"]))
    ends: list[float] = []
    for number, variant in enumerate(variants):
        colour, mark, _ = look(place_of(variant, variants))
        offset = BAND * ((number + 0.5) / len(variants) - 0.5)
        label: str | None = variant
        for place, cue in enumerate(cues):
            f1 = 100 * select(micro, variant=variant, cue=cue)["f1"]
            if f1.empty:
                continue
            mean, deviation = float(f1.mean()), float(f1.std(ddof=1)) if len(f1) > 1 else 0.0
            ends += [mean - deviation, mean + deviation]
            (bar,) = ax.plot(ends[-2:], [place + offset] * 2, color=colour, linewidth=1.2)
            in_series(bar, variant)
            (point,) = ax.plot(mean, place + offset, mark, color=colour, markersize=5, label=label)
            over = f" ± {deviation:.2f}" if deviation else ""
            tip(point, f"{variant}, {cue}: {mean:.2f}{over}", variant)
            label = None  # once in the legend
    known = [
        (place, corpus.ceiling[cue]) for place, cue in enumerate(cues) if cue in corpus.ceiling
    ]
    for number, (place, ceiling) in enumerate(known):
        label = "text ceiling" if number == 0 else None
        line: dict[str, Any] = {"color": TEXT, "lw": 1.2, "ls": (0, (3, 2)), "zorder": 1}
        height = [place - BAND / 2, place + BAND / 2]
        (drawn,) = ax.plot([100 * ceiling] * 2, height, label=label, **line)
        tip(drawn, f"text ceiling, {cues[place]}: {100 * ceiling:.2f}", "text ceiling")
        ends.append(100 * ceiling)
    for border in range(1, len(cues)):
        ax.axhline(border - 0.5, color=TEXT, linewidth=0.4, alpha=0.5)
    ax.set_yticks(range(len(cues)), cues)
    ax.set_ylim(len(cues) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(*_fitted(ends))
    ax.set_xlabel("lenient F1 on test, percent")
    ax.grid(axis="x")
    _legend_above(ax, 1.0)


def _draw_training(axes: Sequence[Axes], corpus: CorpusResults, runs: Sequence[RunResult]) -> None:
    """Draw losses above and F1 below, the chosen epoch as a dot."""
    loss, f1 = axes
    detector, variant = runs[0].detector, runs[0].variant
    variants = [name for _, name in corpus.variants]
    colour = look(place_of(variant, variants))[0]
    for run in chain.from_iterable(run.trainings for run in runs):
        epochs = run.history["epoch"]
        point = "." if len(epochs) == 1 else ""  # a line of one point is invisible
        dev = 100 * run.history["dev_f1_lenient"]
        loss.plot(epochs, run.history["train_loss"], color=colour, marker=point)
        loss.plot(epochs, run.history["dev_loss"], color=colour, marker=point, linestyle=":")
        f1.plot(epochs, dev, color=colour)
        chosen = epochs == run.facts.epoch
        f1.plot(epochs[chosen], dev[chosen], "o", color=colour, markersize=5)
    histories = pd.concat([one.history for run in corpus.runs for one in run.trainings])
    highest = float(histories[["train_loss", "dev_loss"]].max().max())
    if np.isfinite(highest) and highest > 0:
        loss.set_ylim(0, 1.08 * highest)
    title = f"{variant}, {detector}" if variants.count(variant) > 1 else variant
    loss.set_title(title, loc="left", color=TEXT, fontweight="bold")
    loss.set_ylabel("loss")
    lines = (("train", "-"), ("dev", ":"))
    handles = [loss.plot([], [], color=colour, ls=dash, label=word)[0] for word, dash in lines]
    loss.legend(handles=handles, loc="upper right", borderpad=0)
    f1.set_ylim(-3, 103)
    f1.set_ylabel("dev F1, percent")
    f1.set_xlabel("epoch")
    f1.set_xlim(0.7, int(histories["epoch"].max()) + 0.3)
    f1.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for ax in (loss, f1):
        ax.grid(axis="y")


def _draw_relevance(
    axes: Sequence[Axes], views: Sequence[str], scores: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Draw a histogram per view, one outline per group of posts."""
    for ax, view in zip(axes, views, strict=True):
        of_view = {group: by_view[view] for group, by_view in scores.items() if view in by_view}
        edges = np.histogram_bin_edges(np.concatenate(list(of_view.values())), BINS)
        for number, (group, values) in enumerate(of_view.items()):
            colour, _, dashes = look(number)
            shares = 100 * np.histogram(values, edges)[0] / len(values)
            label = f"{group} ({len(values)})"
            line: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 1.5}
            in_series(ax.stairs(shares, edges, label=label, **line), label)
        ax.set_title(f"{view} view", loc="left", color=TEXT)
        ax.set_ylabel("posts, percent")
        ax.set_ylim(0, None)
        ax.grid(axis="y")
    axes[-1].set_xlabel("relevance score (mean of M)")
    _legend_above(axes[0], 1.14)


def _legend_above(ax: Axes, height: float) -> None:
    """Put a legend of three columns above the axes, at a height in shares of theirs."""
    pairs = list(zip(*ax.get_legend_handles_labels(), strict=True))
    pairs.sort(key=lambda pair: isinstance(pair[0], Line2D))  # the ceiling is last
    legend = ax.legend(
        *zip(*pairs, strict=True),
        bbox_to_anchor=(0.45, height),
        loc="lower center",
        ncols=3,
        handlelength=1.6,
        handletextpad=0.4,
        columnspacing=1.2,
        borderpad=0,
    )
    highlighting(legend)


def _means(by_group: Mapping[str, Sequence[float]]) -> list[float]:
    return [float(np.mean(values)) for values in by_group.values()]


def _fitted(percent: Sequence[float]) -> tuple[float, float]:
    """Return limits of an axis from the multiple of 10 below all values to 100, with a margin."""
    lowest = max(0.0, 10 * np.floor((min(percent) - 1) / 10))
    return lowest - 0.02 * (100 - lowest), 100 + 0.02 * (100 - lowest)
