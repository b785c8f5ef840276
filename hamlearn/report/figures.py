"""The report's figures: F1 by cue, training curves, relevance by cue."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hamlearn.evaluation.evaluate import ALL
from hamlearn.report.inputs import NO_DETECTOR, TEST, CorpusResults, Run
from hamlearn.report.outcomes import outcomes
from hamlearn.report.style import TEXT, draw, look, place_of
from hamlearn.report.tables import chosen_rows, cues_of_scores, variants_of

VIEWS = ("semantic", "spatial")
WIDTH = 4.4  # inches: a narrow screen, or a part of a wide one
BAND = 0.84  # of the height of a cue's row, shared by the variants
BINS = 24
Scores = dict[str, dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Picture:
    """A figure and its words.

    Attributes:
        name: of its file, without `.svg`.
        svg: the file.
        title: what it shows, in a few words.
    """

    name: str
    svg: str
    title: str


def f1_by_cue(corpus: CorpusResults, detector: str) -> Picture | None:
    """Draw lenient test F1 of every variant by cue, with the text ceiling.

    Args:
        corpus: with scores.
        detector: whose runs are drawn, beside those without pictures.

    Returns:
        None where the test split has no scores.
    """
    micro = chosen_rows(corpus.scores, split=TEST, scheme="lenient", type=ALL)
    micro = micro[micro["detector"].isin((detector, NO_DETECTOR))]
    if micro.empty:
        return None
    cues = [ALL, *cues_of_scores(micro)]
    name, height = f"{corpus.name}-{detector}-f1-by-cue", 0.8 + 0.7 * len(cues)
    return Picture(
        name,
        draw(name, lambda axes: _cues(axes[0], corpus, micro, cues), (WIDTH, height)),
        f"Lenient F1 on test by variant{' and cue' if len(cues) > 1 else ''}: {corpus.name}"
        + ("" if detector == NO_DETECTOR else f", detector {detector}"),
    )


def training_curves(corpus: CorpusResults, detector: str, variant: str) -> Picture:
    """Draw loss and dev F1 by epoch, as the paper's Figure 4, one line a seed.

    The axes are the same for all variants of a corpus.

    Args:
        corpus: with runs.
        detector: of the runs.
        variant: of the runs.
    """
    runs = corpus.runs_of(detector, variant)
    name = f"{corpus.name}-{detector}-{variant}-training"
    return Picture(
        name,
        draw(name, lambda axes: _training(axes, corpus, runs), (3.3, 3.0), rows=2, share_x=True),
        f"Loss and lenient dev F1 by epoch: {corpus.name}, {variant}"
        + ("" if detector == NO_DETECTOR else f", detector {detector}"),
    )


def relevance(corpus: CorpusResults, run: Run, by: str = "cue") -> Picture | None:
    """Draw how the relevance scores of the test posts are spread, by view and by cue or outcome.

    Args:
        corpus: the posts of the run.
        run: with relevance measuring.
        by: "cue", the first of the post; or "outcome", whether the run labels the post rightly.

    Returns:
        None where no post has a score, and by outcome where all are right or all wrong.
    """
    scores = relevance_by_cue(corpus, run) if by == "cue" else relevance_by_outcome(corpus, run)
    views = [view for view in VIEWS if any(view in by_view for by_view in scores.values())]
    if not views or (by == "outcome" and len(scores) < 2):
        return None
    name = f"{corpus.name}-{run.detector}-{run.variant}-relevance"
    name += "" if by == "cue" else "-by-outcome"
    height = 0.6 + 1.75 * len(views)
    return Picture(
        name,
        draw(name, lambda axes: _spread(axes, views, scores), (WIDTH, height), rows=len(views)),
        f"Relevance scores of test posts{'' if by == 'cue' else ' by outcome'}: {corpus.name},"
        f" {run.variant}, detector {run.detector}, seed {run.seed}",
    )


def relevance_by_cue(corpus: CorpusResults, run: Run) -> Scores:
    """Return relevance scores by the first cue of the post, then by view.

    Posts without cues are under `no cue`, or under `all posts` where the corpus has none.
    """
    none = "no cue" if any(post.cues for post in corpus.test) else "all posts"
    groups = [post.cues[0] if post.cues else none for post in corpus.test]
    return _grouped(run, groups, (*cues_of_scores(corpus.scores), none))


def relevance_by_outcome(corpus: CorpusResults, run: Run) -> Scores:
    """Return relevance scores of posts that the run labels rightly and of others, by view."""
    pairs = zip(corpus.test, run.predicted, strict=True)
    right = [outcomes(post.labels, labels).right for post, labels in pairs]
    names = ["all entities right" if one else "some entity wrong" for one in right]
    return _grouped(run, names, ("all entities right", "some entity wrong"))


def _grouped(run: Run, groups: Sequence[str], order: Sequence[str]) -> Scores:
    found: dict[str, dict[str, list[float]]] = {}
    for group, by_view in zip(groups, run.relevance, strict=True):
        for view, score in (by_view or {}).items():
            found.setdefault(group, {}).setdefault(view, []).append(float(score))
    names = [name for name in order if name in found]
    return {name: {view: np.array(v) for view, v in found[name].items()} for name in names}


def _cues(ax: Axes, corpus: CorpusResults, micro: pd.DataFrame, cues: Sequence[str]) -> None:
    """Draw a row a cue, a mark a variant, and the ceiling as a broken line."""
    variants = list(dict.fromkeys(variant for _, variant in variants_of(micro)))
    for number, variant in enumerate(variants):
        colour, mark, _ = look(place_of(variant, variants))
        of_variant = chosen_rows(micro, variant=variant)
        points = []
        for place, cue in enumerate(cues):
            f1 = 100 * chosen_rows(of_variant, cue=cue)["f1"]
            if not f1.empty:
                within = BAND * ((number + 0.5) / len(variants) - 0.5)
                points.append((f1.mean(), place + within, f1.std(ddof=1) if len(f1) > 1 else 0.0))
        x, y, deviation = np.array(points).T
        ax.errorbar(
            x,
            y,
            xerr=deviation,
            fmt=mark,
            color=colour,
            markersize=5,
            elinewidth=1.2,
            label=variant,
        )
    label: str | None = "text ceiling"
    for place, cue in enumerate(cues):
        stated = corpus.ceiling.get("overall" if cue == ALL else cue)
        if stated is not None:
            ends = [place - BAND / 2, place + BAND / 2]
            dashes = (0, (3, 2))
            ax.plot([100 * stated] * 2, ends, color=TEXT, lw=1.2, ls=dashes, label=label, zorder=1)
            label = None
    for border in range(1, len(cues)):
        ax.axhline(border - 0.5, color=TEXT, linewidth=0.4, alpha=0.5)
    ax.set_yticks(range(len(cues)), ["all", *cues[1:]])
    ax.set_ylim(len(cues) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(-2, 102)
    ax.set_xlabel("lenient F1 on test, percent")
    ax.grid(axis="x")
    legend_above(ax, 1.0)


def _training(axes: Sequence[Axes], corpus: CorpusResults, runs: Sequence[Run]) -> None:
    """Draw losses above and F1 below, the chosen epoch as a dot."""
    loss, f1 = axes
    pairs, (detector, variant) = variants_of(corpus.scores), (runs[0].detector, runs[0].variant)
    alike = sum(name == variant for _, name in pairs) > 1
    colour = look(place_of(variant, [name for _, name in pairs]))[0]
    for run in runs:
        epochs = run.history["epoch"]
        point = "." if len(epochs) == 1 else ""  # a line of one point is not seen
        dev = 100 * run.history["dev_f1_lenient"]
        loss.plot(epochs, run.history["train_loss"], color=colour, marker=point)
        loss.plot(epochs, run.history["dev_loss"], color=colour, marker=point, linestyle=":")
        f1.plot(epochs, dev, color=colour)
        chosen = epochs == run.facts.epoch
        f1.plot(epochs[chosen], dev[chosen], "o", color=colour, markersize=5)
    every = pd.concat([run.history[["train_loss", "dev_loss"]] for run in corpus.runs])
    highest = float(every.max().max())
    if np.isfinite(highest) and highest > 0:
        loss.set_ylim(0, 1.08 * highest)
    title = f"{variant}, {detector}" if alike else variant
    loss.set_title(title, loc="left", color=TEXT, fontweight="bold")
    loss.set_ylabel("loss")
    lines = (("train", "-"), ("dev", ":"))
    handles = [loss.plot([], [], color=colour, ls=dash, label=word)[0] for word, dash in lines]
    loss.legend(handles=handles, loc="upper right", borderpad=0)
    f1.set_ylim(-3, 103)
    f1.set_ylabel("dev F1, percent")
    f1.set_xlabel("epoch")
    f1.set_xlim(0.7, max(int(run.history["epoch"].max()) for run in corpus.runs) + 0.3)
    f1.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for ax in (loss, f1):
        ax.grid(axis="y")


def _spread(axes: Sequence[Axes], views: Sequence[str], scores: Scores) -> None:
    """Draw a histogram a view, one outline a cue."""
    for ax, view in zip(axes, views, strict=True):
        of_view = {cue: by_view[view] for cue, by_view in scores.items() if view in by_view}
        edges = np.histogram_bin_edges(np.concatenate(list(of_view.values())), BINS)
        for number, (cue, values) in enumerate(of_view.items()):
            colour, _, dashes = look(number)
            shares = 100 * np.histogram(values, edges)[0] / len(values)
            label = f"{cue} ({len(values)})"
            ax.stairs(shares, edges, color=colour, linestyle=dashes, linewidth=1.5, label=label)
        ax.set_title(f"{view} view", loc="left", color=TEXT)
        ax.set_ylabel("posts, percent")
        ax.set_ylim(0, None)
        ax.grid(axis="y")
    axes[-1].set_xlabel("relevance score (mean of M)")
    legend_above(axes[0], 1.14)


def legend_above(ax: Axes, height: float) -> None:
    """Put a legend of three columns above the axes, at a height in parts of theirs."""
    handles, labels = ax.get_legend_handles_labels()
    is_line = [isinstance(handle, Line2D) for handle in handles]  # the ceiling, to come last
    order = sorted(range(len(handles)), key=lambda place: is_line[place])
    ax.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        bbox_to_anchor=(0.45, height),
        loc="lower center",
        ncols=3,
        handlelength=1.6,
        handletextpad=0.4,
        columnspacing=1.2,
        borderpad=0,
    )
