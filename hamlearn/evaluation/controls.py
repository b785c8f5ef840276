"""Whether the images help: each system against itself with images removed, exchanged or blank.

Two networks of different size differ for many reasons. A system and its control are one network, or
two with the same parameters: what lies between them is the information in the images.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import GROUPS, Prediction, read_predictions
from hamlearn.evaluation.significance import (
    LEVEL,
    Counts,
    Interval,
    count,
    difference,
    mean_f1,
    p_value,
)
from hamlearn.systems import CONTROLS

SYSTEM = ("corpus", "detector", "variant")
EFFECTS = (
    *SYSTEM, "control", "has_picture", "seeds", "posts", "f1", "control_f1", "gain", "low", "high",
    "p",
)  # fmt: skip
RELEVANCE = (
    *SYSTEM, "view", "measure", "group", "seeds", "posts", "value", "low", "high",
)  # fmt: skip
ABOUT_EFFECTS = (
    "Lenient micro F1 on the test split in percent; the gain is of a system over its control, in"
    " points, with its interval over posts and seeds."
)
ABOUT_RELEVANCE = (
    "auc is the probability that M is greater for a post's own image than for an exchanged one;"
    " mean is that of M."
)
TRAINED = "trained_shuffled"
TRAINED_LABEL = "-shuffled"  # ends the label of a variant of `experiments.trained_shuffled`
DRAWS, SEED = 2000, 0  # of the bootstrap of relevance
RIGHT, WRONG = "all entities right", "some entity wrong"

Values = NDArray[np.float64]


@dataclass
class Runs:
    """The predictions of one system for the test posts of a corpus, by seed."""

    own: dict[int, list[Prediction]] = field(default_factory=dict)
    controlled: dict[str, dict[int, list[list[Prediction]]]] = field(default_factory=dict)  # draws

    @property
    def has_image(self) -> NDArray[np.bool_]:
        """Whether each post has an image or an additional text that the system reads."""
        first = next(iter(self.own.values()))
        return np.array([bool(one.has_image or any(one.has_text.values())) for one in first])


def read_runs(
    paths: Iterable[str | Path], posts: Mapping[str, Sequence[CorpusPost]]
) -> dict[tuple[str, str, str], Runs]:
    """Read predictions of test, with and without controls, by corpus, detector and system.

    Args:
        paths: files `.../{corpus}/{detector}/{variant}/seed{seed}/test.jsonl` or `test.NAME.jsonl`
            with the name of a control; a variant like `full-shuffled` is a control of `full`.
        posts: the posts of each corpus.

    Raises:
        HamlearnError: a file is named differently, is malformed, or is of an unknown corpus.
    """
    found: dict[tuple[str, str, str], Runs] = {}
    for path in map(Path, paths):
        corpus, detector, variant, seed, control = _parse_path(path)
        if corpus not in posts:
            raise HamlearnError(
                f"{path}: found corpus {corpus!r}, expected one of {', '.join(posts)}"
            )
        test = [post for post in posts[corpus] if post.split == "test"]
        system = variant.removesuffix(TRAINED_LABEL)
        runs = found.setdefault((corpus, detector, system), Runs())
        read = read_predictions(path, test)
        control = TRAINED if system != variant else control
        if control:
            runs.controlled.setdefault(control, {}).setdefault(seed, []).append(read)
        else:
            runs.own[seed] = read
    return {key: runs for key, runs in found.items() if runs.own}


def _parse_path(path: Path) -> tuple[str, str, str, int, str]:
    parts, names = path.parts[-5:-1], path.name.split(".")
    control = names[1].partition("-")[0] if len(names) == 3 else ""
    is_named = names[0] == "test" and names[-1] == "jsonl" and len(names) in (2, 3)
    seed = parts[3].removeprefix("seed") if len(parts) == 4 else ""
    if not is_named or not seed.isdecimal() or control not in ("", *CONTROLS):
        raise HamlearnError(
            f"{path}: expected a file CORPUS/DETECTOR/VARIANT/seedN/test.jsonl of predictions, or"
            " test.CONTROL.jsonl"
        )
    return parts[0], parts[1], parts[2], int(seed), control


# --- effects on F1 ----------------------------------------------------------------------------


def effects(
    runs: Mapping[tuple[str, str, str], Runs], posts: Mapping[str, Sequence[CorpusPost]]
) -> pd.DataFrame:
    """Compare each system with its controls on lenient micro F1 of the test split.

    Returns:
        One row per system, control and group of posts (all, with an image, without), in the columns
        EFFECTS. `gain` is F1 of the system minus that under the control, in points, mean over the
        seeds that both have, with its interval and p, see `hamlearn.evaluation.significance`;
        `posts` is n. Several exchanges of images are averaged post by post. Of a system that was
        trained with exchanged images with one seed, there is no p.
    """
    rows = []
    for key, system in runs.items():
        test = [post for post in posts[key[0]] if post.split == "test"]
        has_image = system.has_image
        groups = dict(zip(GROUPS, (np.ones_like(has_image), has_image, ~has_image), strict=True))
        for control, by_seed in system.controlled.items():
            seeds = sorted(system.own.keys() & by_seed.keys())
            if not seeds:
                continue
            own = np.stack([_counts(test, [system.own[seed]]) for seed in seeds])
            other = np.stack([_counts(test, by_seed[seed]) for seed in seeds])
            for group, members in groups.items():
                if members.any():
                    names = {**dict(zip(SYSTEM, key, strict=True)), "control": control}
                    is_same = control != TRAINED
                    effect = _effect(own[:, members], other[:, members], is_same)
                    rows.append({**names, "has_picture": group, "seeds": len(seeds), **effect})
    return pd.DataFrame(rows, columns=list(EFFECTS))


def _counts(posts: Sequence[CorpusPost], draws: Sequence[Sequence[Prediction]]) -> Counts:
    """Return the mean counts of entities of each post over draws, see `count`."""
    every = [count(posts, [one.labels for one in draw]) for draw in draws]
    return every[0] if len(every) == 1 else np.mean(every, axis=0)


def _effect(own: Counts, control: Counts, same_models: bool) -> dict[str, float]:
    gain = difference(control, own, same_models)
    return {
        "posts": own.shape[1],
        "f1": 100 * mean_f1(own),
        "control_f1": 100 * mean_f1(control),
        "gain": 100 * gain.value,
        "low": 100 * gain.low,
        "high": 100 * gain.high,
        "p": p_value(control, own, same_models),
    }


# --- relevance --------------------------------------------------------------------------------


def relevance_table(
    runs: Mapping[tuple[str, str, str], Runs], posts: Mapping[str, Sequence[CorpusPost]]
) -> pd.DataFrame:
    """Return what the relevance M of each view tells apart, in the columns RELEVANCE.

    The measure `auc` is the probability that M is greater for a post's own image than for another's
    (equal values count half): 0.5 where M tells nothing. The measure `mean` is the mean of M of the
    posts of a group: own or exchanged images, posts with an entity of a type, posts whose entities
    are all right. Both are means over seeds, with a bootstrap interval over posts and seeds.
    """
    rows = []
    for key, system in runs.items():
        test = [post for post in posts[key[0]] if post.split == "test"]
        first = next(iter(system.own.values()))
        for view in next((one.relevance for one in first if one.relevance), {}):
            for measure, group, own, other in _measures(system, test, view):
                found = auc(own, other) if measure == "auc" else _mean(own)
                rows.append(
                    dict(zip(SYSTEM, key, strict=True))
                    | {"view": view, "measure": measure, "group": group}
                    | {"seeds": len(own), "posts": own.shape[1]}
                    | {"value": found.value, "low": found.low, "high": found.high}
                )
    return pd.DataFrame(rows, columns=list(RELEVANCE))


def _measures(
    system: Runs, posts: Sequence[CorpusPost], view: str
) -> Iterable[tuple[str, str, Values, Values]]:
    """Yield measure, group, and M of own (S, P) and of exchanged images (S, D, P) of its posts."""
    own = np.stack([_relevance(run, view) for run in system.own.values()])
    seen = ~np.isnan(own).any(axis=0)
    none = np.empty((len(own), 0, 0))
    draws = system.controlled.get("shuffled", {})
    if draws.keys() == system.own.keys():
        other = np.stack([[_relevance(one, view) for one in draws[seed]] for seed in system.own])
        both = seen & ~np.isnan(other).any(axis=(0, 1))
        if both.any():
            yield "auc", "own against exchanged", own[:, both], other[:, :, both]
            yield "mean", "own image", own[:, both], none
            yield "mean", "exchanged image", other[:, :, both].mean(axis=1), none
    types = [{entity.type for entity in entities(post.labels)} for post in posts]
    groups = {
        f"type {name}": np.array([name in some for some in types])
        for name in sorted(set().union(*types))
    }
    right = np.array(
        [
            all(entities(one.labels) == entities(post.labels) for one in runs)
            for post, runs in zip(posts, zip(*system.own.values(), strict=True), strict=True)
        ]
    )
    for group, members in (groups | {RIGHT: right, WRONG: ~right}).items():
        if (members & seen).any():
            yield "mean", group, own[:, members & seen], none


def _relevance(run: Sequence[Prediction], view: str) -> Values:
    """Return M of each post, NaN without an image."""
    return np.array([(one.relevance or {}).get(view, np.nan) for one in run], dtype=float)


def auc(own: Values, other: Values) -> Interval:
    """Return the area under the ROC curve of M for own against exchanged images.

    Args:
        own: (S, P), for S seeds and P posts.
        other: (S, D, P), for D exchanges.
    """
    above = np.stack(  # (S, P, P), post i with its own image against post j with another's
        [
            sum((mine[:, None] > one) + 0.5 * (mine[:, None] == one) for one in draws) / len(draws)
            for mine, draws in zip(own, other, strict=True)
        ]
    )
    weights = _weights(own.shape[1])  # (DRAWS, P)
    by_seed = np.stack([((weights @ one) * weights).sum(axis=1) for one in above], axis=1)
    return _interval(float(above.mean()), by_seed / own.shape[1] ** 2)


def _mean(values: Values) -> Interval:
    """Return the mean of (S, P)."""
    weights = _weights(values.shape[1])
    return _interval(float(values.mean()), weights @ values.T / values.shape[1])


def _weights(posts: int) -> Values:
    rng = np.random.default_rng([SEED, 3])
    return rng.multinomial(posts, np.full(posts, 1 / posts), size=DRAWS).astype(np.float64)


def _interval(value: float, drawn: Values) -> Interval:
    """Return a number with its interval, from (DRAWS, S) values whose seeds are drawn too."""
    seeds = drawn.shape[1]
    chosen = np.random.default_rng([SEED, 4]).integers(seeds, size=(len(drawn), seeds))
    means = np.take_along_axis(drawn, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
