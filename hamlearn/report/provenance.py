"""What went into the numbers: corpora, runs and feature files, and what to be careful about."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.statistics import NAMES
from hamlearn.evaluation.readable import ABSENT
from hamlearn.evaluation.scores import ALL
from hamlearn.io import canonical, digest_of_text
from hamlearn.networks import is_of_demo
from hamlearn.report.inputs import CorpusResults
from hamlearn.report.tables import Cell, Row, Table, cells, detector_note
from hamlearn.runs import VisionNetwork

RANDOM = "random weights: visual scores carry no meaning"
DEMO = "the demo's networks looked at images that the demo did not draw"
SHORT = 12  # characters of a digest that are shown
REASONS = 6  # rows of reasons that are shown; the rarest are combined
SPLIT_COLUMNS = ("Train", "Dev", "Test", "All")


@dataclass(frozen=True)
class Source:
    """A feature file of a corpus; the detector is empty for features of whole pictures."""

    kind: str
    detector: str
    network: VisionNetwork


@dataclass(frozen=True)
class Caution:
    """A warning to read before the numbers: a few words, the rest, and details if any."""

    corpus: str
    headline: str
    text: str
    table: Table | None = None


def corpus_table(corpus: CorpusResults) -> Table:
    """Return the corpus in the rows and words of the paper's Table 1."""
    rows = []
    for row in corpus.statistics.to_dict("records"):
        total = row["quantity"] == "entities" and row["type"] == ALL
        name = NAMES.get(row["quantity"], "Total" if total else row["type"])
        counts = cells([row[column] for column in (*SPLITS, "total")])
        rows.append(Row(name, counts, kind="total" if total else ""))
    return Table(
        "The corpus as in the paper's Table 1: entities are B- tags.",
        "Entity type",
        SPLIT_COLUMNS,
        tuple(rows),
    )


def coverage_table(corpus: CorpusResults) -> Table | None:
    """Return of how many posts there was what the runs read; None where they read words alone."""
    posts = Counter(post.split for post in corpus.posts)
    found: dict[tuple[str, str], Sequence[int | None]] = {}
    if any(run.facts.inputs.files for run in corpus.runs):
        files = Counter(post.split for post in corpus.posts if post.image_path is not None)
        found["image files", ""] = [files[split] for split in SPLITS]
    for run in corpus.runs:
        train, dev = (run.facts.splits.get(split) for split in SPLITS[:2])
        if kinds := [kind for kind in run.facts.inputs.files if kind != "graphs"]:
            known = [
                None
                if count is None or count.missing_images is None
                else count.posts - count.missing_images
                for count in (train, dev)
            ]
            test = [one.has_image for one in run.predictions]
            key = (
                f"features of {' and '.join(kinds)}",
                detector_note(run.detector, run.reads_images),
            )
            found.setdefault(key, [*known, None if None in test else test.count(True)])
        for name in run.facts.inputs.texts:
            known = [None if count is None else count.texts.get(name) for count in (train, dev)]
            test = [one.has_text.get(name) for one in run.predictions]
            if set(known) != {None}:
                key = (f"texts: {name}", "")
                found.setdefault(key, [*known, None if None in test else test.count(True)])
    rows = [
        Row(name, _shares(counts, [posts[split] for split in SPLITS]), note)
        for (name, note), counts in found.items()
    ]
    for vectors in dict.fromkeys(run.facts.word_vectors for run in corpus.runs):
        name, colon, text = (vectors or "").rpartition(": ")
        if colon:
            rows.append(Row("word vectors", cells([*[ABSENT] * len(SPLITS), text]), name))
    caption = "Coverage: of how many posts there was what the runs read."
    return Table(caption, "Input", SPLIT_COLUMNS, tuple(rows)) if rows else None


def _shares(found: Sequence[int | None], posts: Sequence[int]) -> tuple[Cell, ...]:
    """Return cells of `n of N`, and their sum if all are known."""
    every = None if None in found else sum(filter(None, found))
    pairs = zip([*found, every], [*posts, sum(posts)], strict=True)
    return cells(
        [f"{count} of {total}" if count is not None and total else ABSENT for count, total in pairs]
    )


def run_table(corpus: CorpusResults) -> Table:
    """Return the size, time and chosen epoch of each run."""
    rows = []
    trainings = [(run, fold, one) for run in corpus.runs for fold, one in enumerate(run.trainings)]
    for run, fold, training in trainings:
        facts = training.facts
        values = (
            run.seed if len(run.trainings) == 1 else f"{run.seed}, fold {fold}",
            f"{facts.parameters:,}",
            f"{facts.epoch} of {facts.trained_epochs}",
            f"{facts.seconds_per_epoch:.1f}",
            facts.graph_backend or ABSENT,
            facts.text.encoder if facts.inputs.encoder else f"word vectors: {facts.word_vectors}",
            f"{facts.precision} on {facts.device}",
        )
        rows.append(
            Row(
                run.variant,
                cells(values),
                detector_note(run.detector, run.reads_images),
            )
        )
    return Table(
        caption="All runs. The epoch is chosen by micro F1 on dev (lenient) alone.",
        corner="Variant",
        columns=("Seed", "Parameters", "Epoch", "s / epoch", "Graphs", "Encoder", "Precision"),
        rows=tuple(rows),
    )


def unusable_pictures(corpus: CorpusResults) -> Table | None:
    """Return posts without a usable picture, by reason and split; None where there are none."""
    if not corpus.unusable:
        return None
    found: dict[tuple[str, str], Counter[str]] = {}
    for post in corpus.unusable:
        found.setdefault(corpus.failures[post.image_id], Counter())[post.split] += 1
    ordered = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    rows = [
        Row(status.replace("_", " "), _splits(counts), reason)
        for (status, reason), counts in ordered[:REASONS]
    ]
    if len(ordered) > REASONS:
        rest: Counter[str] = sum((counts for _, counts in ordered[REASONS:]), Counter())
        rows.append(Row("other reasons", _splits(rest), f"{len(ordered) - REASONS} more"))
    total, posts = (Counter(p.split for p in some) for some in (corpus.unusable, corpus.posts))
    rows.append(Row("all reasons", _splits(total), kind="total"))
    rows.append(Row("posts", _splits(posts), kind="reference"))
    return Table("Posts without a usable picture, by reason.", "Reason", SPLIT_COLUMNS, tuple(rows))


def sources(corpus: CorpusResults) -> list[Source]:
    """Return the feature files behind the runs of a corpus, each once."""
    found: dict[str, Source] = {}
    for run in corpus.runs:
        for kind, network in run.facts.networks.items():
            # Features of whole pictures do not depend on the detector.
            detector = run.detector if kind == "objects" else ""
            key = f"{kind} {detector} {network.model_dump_json()}"
            found.setdefault(key, Source(kind, detector, network))
    return sorted(found.values(), key=lambda source: (source.kind, source.detector))


def cautions(corpus: CorpusResults) -> list[Caution]:
    """Return the warnings about a corpus, the most severe first."""
    found = []
    untrained = [source for source in sources(corpus) if source.network.random]
    if untrained:
        which = " and ".join(f"{source.network.name} ({source.kind})" for source in untrained)
        text = (
            f"The features of {which} come from an untrained network. The score of a variant that"
            " reads pictures shows only what the text can do."
        )
        found.append(Caution(corpus.name, RANDOM, text))
    of_demo = [source for source in sources(corpus) if is_of_demo(source.network.source)]
    if of_demo and not corpus.ceiling:  # which a corpus of the demo has
        which = " and ".join(source.kind for source in of_demo)
        text = (
            f"The features ({which}) come from networks that were trained on the demo's drawings"
            " alone. The score of a variant that reads images shows mostly what the text can do."
            " For photographs use resnet152, and faster_rcnn, mask_rcnn or precomputed objects."
        )
        found.append(Caution(corpus.name, DEMO, text))
    table = unusable_pictures(corpus)
    if table is not None:
        hit, posts = corpus.unusable, corpus.posts
        by_split = ", ".join(
            f"{sum(post.split == split for post in hit)} of "
            f"{sum(post.split == split for post in posts)} in {split}"
            for split in SPLITS
            if any(post.split == split for post in posts)
        )
        text = f"{by_split}. They are tagged from their words alone; the pictures are not replaced."
        if len(hit) == len(posts):
            text += " The variant text_only does the same at a lower cost."
        headline = f"{len(hit)} of {len(posts)} posts have no usable picture"
        found.append(Caution(corpus.name, headline, text, table))
    found += _cut(corpus)
    if corpus.folds > 1:
        headline = f"{corpus.folds} folds, with a model of each in every run"
        text = (
            "All posts, whatever their split in the files, were divided by corpora.folds. Each is"
            " scored as test by the model that has not seen it. Dev is what the models chose their"
            " epochs by, with a post several times where several folds drew it."
        )
        found.append(Caution(corpus.name, headline, text))
    moved = corpus.statistics[corpus.statistics["quantity"] == "dev_from_train"]
    if not moved.empty:
        text = (
            "The corpus has no valid.txt or dev.txt, so they were drawn by corpora.dev_share and"
            " dev_seed, and training did not use them. Scores on dev are not comparable to others."
        )
        headline = f"dev is {moved['dev'].iloc[0]} posts of train"
        found.append(Caution(corpus.name, headline, text))
    return found


def _cut(corpus: CorpusResults) -> list[Caution]:
    """Warn of words that were not read, with the numbers of the run that read fewest."""
    most, warning = 0, []
    for run in corpus.runs:
        counts = {
            split: (count.cut_words, count.cut_posts) for split, count in run.facts.splits.items()
        }
        cut = [prediction.cut for prediction in run.predictions]
        counts["test"] = sum(cut), sum(map(bool, cut))
        total = sum(words for words, _ in counts.values())
        if total > most:
            by_split = ", ".join(
                "{} words of {} posts in {}".format(*counts.get(split, (0, 0)), split)
                for split in SPLITS
            )
            limit = run.facts.text.max_subtokens
            text = (
                f"{by_split}. They are predicted as O, and their gold entities count as missed."
                " With text.long_posts: windows they are read."
            )
            headline = f"{total} words lie past {limit} sub-tokens and were not read"
            most, warning = total, [Caution(corpus.name, headline, text)]
    return warning


def provenance_table(corpus: CorpusResults) -> Table | None:
    """Return a column for each feature file; None where no run used one."""
    files = sources(corpus)
    if not files:
        return None
    networks = [source.network for source in files]
    values: dict[str, Sequence[object]] = {
        "Extractor": [one.name for one in networks],
        "Source": [one.source or ABSENT for one in networks],
        "Revision": [(one.revision or ABSENT)[:SHORT] for one in networks],
        "Weights": [one.weights for one in networks],
        "Trained": ["no: random weights" if one.random else "yes" for one in networks],
        "Weights digest": [one.sha256[:SHORT] for one in networks],
        "Files digest": [
            digest_of_text(canonical(one.files))[:SHORT] if one.files else ABSENT
            for one in networks
        ],
        "Settings digest": [one.settings_digest[:SHORT] for one in networks],
        "Backend": [one.settings.get("backend") or ABSENT for one in networks],
        "Precision": [one.settings.get("dtype") or ABSENT for one in networks],
        "Versions": [
            ", ".join(f"{name} {number}" for name, number in one.versions.items()) or ABSENT
            for one in networks
        ],
    }
    backends = dict.fromkeys(run.facts.graph_backend for run in corpus.runs)
    computed = ", ".join(name for name in backends if name)
    caption = f"Feature files. Digests are the first {SHORT} digits of sha256."
    return Table(
        caption=caption + (f" Graphs are computed with {computed}." if computed else ""),
        corner="",
        columns=tuple(": ".join(filter(None, (one.kind, one.detector))) for one in files),
        rows=tuple(Row(name, cells(row)) for name, row in values.items() if set(row) != {ABSENT}),
        words=True,
    )


def _splits(counts: Mapping[str, int]) -> tuple[Cell, ...]:
    numbers = [counts.get(split, 0) for split in SPLITS]
    return cells([*numbers, sum(numbers)])
