"""What the numbers say: sentences computed from the scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamlearn.evaluation.scores import ALL
from hamlearn.evaluation.significance import (
    LEVEL,
    Counts,
    Interval,
    count,
    difference,
    level,
    mean_f1,
)
from hamlearn.report import controls
from hamlearn.report.inputs import NO_DETECTOR, CorpusResults, RunResult
from hamlearn.report.tables import signed

BASE = "full"


@dataclass(frozen=True)
class Finding:
    """One or two sentences about one variant."""

    subject: str
    text: str
    short: str = ""  # the same in a few words, for the first screen


class Counted:
    """A corpus with the test counts of its runs, by cue."""

    def __init__(self, corpus: CorpusResults) -> None:
        self.corpus, test = corpus, corpus.test
        self._counts = {
            (run.detector, run.variant, run.seed, cue): count(test, run.labels, cue)
            for run in corpus.runs
            for cue in (ALL, *corpus.cues)
        }

    def counts(self, runs: Sequence[RunResult], cue: str) -> Counts:
        """Return (S, P, 3) for S runs."""
        return np.stack([self._counts[r.detector, r.variant, r.seed, cue] for r in runs])


def findings(corpus: CorpusResults) -> list[Finding]:
    """State what each variant loses against `full` on test, and how text alone meets its ceiling.

    A difference is significant where its interval excludes 0: over posts and seeds or, with one
    seed, over posts alone, which the sentence then says.
    """
    if not corpus.test:
        return []
    counted = Counted(corpus)
    found = []
    for detector in corpus.detectors:
        base = corpus.runs_of(detector, BASE)
        if not base:
            continue
        where = f" ({detector})" if len(corpus.detectors) > 1 else ""
        found.append(Finding(f"{BASE}{where}", _own_score(counted, base)))
        for other_detector, variant in corpus.variants:
            if other_detector in (detector, NO_DETECTOR) and variant != BASE:
                others = corpus.runs_of(other_detector, variant)
                pair = _same_seeds(base, others)
                found.append(
                    Finding(
                        f"{variant}{where}",
                        _against_base(counted, *pair),
                        _in_short(counted, *pair),
                    )
                )
    found += [
        Finding(subject, text, "" if text.startswith("At test") else text.partition(":")[0])
        for subject, text in controls.sentences(corpus).items()
    ]
    if corpus.ceiling:
        inputs = ((run.variant, run.facts.inputs) for run in corpus.runs)
        blind = (variant for variant, read in inputs if not (read.files or read.texts))
        for variant in dict.fromkeys(blind):
            sentence = _against_ceiling(counted, corpus.runs_of(NO_DETECTOR, variant))
            found.append(Finding(f"{variant}, compared with the text ceiling,", sentence))
    return found


def explanation(corpus: CorpusResults) -> str:
    """Explain the brackets in the findings of a corpus, and what counts as significant."""
    several = len({run.seed for run in corpus.runs}) > 1
    over = "test posts and seeds" if several else "test posts"
    limits = (
        ""
        if several
        else " With one seed, they do not cover the chance of training: they tell how the trained"
        " models differ on other posts, not whether the systems do."
    )
    return (
        f"Lenient F1 on test, in points. Brackets hold the {LEVEL:.0%} interval of the difference"
        f" over {over}; a difference whose interval includes 0 is not significant.{limits}"
    )


def _own_score(counted: Counted, base: Sequence[RunResult]) -> str:
    counts = counted.counts(base, ALL)
    text = f"reaches {_percent(mean_f1(counts))} on all entities, {_basis(counts)}"
    if not counted.corpus.cues:
        return f"{text}."
    by_cue = {cue: mean_f1(counted.counts(base, cue)) for cue in counted.corpus.cues}
    weakest = min(by_cue, key=lambda cue: by_cue[cue])
    return f"{text}; its weakest cue is {weakest}, with {_percent(by_cue[weakest])}."


def _same_seeds(
    base: Sequence[RunResult], other: Sequence[RunResult]
) -> tuple[list[RunResult], list[RunResult]]:
    """Return the runs of the seeds that both have."""
    seeds = {run.seed for run in base} & {run.seed for run in other}
    kept = [[run for run in runs if run.seed in seeds] for runs in (base, other)]
    return kept[0], kept[1]


def _in_short(counted: Counted, base: Sequence[RunResult], other: Sequence[RunResult]) -> str:
    if not base:
        return ""
    gap = difference(counted.counts(base, ALL), counted.counts(other, ALL))
    if not gap.excludes_zero:
        return f"does not differ significantly from {BASE}: {_gap(gap)}"
    verb = "loses" if gap.value < 0 else "gains"
    return f"{verb} {abs(100 * gap.value):.2f} points {_brackets(gap)}"


def _against_base(counted: Counted, base: Sequence[RunResult], other: Sequence[RunResult]) -> str:
    """Compare the runs of a variant with those of `full`, of the same seeds."""
    if not base:
        return f"has no seed in common with {BASE}, so they are not compared."
    cues = (ALL, *counted.corpus.cues)
    pairs = {cue: (counted.counts(base, cue), counted.counts(other, cue)) for cue in cues}
    gaps = {cue: difference(*pair) for cue, pair in pairs.items()}
    before, after = map(mean_f1, pairs[ALL])
    overall = f"{BASE} {_percent(before)}, {other[0].variant} {_percent(after)}"
    gap, basis = gaps.pop(ALL), _basis(pairs[ALL][0])
    if gap.excludes_zero:
        verb = "loses" if gap.value < 0 else "gains"
        text = f"{verb} {abs(100 * gap.value):.2f} points: {overall} {_brackets(gap)}, {basis}."
    else:
        text = f"does not differ significantly: {overall}, a difference of {_gap(gap)}, {basis}."
    changed = [
        f"{cue} {_gap(by_cue)}, from {_percent(mean_f1(pairs[cue][0]))}"
        f" to {_percent(mean_f1(pairs[cue][1]))}"
        for cue, by_cue in gaps.items()
        if by_cue.excludes_zero
    ]
    same = [cue for cue, by_cue in gaps.items() if not by_cue.excludes_zero]
    if changed:
        text += f" By cue: {'; '.join(changed)}."
        if same:
            text += f" No significant difference on {_join(same)}."
    elif same and gap.excludes_zero:
        text += " On no single cue is the difference significant."
    elif same:
        text += " Nor does it on any single cue."
    if not other[0].facts.inputs.files:
        text += _with_and_without_image(counted, base, other)
    return text


def _with_and_without_image(
    counted: Counted, base: Sequence[RunResult], other: Sequence[RunResult]
) -> str:
    """Compare with a system that reads no images on the posts with and without one."""
    seen = np.array([bool(one.has_image) for one in base[0].predictions])
    if seen.all() or not seen.any():
        return " All posts have an image." if seen.any() else " No post has an image."
    parts = []
    for words, members in (("with an image", seen), ("without one", ~seen)):
        mine, theirs = (counted.counts(runs, ALL)[:, members] for runs in (base, other))
        parts.append(f"{_gap(difference(mine, theirs))} on the {members.sum():,} posts {words}")
    return f" The difference is {parts[0]}, and {parts[1]}."


def _against_ceiling(counted: Counted, runs: Sequence[RunResult]) -> str:
    """Compare a variant that reads only words with the best that words allow."""
    sides: dict[str, list[str]] = {}
    for cue in (ALL, *counted.corpus.cues):
        ceiling = counted.corpus.ceiling.get(cue)
        if ceiling is None:
            continue
        reached = level(counted.counts(runs, cue))
        side = "not significantly different"
        if reached.high < ceiling or reached.low > ceiling:
            side = "below it" if reached.high < ceiling else "above it"
        name = "all entities" if cue == ALL else cue
        numbers = f"{name} ({_percent(reached.value)}, ceiling {_percent(ceiling)})"
        sides.setdefault(side, []).append(numbers)
    parts = [f"{side} on {_join(numbers)}" for side, numbers in sides.items()]
    return f"is {'; '.join(parts)}; {_basis(counted.counts(runs, ALL))}."


def _basis(counts: Counts) -> str:
    """Return what the numbers of counts (S, P, 3) come from: n and seeds."""
    seeds, posts, _ = counts.shape
    if seeds == 1:
        return f"one seed: of this training alone, on {posts:,} posts"
    return f"mean of {seeds} seeds, on {posts:,} posts"


def _percent(f1: float) -> str:
    return f"{100 * f1:.2f}"


def _brackets(gap: Interval) -> str:
    return f"[{signed(100 * gap.low)} to {signed(100 * gap.high)}]"


def _gap(gap: Interval) -> str:
    return f"{signed(100 * gap.value)} {_brackets(gap)}"


def _join(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
