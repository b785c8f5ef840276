"""What the numbers say, in sentences that are computed from them and never written beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamlearn.evaluation.evaluate import ALL
from hamlearn.evaluation.significance import (
    LEVEL,
    Counts,
    Interval,
    count,
    difference,
    level,
    mean_f1,
)
from hamlearn.report.inputs import NO_DETECTOR, CorpusResults, Run
from hamlearn.report.tables import cues_of_scores

BASE = "full"


@dataclass(frozen=True)
class Finding:
    """One sentence or two about one variant."""

    subject: str
    text: str


class Counted:
    """The test counts of every run of a corpus, each taken once."""

    def __init__(self, corpus: CorpusResults) -> None:
        """Keep the corpus; nothing is counted yet."""
        self.corpus = corpus
        self.test = corpus.test
        self.cues = cues_of_scores(corpus.scores)
        self._known: dict[tuple[str, str, int, str], Counts] = {}

    def counts(self, runs: Sequence[Run], cue: str) -> Counts:
        """Return (S, P, 3) for S runs."""
        for run in runs:
            key = (run.detector, run.variant, run.seed, cue)
            if key not in self._known:
                self._known[key] = count(self.test, run.predicted, cue)
        return np.stack([self._known[r.detector, r.variant, r.seed, cue] for r in runs])


def findings(corpus: CorpusResults) -> list[Finding]:
    """Say what each variant loses against `full` on test, and where text alone ends.

    A difference counts where its bootstrap interval over posts and seeds does not hold 0.

    Args:
        corpus: with test posts.
    """
    counted = Counted(corpus)
    if not counted.test:
        return []
    detectors = [d for d in dict.fromkeys(run.detector for run in corpus.runs) if d != NO_DETECTOR]
    found = []
    for detector in detectors:
        base = corpus.runs_of(detector, BASE)
        if not base:
            continue
        where = f" ({detector})" if len(detectors) > 1 else ""
        found.append(Finding(f"{BASE}{where}", _reached(counted, base)))
        others = dict.fromkeys((run.detector, run.variant) for run in corpus.runs)
        for other_detector, variant in others:
            if other_detector in (detector, NO_DETECTOR) and variant != BASE:
                sentence = _against(counted, base, corpus.runs_of(other_detector, variant))
                found.append(Finding(f"{variant}{where}", sentence))
    if corpus.ceiling:
        blind = (run.variant for run in corpus.runs if not run.inputs.files)
        for variant in dict.fromkeys(blind):
            sentence = _against_ceiling(counted, corpus.runs_of(NO_DETECTOR, variant))
            found.append(Finding(f"{variant} and the text ceiling", sentence))
    return found


def how_told(corpus: CorpusResults) -> str:
    """Say what "noise" means in the findings of a corpus."""
    seeds = {run.seed for run in corpus.runs}
    over = "test posts and seeds" if len(seeds) > 1 else "test posts"
    limits = "" if len(seeds) > 1 else " With one seed, the chance of training is not in them."
    return (
        f"Lenient F1 on test, in points. Brackets hold the {LEVEL:.0%} bootstrap interval of the"
        f" difference, drawn over {over}; what holds 0 cannot be told from noise.{limits}"
    )


def _reached(counted: Counted, base: Sequence[Run]) -> str:
    f1 = mean_f1(counted.counts(base, ALL))
    text = f"reaches {_percent(f1)} on all entities"
    if not counted.cues:
        return text + "."
    each = {cue: mean_f1(counted.counts(base, cue)) for cue in counted.cues}
    weakest = min(each, key=lambda cue: each[cue])
    return f"{text}, and least on the cue {weakest}, with {_percent(each[weakest])}."


def _against(counted: Counted, base: Sequence[Run], other: Sequence[Run]) -> str:
    """Compare the runs of a variant with those of `full`, on the seeds that both have."""
    seeds = {run.seed for run in base} & {run.seed for run in other}
    if not seeds:
        return f"has no seed in common with {BASE}, so they are not compared."
    base, other = ([run for run in runs if run.seed in seeds] for runs in (base, other))
    pairs = {
        cue: (counted.counts(base, cue), counted.counts(other, cue)) for cue in (ALL, *counted.cues)
    }
    gaps = {cue: difference(*pair) for cue, pair in pairs.items()}
    before, after = map(mean_f1, pairs[ALL])
    overall = f"{BASE} {_percent(before)}, {other[0].variant} {_percent(after)}"
    gap = gaps.pop(ALL)
    same = [cue for cue, by_cue in gaps.items() if not (by_cue.negative or by_cue.positive)]
    if not (gap.negative or gap.positive):
        text = f"loses nothing that can be told from noise: {overall}, a difference of {_gap(gap)}."
    else:
        verb = "loses" if gap.negative else "gains"
        text = f"{verb} {abs(100 * gap.value):.2f} points: {overall} {_brackets(gap)}."
    changed = [
        f"{cue} {_gap(by_cue)}, from {_percent(mean_f1(pairs[cue][0]))}"
        f" to {_percent(mean_f1(pairs[cue][1]))}"
        for cue, by_cue in gaps.items()
        if cue not in same
    ]
    if changed:
        text += f" By cue: {'; '.join(changed)}."
        if same:
            text += f" On {_listed(same)} nothing that can be told from noise."
    elif same and (gap.negative or gap.positive):
        text += " On no single cue can the difference be told from noise."
    elif same:
        text += " Nor does it on any single cue."
    return text


def _against_ceiling(counted: Counted, runs: Sequence[Run]) -> str:
    """Compare a reader of words with the best that words allow."""
    sides: dict[str, list[str]] = {}
    for cue in (ALL, *counted.cues):
        stated = counted.corpus.ceiling.get("overall" if cue == ALL else cue)
        if stated is None:
            continue
        reached = level(counted.counts(runs, cue))
        side = "within noise of"
        if reached.high < stated or reached.low > stated:
            side = "below" if reached.high < stated else "above"
        name = "all entities" if cue == ALL else cue
        told = f"{name} ({_percent(reached.value)}, ceiling {_percent(stated)})"
        sides.setdefault(side, []).append(told)
    parts = [f"{side} the ceiling on {_listed(told)}" for side, told in sides.items()]
    return f"is {'; '.join(parts)}."


def _percent(f1: float) -> str:
    return f"{100 * f1:.2f}"


def _signed(points: float) -> str:
    """Return points of F1 with a sign and a true minus; what rounds to 0 has none."""
    text = f"{100 * points:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _brackets(gap: Interval) -> str:
    return f"[{_signed(gap.low)} to {_signed(gap.high)}]"


def _gap(gap: Interval) -> str:
    return f"{_signed(gap.value)} {_brackets(gap)}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
