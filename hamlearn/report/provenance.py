"""Where features and weights come from, and what the reader has to be warned of."""

from collections.abc import Mapping
from dataclasses import dataclass

from hamlearn.corpus.posts import SPLITS
from hamlearn.report.inputs import CorpusResults
from hamlearn.report.tables import ABSENT, Cell, Row, Table, unusable_pictures
from hamlearn.runs import VisionNetwork

RANDOM = "random weights: visual scores carry no meaning"
SHORT = 12  # characters of a digest that are shown


@dataclass(frozen=True)
class Source:
    """One feature file of a corpus, as the runs that used it tell it."""

    kind: str
    detector: str
    network: VisionNetwork


@dataclass(frozen=True)
class Caution:
    """Something that the reader must know before the numbers.

    Attributes:
        corpus: that it is about.
        headline: in a few words.
        text: the rest.
        table: details, if any.
    """

    corpus: str
    headline: str
    text: str
    table: Table | None = None


def sources(corpus: CorpusResults) -> list[Source]:
    """Return the feature files behind the runs of a corpus, each once."""
    found: dict[str, Source] = {}
    for run in corpus.runs:
        for kind, network in run.facts.networks.items():
            # Whole pictures are the same whatever the detector.
            detector = run.detector if kind == "objects" else ""
            key = f"{kind} {detector} {network.model_dump_json()}"
            found.setdefault(key, Source(kind, detector, network))
    return sorted(found.values(), key=lambda source: (source.kind, source.detector))


def cautions(corpus: CorpusResults) -> list[Caution]:
    """Return what to be careful about in one corpus, the worst first."""
    found = []
    untrained = [source for source in sources(corpus) if source.network.random]
    if untrained:
        which = " and ".join(f"{source.network.name} ({source.kind})" for source in untrained)
        found.append(
            Caution(
                corpus.name,
                RANDOM,
                f"The features of {which} come from a network that was never trained. Every score "
                "of a variant that looks at pictures shows what the text can do, and no more.",
            )
        )
    table = unusable_pictures(corpus)
    if table is not None:
        hit, posts = corpus.unusable, corpus.posts
        by_split = ", ".join(
            f"{sum(post.split == split for post in hit)} of "
            f"{sum(post.split == split for post in posts)} in {split}"
            for split in SPLITS
        )
        found.append(
            Caution(
                corpus.name,
                f"{len(hit)} of {len(posts)} posts have no usable picture",
                f"{by_split}. They are tagged from their words alone; nothing stands in for the "
                "pictures."
                + (" The variant text_only does the same at less cost." * (len(hit) == len(posts))),
                table,
            )
        )
    found += [caution for caution in (_cut(corpus), _dev_from_train(corpus)) if caution]
    return found


def _cut(corpus: CorpusResults) -> Caution | None:
    """Say how many words were not read, by the run that read fewest; None where all were."""
    lost = {}
    for run in corpus.runs:
        splits = run.facts.splits.items()
        words = {split: counts.cut_words for split, counts in splits} | {"test": sum(run.cut)}
        posts = {split: counts.cut_posts for split, counts in splits}
        posts["test"] = sum(map(bool, run.cut))
        lost[sum(words.values())] = (run, words, posts)
    most = max(lost, default=0)
    if not most:
        return None
    run, words, posts = lost[most]
    by_split = ", ".join(
        f"{words.get(split, 0)} words of {posts.get(split, 0)} posts in {split}" for split in SPLITS
    )
    return Caution(
        corpus.name,
        f"{most} words lie past {run.facts.text.max_subtokens} sub-tokens and were not read",
        f"{by_split}. They are predicted O, and their gold entities count as missed. With "
        "text.long_posts: windows they are read.",
    )


def _dev_from_train(corpus: CorpusResults) -> Caution | None:
    """Say that the corpus came without dev; None where it did not."""
    rows = corpus.statistics[corpus.statistics["quantity"] == "dev_from_train"]
    if rows.empty:
        return None
    return Caution(
        corpus.name,
        f"dev is {rows['dev'].iloc[0]} posts of train",
        "The corpus has no valid.txt or dev.txt, so they were drawn by corpora.dev_share and "
        "dev_seed, and training did not see them. Scores on dev compare with no others.",
    )


def provenance_table(corpus: CorpusResults) -> Table | None:
    """Return a column for each feature file; None where no run used one."""
    files = sources(corpus)
    if not files:
        return None
    backends = dict.fromkeys(
        run.facts.graph_backend for run in corpus.runs if run.facts.graph_backend
    )
    rows = [
        _row("Extractor", [source.network.name for source in files]),
        _row("Weights", [source.network.weights for source in files]),
        _row("Trained", ["no: random weights" if one.network.random else "yes" for one in files]),
        _row("Weights digest", [source.network.sha256[:SHORT] for source in files]),
        _row("Settings digest", [source.network.settings_digest[:SHORT] for source in files]),
        _row("Back-end", [_setting(source, "backend") for source in files]),
        _row("Numbers", [_setting(source, "dtype") for source in files]),
        _row("Versions", [_versions(source.network.versions) for source in files]),
    ]
    told = f" Graphs are computed by: {', '.join(backends)}." if backends else ""
    return Table(
        caption=f"Feature files. Digests are the first {SHORT} digits of sha256.{told}",
        corner="",
        columns=tuple(
            f"{source.kind}: {source.detector}" if source.detector else source.kind
            for source in files
        ),
        rows=tuple(row for row in rows if any(cell.text != ABSENT for cell in row.cells)),
        words=True,
    )


def _row(name: str, texts: list[str]) -> Row:
    return Row(name, tuple(map(Cell, texts)))


def _setting(source: Source, key: str) -> str:
    return str(source.network.settings.get(key) or ABSENT)


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items()) or ABSENT
