"""What the report reads: scores, run folders, corpora, failures of extraction and predictions."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hamlearn.corpus.posts import CorpusPost, read_posts
from hamlearn.corpus.statistics import COLUMNS as STATISTICS_COLUMNS
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import read_predictions, read_scores
from hamlearn.io import is_truncated
from hamlearn.runs import RunFacts, read_run_facts
from hamlearn.settings import Settings
from hamlearn.systems import IMAGE_MAPS, NO_DETECTOR, Inputs, image_features_name

TEST = "test"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # safe in a path
HISTORY_COLUMNS = ("epoch", "train_loss", "dev_loss", "dev_f1_lenient")
FAILURE_COLUMNS = ("image", "status", "reason")

Labels = list[tuple[str, ...]]
Relevance = list[dict[str, float] | None]


@dataclass(frozen=True)
class Run:
    """One trained model, as its folder and its predictions tell it.

    Attributes:
        detector: its name, `none` for a run that no detector changes.
        variant: of the model.
        seed: of the run.
        facts: what run.json holds.
        history: one row an epoch.
        predicted: labels of each test post, in the order of the posts.
        relevance: mean of M by view of each test post; None where there is none.
        cut: words of each test post that the model did not read.
    """

    detector: str
    variant: str
    seed: int
    facts: RunFacts
    history: pd.DataFrame
    predicted: Labels
    relevance: Relevance
    cut: list[int] = field(default_factory=list)

    @property
    def inputs(self) -> Inputs:
        """What it reads."""
        return self.facts.inputs


@dataclass(frozen=True)
class CorpusResults:
    """Everything that the report says of one corpus.

    Attributes:
        name: of the corpus.
        scores: its rows of metrics.csv.
        runs: its runs, in the order of the scores.
        posts: all of its posts.
        statistics: its Table 1.
        failures: status and reason of each picture that could not be used, by image id.
        ceiling: the best F1 without pictures, overall and by cue; empty where none is stated.
    """

    name: str
    scores: pd.DataFrame
    runs: list[Run]
    posts: list[CorpusPost]
    statistics: pd.DataFrame
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)

    @property
    def test(self) -> list[CorpusPost]:
        """The posts of the test split."""
        return [post for post in self.posts if post.split == TEST]

    @property
    def detectors(self) -> list[str]:
        """The detectors of the runs that see objects, in their order."""
        return [
            name for name in dict.fromkeys(run.detector for run in self.runs) if name != NO_DETECTOR
        ]

    @property
    def unusable(self) -> list[CorpusPost]:
        """The posts whose picture gave nothing; none where no run looks at pictures."""
        if not any(run.inputs.files for run in self.runs):
            return []
        return [post for post in self.posts if post.image_id in self.failures]

    def runs_of(self, detector: str, variant: str) -> list[Run]:
        """Return the runs of a variant, by seed."""
        found = [run for run in self.runs if (run.detector, run.variant) == (detector, variant)]
        return sorted(found, key=lambda run: run.seed)

    def name_of(self, run: Run) -> str:
        """Name a run as far as it takes to tell it from the others."""
        name = run.variant
        if run.detector != NO_DETECTOR and len(self.detectors) > 1:
            name += f" ({run.detector})"
        several = len({other.seed for other in self.runs}) > 1
        return f"{name}, seed {run.seed}" if several else name


def read_results(settings: Settings, metrics: str | Path, results: Path) -> list[CorpusResults]:
    """Read what the report needs of every corpus in the scores, in their order.

    Args:
        settings: of the experiment.
        metrics: the gathered scores.
        results: the folder that the workflow writes.

    Raises:
        HamlearnError: a file is absent or malformed, or the scores name something that is no name.
    """
    frame = read_scores(metrics)
    if frame.empty:
        raise HamlearnError(f"{metrics}: holds no scores; expected those of one run at least")
    for column in ("corpus", "detector", "variant"):
        for name in frame[column].unique():
            if NAME.fullmatch(name) is None:
                raise HamlearnError(f"{metrics}: {column} {name!r}; expected a name like `demo-2`")
    return [
        _read_corpus(settings, str(name), scores.reset_index(drop=True), results)
        for name, scores in frame.groupby("corpus", sort=False)
    ]


def _read_corpus(
    settings: Settings, name: str, scores: pd.DataFrame, results: Path
) -> CorpusResults:
    folder = results / "corpus" / name
    posts = read_posts(folder / "posts.jsonl")
    test = [post for post in posts if post.split == TEST]
    keys = scores[["detector", "variant", "seed"]].drop_duplicates()
    runs = [
        _read_run(results, name, str(detector), str(variant), int(seed), test)
        for detector, variant, seed in keys.itertuples(index=False, name=None)
    ]
    return CorpusResults(
        name=name,
        scores=scores,
        runs=runs,
        posts=posts,
        # As text: a type may be called NA or 01.
        statistics=_table(folder / "statistics.csv", STATISTICS_COLUMNS, text=True),
        failures=_read_failures(settings, name, runs, results),
        ceiling=_read_ceiling(settings, name, folder),
    )


def _read_run(
    results: Path, corpus: str, detector: str, variant: str, seed: int, test: Sequence[CorpusPost]
) -> Run:
    place = Path(corpus, detector, variant, f"seed{seed}")
    folder = results / "models" / place
    facts = read_run_facts(folder / "run.json")
    history = _table(folder / "history.csv", HISTORY_COLUMNS)
    if history.empty:
        raise HamlearnError(f"{folder / 'history.csv'}: no epoch; expected one row an epoch")
    predictions = results / "predictions" / place / f"{TEST}.jsonl"
    predicted = read_predictions(predictions, test)
    return Run(
        detector=detector,
        variant=variant,
        seed=seed,
        facts=facts,
        history=history,
        predicted=[one.labels for one in predicted],
        relevance=[one.relevance for one in predicted],
        cut=[one.cut for one in predicted],
    )


def _read_failures(
    settings: Settings, corpus: str, runs: Sequence[Run], results: Path
) -> dict[str, tuple[str, str]]:
    """Return the pictures that one extraction or another could not use."""
    stored = [name for name in IMAGE_MAPS if getattr(settings.image_features, name)]
    backbone = settings.backbone
    reading = [run.inputs for run in runs if "images" in run.inputs.files]
    stems = [f"images/{image_features_name(needs, backbone, stored)}" for needs in reading]
    stems += [f"objects/{run.detector}" for run in runs if run.detector != NO_DETECTOR]
    folder = results / "features" / corpus
    tables = [folder / f"{stem}.failures.csv" for stem in dict.fromkeys(stems)]
    failures: dict[str, tuple[str, str]] = {}
    for table in tables:
        for row in _table(table, FAILURE_COLUMNS, text=True).to_dict("records"):
            failures.setdefault(row["image"], (row["status"], row["reason"]))
    return failures


def _read_ceiling(settings: Settings, name: str, folder: Path) -> dict[str, float]:
    """Return the text ceiling in F1 (0 to 1); under `overall` that of all cues together."""
    known = settings.corpora.get(name)
    drawn = known is not None and known.generator is not None
    source = folder / "drawn" if drawn else Path(known.path if known and known.path else folder)
    path = source / "ceiling.json"
    if not drawn and not path.is_file():
        return {}
    ceiling = _json(path).get("text_ceiling")
    if not isinstance(ceiling, dict) or "overall" not in ceiling:
        raise HamlearnError(f"{path}: found no `text_ceiling` with `overall` and the cues")
    return {str(cue): float(value) for cue, value in ceiling.items()}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; the report needs it")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HamlearnError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise HamlearnError(f"{path}: found {type(value).__name__}, expected an object")
    return value


def _table(path: Path, columns: Sequence[str], text: bool = False) -> pd.DataFrame:
    """Read a CSV table that has at least these columns."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; the report needs it")
    if is_truncated(path):
        raise HamlearnError(
            f"{path}: ends within a line, so that something is lost; delete it and make it again"
        )
    try:
        frame = pd.read_csv(path, dtype=str if text else None, keep_default_na=not text)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise HamlearnError(f"{path}: not a CSV table ({error})") from error
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise HamlearnError(
            f"{path}: no column {', '.join(absent)}; it has {', '.join(map(str, frame.columns))}"
        )
    return frame
