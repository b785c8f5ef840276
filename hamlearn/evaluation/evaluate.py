"""Score the predictions of a run against the corpus, and gather the scores of several runs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hamlearn.corpus.labels import SCHEMES, is_label
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.cues import cues_of, of_cue
from hamlearn.evaluation.scores import ALL, score
from hamlearn.evaluation.tables import read_table
from hamlearn.io import lines
from hamlearn.systems import SYSTEMS, split_rounds

RUN = ("corpus", "detector", "variant", "seed")
NUMBERS = ("precision", "recall", "f1", "support", "predicted")
WITHOUT_IMAGE = "posts_without_image"  # posts of the split; empty where no image is read
COLUMNS = (*RUN, "split", "scheme", "type", "cue", *NUMBERS, WITHOUT_IMAGE)
TEXT = [name for name in COLUMNS if name not in ("seed", *NUMBERS, WITHOUT_IMAGE)]


_FLAGS = ("has_image", "has_caption")


class Prediction(NamedTuple):
    """What a run predicted for one post."""

    labels: tuple[str, ...]  # one for each word
    relevance: dict[str, float] | None = None  # mean of M by view
    cut: int = 0  # number of words the model did not read
    has_image: bool | None = None  # whether features of its image were read, if that is known
    has_caption: bool | None = None  # the same of a caption; None where none are read


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
    Prediction files are named by their split, such as `dev.jsonl`; the other arguments describe the
    run in every row, with `none` as the detector of a run without one.

    Returns:
        Rows in the columns COLUMNS; `type` is `all` for micro, `cue` is `all` or a cue. A type
        that a cue has neither in gold nor in predictions has no row.

    Raises:
        HamlearnError: a file is malformed or not named by a split, see also `read_predictions`; or
            a type or a cue is called `all`.
    """
    run = {"corpus": corpus, "detector": detector, "variant": variant, "seed": seed}
    rows = []
    for path in map(Path, predictions):
        split = path.stem
        if split not in SPLITS:
            raise HamlearnError(f"{path}: expected a file named by its split: {', '.join(SPLITS)}")
        chosen = [post for post in posts if post.split == split]
        read = read_predictions(path, chosen)
        common = {**run, "split": split, WITHOUT_IMAGE: _without_image(variant, read)}
        scored = _scores(chosen, [one.labels for one in read])
        rows += [{**common, **scores} for scores in scored]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({WITHOUT_IMAGE: "Int64"})


def _without_image(variant: str, predictions: Sequence[Prediction]) -> int | None:
    """Return the number of posts without a usable image, None for a system that reads none."""
    system = SYSTEMS.get(split_rounds(variant)[0])
    if system is not None and not system.inputs.files:
        return None
    if any(one.has_image is None for one in predictions):
        return None
    return sum(not one.has_image for one in predictions)


def read_predictions(path: str | Path, posts: Sequence[CorpusPost]) -> list[Prediction]:
    """Read and check the predictions for some posts, and return them in the order of the posts.

    The file has JSON lines with the keys `id`, `words`, `predicted`, and optionally the others of
    `Prediction`, for all of these posts and no others.

    Raises:
        HamlearnError: the file is absent or malformed, or does not predict each post exactly once,
            with its own words and one label per word.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected predictions made by `hamlearn`")
    expected = {post.id: post for post in posts}
    found: dict[str, Prediction] = {}
    with path.open("rb") as file:
        entries = [
            (f"{path}:{number}", _entry(line, f"{path}:{number}"))
            for number, line in lines(file)
            if line.strip()
        ]
    for place, entry in entries:
        post = expected.get(str(entry["id"]))
        if post is None:
            raise HamlearnError(f"{place}: {entry['id']!r} is not the id of a post of this split")
        if post.id in found:
            raise HamlearnError(f"{place}: the post {post.id!r} is predicted a second time")
        if entry["words"] != list(post.words):
            raise HamlearnError(f"{place}: the words are not those of the post {post.id!r}")
        labels = tuple(map(str, entry["predicted"]))
        if len(labels) != len(post.words):
            raise HamlearnError(
                f"{place}: post {post.id!r} has {len(labels)} predicted labels;"
                f" expected {len(post.words)}, one per word"
            )
        found[post.id] = Prediction(
            labels, entry.get("relevance") or None, entry.get("cut", 0), *map(entry.get, _FLAGS)
        )
    absent = [post.id for post in posts if post.id not in found]
    if absent:
        raise HamlearnError(
            f"{path}: {len(absent)} of {len(posts)} posts are not predicted, first {absent[0]!r}"
        )
    return [found[post.id] for post in posts]


def _entry(line: bytes, place: str) -> dict[str, Any]:
    """Parse one prediction and check the types of its values."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise HamlearnError(f"{place}: not JSON ({error})") from error
    if not isinstance(entry, dict) or not {"id", "words", "predicted"} <= entry.keys():
        raise HamlearnError(f"{place}: expected an object with id, words and predicted")
    if not isinstance(entry["predicted"], list):
        raise HamlearnError(f"{place}: `predicted` is not a list; expected one label per word")
    wrong = next((label for label in entry["predicted"] if not is_label(str(label))), None)
    if wrong is not None:
        raise HamlearnError(f"{place}: label {wrong!r}; expected O, B-TYPE or I-TYPE")
    relevance, cut = entry.get("relevance") or {}, entry.get("cut", 0)
    values = relevance.values() if isinstance(relevance, dict) else [None]
    if not all(isinstance(value, int | float) for value in values):
        raise HamlearnError(f"{place}: relevance {relevance!r:.80}; expected a number by view")
    for name in _FLAGS:
        if not isinstance(entry.get(name), bool | None):
            raise HamlearnError(f"{place}: {name} {entry[name]!r:.80}; expected true or false")
    if not isinstance(cut, int):
        raise HamlearnError(f"{place}: cut {cut!r:.80}; expected a number of words")
    return entry


def _scores(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Yield the scores of one split: by scheme, cue, then type."""
    cues = sorted({cue for post in posts for cue in cues_of(post).values()})
    if ALL in cues:
        raise HamlearnError(f"a cue is called {ALL!r}, the word for all cues together")
    for scheme in SCHEMES:
        for cue in (ALL, *cues):
            gold, found = [post.labels for post in posts], predicted
            if cue != ALL:
                pairs = zip(posts, predicted, strict=True)
                gold = [of_cue(post, post.labels, cue) for post in posts]
                found = [of_cue(post, labels, cue) for post, labels in pairs]
            scores = score(gold, found, scheme)
            if ALL in scores.types:
                raise HamlearnError(f"a type is called {ALL!r}, the word for all types together")
            for type_, counts in {ALL: scores.micro, **scores.types}.items():
                numbers = {name: getattr(counts, name) for name in NUMBERS}
                yield {"scheme": scheme, "type": type_, "cue": cue, **numbers}


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read the scores of one or several runs.

    Raises:
        HamlearnError: the file is absent or is not a table with the columns COLUMNS.
    """
    table = read_table(path, COLUMNS, text=TEXT, made_by="hamlearn evaluate")
    try:
        return table.astype({WITHOUT_IMAGE: "Int64"})
    except (TypeError, ValueError) as error:
        raise HamlearnError(f"{path}: {WITHOUT_IMAGE}: {error}; expected whole numbers") from error


def gather(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Return the scores of several runs as one table, in the order of the files.

    Raises:
        HamlearnError: there is no file, one is malformed, or two hold scores of the same run.
    """
    tables = []
    seen: dict[tuple[Any, ...], str | Path] = {}
    for path in paths:
        table = read_scores(path)
        for run in table[list(RUN)].drop_duplicates().itertuples(index=False, name=None):
            if run in seen:
                raise HamlearnError(
                    f"{path}: scores of {'/'.join(map(str, run))}, which {seen[run]} also holds"
                )
            seen[run] = path
        tables.append(table)
    if not tables:
        raise HamlearnError("scores: found no file, expected at least one")
    return pd.concat(tables, ignore_index=True)
