"""Entities from posts, by a trained model that was exported."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

import torch

from hamlearn.corpus import posts as corpus
from hamlearn.corpus.labels import OUTSIDE, entities
from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import Sources
from hamlearn.data.visual import VisualFeatures
from hamlearn.errors import HamlearnError
from hamlearn.inference.image_sets import Given, Seen, combined
from hamlearn.inference.loading import Exported, read_model
from hamlearn.inference.posts import Entity, Post, Tagged, Unreadable
from hamlearn.inference.prediction import scored_posts
from hamlearn.inference.vision import Eyes, Features, Networks
from hamlearn.inference.words import Word, joined, split_words
from hamlearn.model.marginals import Span, span_probabilities
from hamlearn.settings import TextSettings
from hamlearn.vision.images import ImageError

log = logging.getLogger(__name__)

WINDOW = 256  # posts that are sorted by length together; no more are ever in memory
LONGEST = 100_000  # characters of a post


class FeatureFiles(NamedTuple):
    """Features that were extracted before, in the place of the vision networks."""

    images: str | Path
    objects: str | Path
    graphs: str | Path


@dataclass(frozen=True, slots=True)
class _Ready:
    """A post that can be tagged."""

    id: str | int | None
    text: str
    words: list[Word]
    picture: VisualFeatures | None
    note: str | None


class Tagger(AbstractContextManager["Tagger"]):
    """Finds the entities of posts.

    Example:
        >>> tagger = hamlearn.load("model")  # doctest: +SKIP
        >>> tagger.tag([hamlearn.Post(text="at the game with Jordan", image="game.jpg")])

    Attributes:
        model: as it was read.
        device: where it runs.
    """

    def __init__(
        self,
        model: Exported,
        device: str | None = None,
        weights: str | Path | None = None,
        features: FeatureFiles | None = None,
    ) -> None:
        """Take a model that was read; see `load` for the rest."""
        self.model = model
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._network = model.network.to(self.device).eval()
        self._weights, self._features = weights, features
        self._eyes: Eyes | None = None

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str | None = None,
        threads: int | None = None,
        weights: str | Path | None = None,
        features: FeatureFiles | None = None,
    ) -> Self:
        """Load an exported model.

        Vision networks are loaded when the first picture is seen, and nothing is downloaded.

        Args:
            folder: made by `python -m hamlearn export`.
            device: "cpu", "cuda" or "cuda:1"; None takes a GPU where there is one.
            threads: of torch on the CPU, in the whole process; None leaves them as they are.
            weights: folder to look for the weights of the vision networks in, before the usual
                places.
            features: read features from these files, and open no picture.

        Raises:
            HamlearnError: the folder is not as it was written; the message names the file.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(read_model(folder), device, weights, features)

    @property
    def labels(self) -> list[str]:
        """The BIO labels, in the order of the model's numbers."""
        return self.model.facts.labels

    @property
    def sees(self) -> bool:
        """Whether the model looks at pictures."""
        return self.model.facts.vision is not None

    def tag(
        self, posts: Iterable[Post | Unreadable], batch_size: int | None = None
    ) -> list[Tagged]:
        """Return what the model says of posts, in their order.

        A post that cannot be tagged has an `error` and no entities; the others are not touched by
        it. A picture that cannot be read is as none, with a `note`.

        Args:
            posts: any number.
            batch_size: posts that the network reads together; None: as in training.

        Raises:
            HamlearnError: a picture is there, and the vision networks cannot be loaded.
        """
        return list(self.stream(posts, batch_size))

    def stream(
        self,
        posts: Iterable[Post | Unreadable],
        batch_size: int | None = None,
        window: int = WINDOW,
    ) -> Iterator[Tagged]:
        """Yield what `tag` returns, in order, while posts are read; memory does not grow.

        Args:
            posts: any number.
            batch_size: posts that the network reads together; None: as in training.
            window: posts that are taken at a time, to be sorted by length.
        """
        size, source = batch_size or self.model.facts.batch_size, iter(posts)
        while taken := list(islice(source, window)):
            yield from self._tagged(taken, size)

    @property
    def eyes(self) -> Eyes:
        """What turns pictures into features, loaded when first asked for.

        Raises:
            HamlearnError: the model looks at no picture, or networks or files cannot be loaded.
        """
        if self._eyes is None:
            facts = self.model.facts
            self._eyes = (
                Networks(facts, self._weights, self.device)
                if self._features is None
                else Features(facts, *self._features)
            )
        return self._eyes

    def close(self) -> None:
        """Let files and remembered pictures go."""
        if self._eyes is not None:
            self._eyes.close()
            self._eyes = None

    def __exit__(self, *error: object) -> None:
        self.close()

    def _tagged(self, posts: Sequence[Post | Unreadable], batch_size: int) -> list[Tagged]:
        """Return what is said of the posts of one window."""
        found = [self._prepared(post) for post in posts]
        places = [place for place, one in enumerate(found) if isinstance(one, _Ready)]
        ready = [one for one in found if isinstance(one, _Ready)]
        said = [one for one in found if isinstance(one, Tagged)]
        answers = dict(zip(places, self._read(ready, batch_size), strict=True)) if ready else {}
        rest = iter(said)
        return [answers[place] if place in answers else next(rest) for place in range(len(posts))]

    def _prepared(self, post: Post | Unreadable) -> _Ready | Tagged:
        """Return the words and the picture of a post, or why it cannot be tagged."""
        if isinstance(post, Unreadable):
            return Tagged(post.id, error=post.error)
        try:
            text, words = _words(post)
        except HamlearnError as error:
            return Tagged(post.id, text=_printable(post.text), error=str(error))
        picture, note = self._look(post) if self.sees else (None, None)
        return _Ready(post.id, text, words, picture, note)

    def _look(self, post: Post) -> tuple[VisualFeatures | None, str | None]:
        """Return the pictures of a post as one, and which of them could not be read."""
        seen: list[Seen] = []
        notes = []
        for picture in post.pictures:
            try:
                seen.append(self.eyes.see(picture))
            except ImageError as error:
                name = Path(picture).name if isinstance(picture, str | Path) else "picture"
                notes.append(f"{name}: {error.reason}")
        if notes:
            notes.append("not looked at")
        note = "; ".join(notes) or None
        if not seen:
            return None, note
        vision = self.model.facts.vision
        most = len(seen[0].scores) if vision is None else int(vision.detector.settings["objects"])
        return combined(seen, most, self.model.facts.dimensions.classes), note

    def _read(self, ready: Sequence[_Ready], batch_size: int) -> list[Tagged]:
        """Return the entities of posts that can be tagged; one at fault hurts no other."""
        try:
            return self._network_says(ready, batch_size)
        except HamlearnError as error:
            if len(ready) == 1:
                one = ready[0]
                return [Tagged(one.id, one.text, error=str(error))]
            return [self._read([one], 1)[0] for one in ready]

    @torch.inference_mode()
    def _network_says(self, ready: Sequence[_Ready], batch_size: int) -> list[Tagged]:
        data = self._dataset(ready)
        found: dict[int, Tagged] = {}
        for scored in scored_posts(self._network, data, batch_size, self.device):
            paths = self._network.paths(scored.emissions, scored.mask)
            spans = [
                _spans([self.labels[number] for number in path], path, row, self.labels)
                for row, path in enumerate(paths)
            ]
            every = [span for of_post in spans for span in of_post]
            scores = iter(
                span_probabilities(self._network.crf, scored.emissions, scored.mask, every)
            )
            relevance = {view: values.tolist() for view, values in scored.relevance.items()}
            for row, index in enumerate(scored.posts):
                one = ready[index]
                by_view = {view: values[row] for view, values in relevance.items()}
                found[index] = Tagged(
                    id=one.id,
                    text=one.text,
                    words=tuple(word.text for word in one.words),
                    entities=tuple(
                        _entity(one, span, self.labels, next(scores)) for span in spans[row]
                    ),
                    relevance=by_view if by_view and one.picture is not None else None,
                    has_image=one.picture is not None,
                    note=_with_cut(one.note, data.cut[index]),
                )
        return [found[index] for index in range(len(ready))]

    def _dataset(self, ready: Sequence[_Ready]) -> PostDataset:
        """Return the posts as the network's own dataset, keyed by their place."""
        as_corpus = [
            corpus.CorpusPost(
                id=str(place),
                split="test",
                image_id=str(place),
                image_path=None,
                words=tuple(word.text for word in one.words),
                labels=(OUTSIDE,) * len(one.words),
            )
            for place, one in enumerate(ready)
        ]
        given = None
        if self.sees:
            widths = self.model.facts.dimensions
            there = {
                str(place): one.picture
                for place, one in enumerate(ready)
                if one.picture is not None
            }
            given = Given(there, widths.image, widths.object)
        text = TextSettings.model_validate(self.model.facts.text)
        return PostDataset(as_corpus, self.model.tokenizer, text, sources=Sources(given))


def _words(post: Post) -> tuple[str, list[Word]]:
    """Return the text of a post and its words.

    Raises:
        HamlearnError: there are none, or they are not text.
    """
    if post.words is not None:
        if not all(isinstance(word, str) and word and not word.isspace() for word in post.words):
            raise HamlearnError("words: found one that is empty or no text, expected text in each")
        text, words = joined(tuple(post.words))
    elif isinstance(post.text, str):
        text, words = post.text, []
    else:
        raise HamlearnError(
            f"text: found {type(post.text).__name__}, expected the text of a post, or its words"
        )
    if len(text) > LONGEST:
        raise HamlearnError(f"text: found {len(text)} characters, expected at most {LONGEST}")
    if _printable(text) != text:
        raise HamlearnError("text: found half of a surrogate pair, expected whole characters")
    words = words or split_words(text)
    if not words:
        raise HamlearnError("text: found no word, expected one at least")
    return text, words


def _printable(text: str | None) -> str | None:
    """Return a text as it can be written: half a surrogate pair becomes a question mark."""
    if not isinstance(text, str):
        return None
    return text.encode("utf-8", "replace").decode("utf-8")


def _spans(named: Sequence[str], path: Sequence[int], row: int, labels: list[str]) -> list[Span]:
    """Return the entities of a label sequence with what may not stand beside them."""
    numbers = {label: number for number, label in enumerate(labels)}
    spans = []
    for entity in entities(named):
        inside = numbers.get(f"I-{entity.type}")
        begin = numbers.get(f"B-{entity.type}")
        goes_on = [number for number in (inside,) if number is not None]
        # An entity that begins with I-X would be the end of one that began earlier.
        earlier = [number for number in (begin, inside) if number is not None]
        is_orphan = named[entity.start].startswith("I-")
        spans.append(
            Span(
                row,
                entity.start,
                path[entity.start : entity.end],
                earlier if is_orphan else (),
                goes_on,
            )
        )
    return spans


def _entity(one: _Ready, span: Span, labels: list[str], score: float) -> Entity:
    start = one.words[span.start].start
    end = one.words[span.start + len(span.labels) - 1].end
    return Entity(start, end, one.text[start:end], labels[span.labels[0]][2:], score)


def _with_cut(note: str | None, cut: int) -> str | None:
    if not cut:
        return note
    said = f"the last {cut} words lie past what the model reads, and have no entities"
    return said if note is None else f"{note}; {said}"
