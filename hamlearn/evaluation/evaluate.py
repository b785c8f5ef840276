"""Predictions of a run scored against the corpus, and the scores of all runs gathered."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hamlearn.corpus.labels import SCHEMES, is_label
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.cues import cues_of, of_cue
from hamlearn.evaluation.scores import Score, score
from hamlearn.io import atomic_write, is_truncated

RUN = ("corpus", "detector", "variant", "seed")
KEYS = (*RUN, "split", "scheme", "type", "cue")
NUMBERS = ("precision", "recall", "f1", "support", "predicted")
COLUMNS = (*KEYS, *NUMBERS)
TEXT = ("corpus", "detector", "variant", "split", "scheme", "type", "cue")
ALL = "all"


def evaluate(
    predictions: Iterable[str | Path],
    posts: Sequence[CorpusPost],
    *,
    corpus: str,
    detector: str,
    variant: str,
    seed: int,
) -> pd.DataFrame:
    """Score one run's predictions in both schemes, for each type and each cue.

    Gold comes from the corpus, never from a prediction file, and is counted before truncation.

    Args:
        predictions: files of JSON lines named by their split, as `dev.jsonl` and `test.jsonl`.
        posts: the posts of the corpus, prepared.
        corpus: name of the corpus, repeated in every row, as are the next three.
        detector: name of the detector, `none` for a run without pictures.
        variant: name of the model's variant.
        seed: seed of the run.

    Returns:
        Rows in the columns COLUMNS; `type` is `all` for micro, `cue` is `all` or a cue. A type
        that a cue has neither in gold nor in predictions has no row.

    Raises:
        HamlearnError: a file is absent, malformed or named by no split, or a post of its split is
            not predicted exactly once, with its own words and one label a word; or a type or a
            cue is called `all`.
    """
    run = {"corpus": corpus, "detector": detector, "variant": variant, "seed": seed}
    rows = []
    for path in map(Path, predictions):
        split = path.stem
        if split not in SPLITS:
            raise HamlearnError(f"{path}: expected a file named by its split: {', '.join(SPLITS)}")
        chosen = [post for post in posts if post.split == split]
        predicted = read_predictions(path, chosen)
        for scores in _rows(chosen, predicted):
            rows.append({**run, "split": split, **scores})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_predictions(path: str | Path, posts: Sequence[CorpusPost]) -> list[tuple[str, ...]]:
    """Return the predicted labels of each post, in the order of the posts.

    Args:
        path: JSON lines with the keys `id`, `words` and `predicted`.
        posts: the posts that the file has to predict, all of them and no others.

    Raises:
        HamlearnError: the file is absent or malformed, or does not predict each post exactly once,
            with its own words and one label a word.
    """
    path = Path(path)
    expected = {post.id: post for post in posts}
    found: dict[str, tuple[str, ...]] = {}
    for place, entry in _entries(path):
        post = expected.get(str(entry["id"]))
        if post is None:
            raise HamlearnError(f"{place}: {entry['id']!r} is the id of no post of this split")
        if post.id in found:
            raise HamlearnError(f"{place}: the post {post.id!r} is predicted a second time")
        if entry["words"] != list(post.words):
            raise HamlearnError(f"{place}: the words are not those of the post {post.id!r}")
        labels = tuple(map(str, entry["predicted"]))
        if len(labels) != len(post.words):
            raise HamlearnError(
                f"{place}: post {post.id!r} has {len(labels)} predicted labels;"
                f" expected {len(post.words)}, one a word"
            )
        wrong = next((label for label in labels if not is_label(label)), None)
        if wrong is not None:
            raise HamlearnError(f"{place}: label {wrong!r}; expected O, B-TYPE or I-TYPE")
        found[post.id] = labels
    absent = [post.id for post in posts if post.id not in found]
    if absent:
        raise HamlearnError(
            f"{path}: {len(absent)} of {len(posts)} posts are not predicted, first {absent[0]!r}"
        )
    return [found[post.id] for post in posts]


def write_scores(path: str | Path, scores: pd.DataFrame) -> None:
    """Write rows of scores as CSV with six decimals, whole or not at all."""
    with atomic_write(path) as part:
        scores.to_csv(part, index=False, float_format="%.6f", lineterminator="\n")


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read rows of scores; names that look like numbers or like nothing stay names.

    Raises:
        HamlearnError: the file is absent or is not a table with the columns COLUMNS.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected scores of `hamlearn evaluate`")
    if is_truncated(path):
        raise HamlearnError(
            f"{path}: ends within a line, so that something is lost; delete it and make it again"
        )
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise HamlearnError(f"{path}: not a CSV table ({error})") from error
    if tuple(frame.columns) != COLUMNS:
        raise HamlearnError(
            f"{path}: found the columns {', '.join(map(str, frame.columns))};"
            f" expected {', '.join(COLUMNS)}"
        )
    return frame


def gather(paths: Iterable[str | Path], out: str | Path) -> pd.DataFrame:
    """Write the scores of several runs as one table, in the order of the files.

    Args:
        paths: files as `write_scores` writes them.
        out: the table of all.

    Returns:
        The table.

    Raises:
        HamlearnError: there is no file, one is malformed, or two hold scores of the same run.
    """
    frames = []
    runs: dict[tuple[Any, ...], str | Path] = {}
    for path in paths:
        frame = read_scores(path)
        for run in frame[list(RUN)].drop_duplicates().itertuples(index=False, name=None):
            if run in runs:
                raise HamlearnError(
                    f"{path}: scores of {'/'.join(map(str, run))}, which {runs[run]} holds too"
                )
            runs[run] = path
        frames.append(frame)
    if not frames:
        raise HamlearnError(f"{out}: no scores to gather; expected at least one file")
    metrics = pd.concat(frames, ignore_index=True)
    write_scores(out, metrics)
    return metrics


def _rows(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Yield the scores of one split: schemes, cues, then types."""
    gold = [post.labels for post in posts]
    cues = sorted({cue for post in posts for cue in cues_of(post).values()})
    if ALL in cues:
        raise HamlearnError(f"a cue is called {ALL!r}, the word for all cues together")
    for scheme in SCHEMES:
        for cue in (ALL, *cues):
            right, found = gold, predicted
            if cue != ALL:
                right = [of_cue(post, post.labels, cue) for post in posts]
                pairs = zip(posts, predicted, strict=True)
                found = [of_cue(post, labels, cue) for post, labels in pairs]
            scores = score(right, found, scheme)
            if ALL in scores.types:
                raise HamlearnError(f"a type is called {ALL!r}, the word for all types together")
            for type_, counts in {ALL: scores.micro, **scores.types}.items():
                yield {"scheme": scheme, "type": type_, "cue": cue, **_numbers(counts)}


def _numbers(counts: Score) -> dict[str, float]:
    return {name: getattr(counts, name) for name in NUMBERS}


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and content of each prediction."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; expected predictions of `hamlearn predict`")
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise HamlearnError(f"{place}: not JSON ({error})") from error
        if not isinstance(entry, dict) or not {"id", "words", "predicted"} <= entry.keys():
            raise HamlearnError(f"{place}: expected an object with id, words and predicted")
        if not isinstance(entry["predicted"], list):
            raise HamlearnError(f"{place}: `predicted` is no list; expected one label a word")
        yield place, entry
