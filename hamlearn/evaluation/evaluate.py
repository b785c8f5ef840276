"""Score the predictions of a run against the corpus, and gather the scores of several runs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, product
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
from hamlearn.systems import CONTROLS

RUN = ("corpus", "detector", "variant", "seed")
CONTROL, HAS_PICTURE = "control", "has_picture"
UNCONTROLLED = "none"  # in the column `control`
GROUPS = (ALL, "yes", "no")  # in the column `has_picture`: posts with a usable image, and without
NUMBERS = ("precision", "recall", "f1", "support", "predicted")
WITHOUT_IMAGE = "posts_without_image"  # posts of the split; empty where no image is read
COLUMNS = (
    *RUN, CONTROL, "split", "scheme", "type", "cue", HAS_PICTURE, *NUMBERS, WITHOUT_IMAGE,
)  # fmt: skip
TEXT = [name for name in COLUMNS if name not in ("seed", *NUMBERS, WITHOUT_IMAGE)]


class Prediction(NamedTuple):
    """What a run predicted for one post."""

    labels: tuple[str, ...]  # one for each word
    relevance: dict[str, float] | None = None  # mean of M by view
    cut: int = 0  # number of words the model did not read
    has_image: bool | None = None  # whether its features were read; None: system reads none
    has_text: Mapping[str, bool] = {}  # whether the post has each of the texts that are read
    contributions: tuple[float, ...] | None = None  # of its image and objects, if they are known


def evaluate(
    predictions: Iterable[str | Path],
    posts: Sequence[CorpusPost],
    *,
    corpus: str,
    detector: str,
    variant: str,
    seed: int,
    control: str = UNCONTROLLED,
) -> pd.DataFrame:
    """Score one run's predictions by scheme, type and cue, for posts with and without an image.

    Gold comes from the corpus, never from a prediction file, and is counted before truncation.
    Prediction files are named by their split, such as `dev.jsonl`, and by what was done to images
    first: `test.removed.jsonl`, `test.shuffled-0.jsonl`, `test.shuffled-1.jsonl`. Scores of several
    draws of a control are averaged. The other arguments describe the run in every row: `none` as
    the detector of a run without one, and the control that it was trained under.

    Whether a post has an image is said by the run's own predictions without a control; a run that
    reads no images takes the posts that have an image file.

    Returns:
        Rows in the columns COLUMNS; `type` is `all` for micro, `cue` is `all` or a cue. A type
        that a group of posts has neither in gold nor in predictions has no row.

    Raises:
        HamlearnError: a file is malformed or not named as above, see also `read_predictions`; or
            a type or a cue is called `all`.
    """
    run = {"corpus": corpus, "detector": detector, "variant": variant, "seed": seed}
    files: dict[str, dict[str, list[Path]]] = {}  # by split, then control
    for path in map(Path, predictions):
        split, done = parse_name(path)
        files.setdefault(split, {}).setdefault(done, []).append(path)
    rows = []
    for split, by_control in files.items():
        chosen = [post for post in posts if post.split == split]
        own_files = by_control.get(UNCONTROLLED, [])
        if len(own_files) != 1:
            found = ", ".join(map(str, own_files)) or "none"
            raise HamlearnError(f"{split}.jsonl: found {found}, expected one file of that name")
        for done in sorted(by_control, key=lambda name: name != UNCONTROLLED):
            draws = [read_predictions(path, chosen) for path in by_control[done]]
            if done == UNCONTROLLED:
                (own,) = draws
                without, has_image = _without_image(own), has_image_of(chosen, own)
            tables = [
                pd.DataFrame(_scores(chosen, [one.labels for one in draw], has_image))
                for draw in draws
            ]
            scored = _averaged(tables).assign(**run)  # type: ignore[arg-type]
            scored[CONTROL] = control if done == UNCONTROLLED else done
            scored["split"], scored[WITHOUT_IMAGE] = split, without
            rows.append(scored)
    table = pd.concat(rows, ignore_index=True)[list(COLUMNS)]
    return table.astype({WITHOUT_IMAGE: "Int64"})


def parse_name(path: Path) -> tuple[str, str]:
    """Return the split and the control that a file of predictions is named by."""
    split, _, done = path.stem.partition(".")
    name = done.partition("-")[0] or UNCONTROLLED
    if split not in SPLITS or name not in (UNCONTROLLED, *CONTROLS):
        raise HamlearnError(
            f"{path}: expected a file named by its split ({', '.join(SPLITS)}), and by a control"
            f" ({', '.join(CONTROLS)}) if there is one, such as test.jsonl or test.shuffled-0.jsonl"
        )
    return split, name


def _averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean of scores over the draws of a control; a type absent from a draw scores 0."""
    if len(tables) == 1:
        return tables[0]
    keys = ["scheme", "type", "cue", HAS_PICTURE]
    every = pd.concat(tables)
    mean = every.groupby(keys, sort=False)[list(NUMBERS)].sum() / len(tables)
    mean["support"] = every.groupby(keys, sort=False)["support"].max()
    return mean.round({"predicted": 0}).astype({"support": int, "predicted": int}).reset_index()


def has_image_of(posts: Sequence[CorpusPost], predictions: Sequence[Prediction]) -> list[bool]:
    """Return whether each post has an image that a run read, or else an image file."""
    read = [bool(one.has_image) for one in predictions]
    return read if any(read) else [post.image_path is not None for post in posts]


def _without_image(predictions: Sequence[Prediction]) -> int | None:
    """Return the number of posts without a usable image, None for a system that reads none."""
    if any(one.has_image is None for one in predictions):
        return None
    return sum(not one.has_image for one in predictions)


def read_predictions(path: str | Path, posts: Sequence[CorpusPost]) -> list[Prediction]:
    """Read and check the predictions for some posts, and return them in the order of the posts.

    The file has JSON lines with the keys `id`, `words`, `predicted`, and optionally the others of
    `Prediction`, for all of these posts and no others.

    Raises:
        HamlearnError: the file is absent or malformed, or does not predict each post exactly once
            (as often as it is among `posts`), with its own words and one label per word.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected predictions made by `hamlearn`")
    expected = {post.id: post for post in posts}
    times = Counter(post.id for post in posts)  # dev posts of several folds
    found: dict[str, list[Prediction]] = {}
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
        if len(found.setdefault(post.id, [])) == times[post.id]:
            raise HamlearnError(f"{place}: the post {post.id!r} is predicted a second time")
        if entry["words"] != list(post.words):
            raise HamlearnError(f"{place}: the words are not those of the post {post.id!r}")
        labels = tuple(map(str, entry["predicted"]))
        if len(labels) != len(post.words):
            raise HamlearnError(
                f"{place}: post {post.id!r} has {len(labels)} predicted labels;"
                f" expected {len(post.words)}, one per word"
            )
        weights = entry.get("contributions")
        one = Prediction(
            labels,
            entry.get("relevance") or None,
            entry.get("cut", 0),
            entry.get("has_image"),
            entry.get("has_text") or {},
            None if weights is None else tuple(weights),
        )
        found[post.id].append(one)
    absent = [name for name, count in times.items() if len(found.get(name, [])) < count]
    if absent:
        raise HamlearnError(
            f"{path}: {len(absent)} of {len(posts)} posts are not predicted, first {absent[0]!r}"
        )
    in_order = {name: iter(several) for name, several in found.items()}
    return [next(in_order[post.id]) for post in posts]


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
    if not isinstance(entry.get("has_image"), bool | None):
        found = f"has_image {entry['has_image']!r:.80}"
        raise HamlearnError(f"{place}: {found}; expected true or false")
    texts = entry.get("has_text") or {}
    if not isinstance(texts, dict) or not all(isinstance(one, bool) for one in texts.values()):
        raise HamlearnError(f"{place}: has_text {texts!r:.80}; expected true or false by name")
    weights = entry.get("contributions") or []
    if not isinstance(weights, list) or not all(isinstance(one, int | float) for one in weights):
        raise HamlearnError(f"{place}: contributions {weights!r:.80}; expected a list of numbers")
    if not isinstance(cut, int):
        raise HamlearnError(f"{place}: cut {cut!r:.80}; expected a number of words")
    return entry


def _scores(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]], has_image: Sequence[bool]
) -> list[dict[str, Any]]:
    """Return the scores of one split: by scheme, cue, with and without an image, then type."""
    cues = sorted({cue for post in posts for cue in cues_of(post).values()})
    if ALL in cues:
        raise HamlearnError(f"a cue is called {ALL!r}, the word for all cues together")
    members = {ALL: [True] * len(posts), "yes": has_image, "no": [not one for one in has_image]}
    rows = []
    for scheme, cue, group in product(SCHEMES, (ALL, *cues), GROUPS):
        pairs = [*compress(zip(posts, predicted, strict=True), members[group])]
        if not pairs:
            continue
        gold, found = [post.labels for post, _ in pairs], [labels for _, labels in pairs]
        if cue != ALL:
            gold = [of_cue(post, post.labels, cue) for post, _ in pairs]
            found = [of_cue(post, labels, cue) for post, labels in pairs]
        scores = score(gold, found, scheme)
        if ALL in scores.types:
            raise HamlearnError(f"a type is called {ALL!r}, the word for all types together")
        for type_, counts in {ALL: scores.micro, **scores.types}.items():
            numbers = {name: getattr(counts, name) for name in NUMBERS}
            place = {"scheme": scheme, "type": type_, "cue": cue, HAS_PICTURE: group}
            rows.append(place | numbers)
    return rows


def uncontrolled(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of all posts, with their own images: what tables of results show."""
    return scores[(scores[CONTROL] == UNCONTROLLED) & (scores[HAS_PICTURE] == ALL)]


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
        for run in table[[*RUN, CONTROL]].drop_duplicates().itertuples(index=False, name=None):
            if run in seen:
                name = "/".join(map(str, run[:-1]))
                raise HamlearnError(f"{path}: scores of {name}, which {seen[run]} also holds")
            seen[run] = path
        tables.append(table)
    if not tables:
        raise HamlearnError("scores: found no file, expected at least one")
    return pd.concat(tables, ignore_index=True)
