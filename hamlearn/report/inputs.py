"""Everything the report reads: scores, run folders, predictions, corpora, what detectors found."""

import json
import re
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hamlearn import experiments
from hamlearn.corpus.posts import CorpusPost, read_posts
from hamlearn.corpus.statistics import COLUMNS as STATISTICS_COLUMNS
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.controls import EFFECTS, RELEVANCE
from hamlearn.evaluation.evaluate import Prediction, read_predictions, read_scores, uncontrolled
from hamlearn.evaluation.scores import ALL
from hamlearn.evaluation.tables import read_table
from hamlearn.features.graphs import Graphs
from hamlearn.features.relations import NONE
from hamlearn.features.store import FeatureFile
from hamlearn.runs import RunFacts, VisionNetwork, check_as_in_run, read_run_facts
from hamlearn.settings import Settings
from hamlearn.systems import IMAGE_MAPS, NO_DETECTOR, image_features_name
from hamlearn.vision.images import Status

TEST = "test"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # safe in a path
HISTORY_COLUMNS = ("epoch", "train_loss", "dev_loss", "dev_f1_lenient")
FAILURE_COLUMNS = ("image", "status", "reason")


@dataclass(frozen=True)
class Training:
    """One trained model."""

    facts: RunFacts
    history: pd.DataFrame  # one row per epoch


@dataclass(frozen=True)
class RunResult:
    """One trained model, or one of each fold, and the predictions."""

    detector: str  # `none` for a run without one
    variant: str
    seed: int
    trainings: list[Training]  # one, or that of each fold
    predictions: list[Prediction]  # for each test post, in the order of the posts

    @property
    def facts(self) -> RunFacts:
        """The facts of the run; of several folds, those of the first, without its splits."""
        first = self.trainings[0].facts
        return first if len(self.trainings) == 1 else first.model_copy(update={"splits": {}})

    @property
    def reads_images(self) -> bool:
        """Whether the system reads the image or its objects."""
        return bool(self.facts.inputs.files)

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """The predicted labels of each test post."""
        return [prediction.labels for prediction in self.predictions]


@dataclass(frozen=True)
class CorpusResults:
    """Everything known about one corpus."""

    name: str
    scores: pd.DataFrame  # its rows of metrics.csv for all posts, without a control
    runs: list[RunResult]  # in the order of the scores
    scored: list[CorpusPost]  # of folds: all as test, then dev of each, with a post several times
    statistics: pd.DataFrame  # its Table 1
    failures: dict[str, tuple[str, str]]  # status and reason of unusable pictures, by image id
    ceiling: dict[str, float]  # best F1 (0 to 1) from words alone, by cue and `all`, if known
    effects: pd.DataFrame  # its rows of controls.csv
    relevance: pd.DataFrame  # its rows of relevance.csv

    @property
    def posts(self) -> list[CorpusPost]:
        """All posts, each once."""
        found: dict[str, CorpusPost] = {}
        for post in self.scored:
            found.setdefault(post.id, post)
        return [*found.values()]

    @property
    def folds(self) -> int:
        """The number of models of each run."""
        return len(self.runs[0].trainings)

    @property
    def test(self) -> list[CorpusPost]:
        """The posts of the test split."""
        return [post for post in self.scored if post.split == TEST]

    @property
    def variants(self) -> list[tuple[str, str]]:
        """Detector and variant of all runs, in the order of the scores."""
        return list(dict.fromkeys((run.detector, run.variant) for run in self.runs))

    @property
    def detectors(self) -> list[str]:
        """The detectors of the runs that read objects, in the order of the scores."""
        return [name for name in dict(self.variants) if name != NO_DETECTOR]

    @property
    def cues(self) -> list[str]:
        """The cues with scores, without `all`."""
        return [str(cue) for cue in dict.fromkeys(self.scores["cue"]) if cue != ALL]

    @property
    def unusable(self) -> list[CorpusPost]:
        """The posts whose picture could not be used; none where no run reads pictures."""
        if not any(run.facts.inputs.files for run in self.runs):
            return []
        return [post for post in self.posts if post.image_id in self.failures]

    def runs_of(self, detector: str, variant: str) -> list[RunResult]:
        """Return the runs of a variant, by seed."""
        found = [run for run in self.runs if (run.detector, run.variant) == (detector, variant)]
        return sorted(found, key=lambda run: run.seed)

    def title(self, detector: str) -> str:
        """Return the name of the corpus, with that of a detector if there is one."""
        return self.name if detector == NO_DETECTOR else f"{self.name}, detector {detector}"

    def name_of(self, run: RunResult) -> str:
        """Return a name that distinguishes a run from the others, and no longer than needed."""
        name = run.variant
        if run.detector != NO_DETECTOR and len(self.detectors) > 1:
            name += f" ({run.detector})"
        several = len({other.seed for other in self.runs}) > 1
        return f"{name}, seed {run.seed}" if several else name


def read_results(
    settings: Settings,
    metrics: str | Path,
    results: Path,
    left_out: Collection[tuple[str, str, str]] = (),
) -> list[CorpusResults]:
    """Read what the report needs of every corpus in the gathered scores, in their order.

    Runs of `left_out`, by corpus, detector and variant, are not read.

    Raises:
        HamlearnError: a file is absent or malformed, or the scores hold an invalid name.
    """
    scores = uncontrolled(read_scores(metrics))
    if scores.empty:
        raise HamlearnError(f"{metrics}: found no scores, expected those of at least one run")
    for column in ("corpus", "detector", "variant"):
        for name in scores[column].unique():
            if NAME.fullmatch(name) is None:
                raise HamlearnError(
                    f"{metrics}: {column}: found {name!r}, expected a name like `demo-2`"
                )
    scores = without(scores, left_out)
    made_by = "hamlearn controls"
    effects = read_table(results / "report" / "controls.csv", EFFECTS, EFFECTS[:5], made_by)
    relevance = read_table(results / "report" / "relevance.csv", RELEVANCE, RELEVANCE[:6], made_by)
    tables = {
        "effects": without(effects, left_out),
        "relevance": without(relevance, left_out),
    }
    return [
        _read_corpus(
            settings,
            str(name),
            rows.reset_index(drop=True),
            results,
            **{key: table[table["corpus"] == name] for key, table in tables.items()},
        )
        for name, rows in scores.groupby("corpus", sort=False)
    ]


def without(
    table: pd.DataFrame,
    left_out: Collection[tuple[str, str, str]],
    columns: Sequence[str] = ("corpus", "detector", "variant"),
) -> pd.DataFrame:
    """Return a table without the rows of some runs, by corpus, detector and variant."""
    rows = table[list(columns)].itertuples(index=False, name=None)
    return table[np.array([row not in left_out for row in rows], dtype=bool)]


def _read_corpus(
    settings: Settings,
    name: str,
    scores: pd.DataFrame,
    results: Path,
    effects: pd.DataFrame,
    relevance: pd.DataFrame,
) -> CorpusResults:
    folder = results / "corpus" / name
    folds = experiments.folds(settings, name) if name in settings.corpora else [""]
    posts = read_posts(folder / ("posts.jsonl" if folds == [""] else "posts.folds.jsonl"))
    test = [post for post in posts if post.split == TEST]
    runs = []
    keys = scores[["detector", "variant", "seed"]].drop_duplicates()
    for detector, variant, seed in keys.itertuples(index=False, name=None):
        place = Path(name, detector, variant, f"seed{seed}")
        trainings = [_read_training(results / "models" / f"{place}{fold}") for fold in folds]
        predictions = read_predictions(results / "predictions" / place / f"{TEST}.jsonl", test)
        runs.append(RunResult(detector, variant, int(seed), trainings, predictions))
    statistics = read_table(folder / "statistics.csv", STATISTICS_COLUMNS, STATISTICS_COLUMNS)
    failures = _read_failures(settings, name, runs, results)
    ceiling = _read_ceiling(settings, name, folder)
    return CorpusResults(
        name, scores, runs, posts, statistics, failures, ceiling, effects, relevance
    )


def _read_training(model: Path) -> Training:
    history = read_table(model / "history.csv", HISTORY_COLUMNS, made_by="hamlearn train")
    if history.empty:
        raise HamlearnError(f"{model / 'history.csv'}: found no epoch, expected at least one")
    return Training(read_run_facts(model / "run.json"), history)


def _read_failures(
    settings: Settings, corpus: str, runs: Sequence[RunResult], results: Path
) -> dict[str, tuple[str, str]]:
    """Return the pictures that any extraction could not use, with status and reason."""
    stored = [name for name in IMAGE_MAPS if getattr(settings.image_features, name)]
    stems = [
        f"images/{image_features_name(run.facts.inputs, settings.backbone, run.detector, stored)}"
        for run in runs
        if "images" in run.facts.inputs.files
    ]
    stems += [f"objects/{run.detector}" for run in runs if run.detector != NO_DETECTOR]
    failures: dict[str, tuple[str, str]] = {}
    for stem in dict.fromkeys(stems):
        path = results / "features" / corpus / f"{stem}.failures.csv"
        table = read_table(path, FAILURE_COLUMNS, FAILURE_COLUMNS, "hamlearn merge-features")
        for image_id, *failure in table.itertuples(index=False, name=None):
            failures.setdefault(image_id, (failure[0], failure[1]))
    return failures


def _read_ceiling(settings: Settings, name: str, folder: Path) -> dict[str, float]:
    known = settings.corpora.get(name)
    drawn = known is not None and known.generator is not None
    source = folder / "drawn" if drawn else Path(known.path if known and known.path else folder)
    path = source / "ceiling.json"
    if not path.is_file():
        if drawn:
            raise HamlearnError(f"{path}: no such file, expected one made by `hamlearn demo`")
        return {}
    try:
        ceiling = dict(json.loads(path.read_text(encoding="utf-8"))["text_ceiling"])
        return {ALL: float(ceiling.pop("overall"))} | {
            str(cue): float(value) for cue, value in ceiling.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise HamlearnError(
            f"{path}: expected JSON with `text_ceiling`: a number for `overall` and each cue"
        ) from error


@dataclass(frozen=True)
class ImageObjects:
    """The K objects found in one image, the best score first."""

    names: list[str]  # of their classes
    scores: NDArray[np.float32]  # (K,)
    boxes: NDArray[np.float32]  # (K, 4) xyxy in shares of width and height
    relations: NDArray[np.int8]  # (K, K), index into RELATIONS or NONE


@dataclass(frozen=True)
class Detections:
    """What one detector found in the R images of a corpus that could be read."""

    detector: str
    classes: list[str]
    labels: NDArray[np.int32]  # (R, N), outside the classes where there is no object
    scores: NDArray[np.float32]  # (R, N)
    images: dict[str, ImageObjects]  # of test images, by image id

    @property
    def is_object(self) -> NDArray[np.bool]:
        """(R, N): where an object was found."""
        return (self.labels >= 0) & (self.labels < len(self.classes))


def read_detections(
    corpus: CorpusResults, detector: str, results: Path, relations: bool = True
) -> Detections:
    """Read what a detector found; without `relations`, the graphs are not read.

    Raises:
        HamlearnError: features or graphs are absent, or do not belong together or to the runs.
    """
    path = results / "features" / corpus.name / "objects" / f"{detector}.h5"
    runs = [run.facts for run in corpus.runs if run.detector == detector]
    with FeatureFile(path, "objects") as file:
        for facts in runs:
            network = VisionNetwork.from_attributes(file.attributes)
            network.check_same(facts.networks["objects"], path)
        everything = range(len(file.ids))
        usable = file.rows("status", everything) == int(Status.OK)
        labels, scores = (file.rows(name, everything) for name in ("labels", "scores"))
        test = dict.fromkeys(post.image_id for post in corpus.test)
        row_of = {name: file.row_of[name] for name in test if name in file.row_of}
        row_of = {name: row for name, row in row_of.items() if usable[row]}
        rows = list(row_of.values())
        boxes = file.rows("boxes", rows)
        nodes = 1 + labels.shape[1]
        graphs = np.full((len(rows), nodes, nodes), NONE, np.int8)
        if relations:
            path = results / "graphs" / corpus.name / f"{detector}.h5"
            with closing(Graphs(path, file)) as graph_file:
                graphs = graph_file.rows(rows)
            for facts in runs:
                if facts.graph is not None:
                    found, expected = (
                        one.model_dump() for one in (graph_file.settings, facts.graph)
                    )
                    check_as_in_run(path, "graph", found, expected)
        images = {}
        for (name, row), corners, graph in zip(row_of.items(), boxes, graphs, strict=True):
            kept = np.flatnonzero((labels[row] >= 0) & (labels[row] < len(file.classes)))
            images[name] = ImageObjects(
                names=[file.classes[label] for label in labels[row, kept]],
                scores=scores[row, kept],
                boxes=corners[kept],
                relations=graph[np.ix_(kept + 1, kept + 1)],  # node 0 is the image
            )
        return Detections(detector, file.classes, labels[usable], scores[usable], images)
