"""Entities in posts, by a trained model."""

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Self, TypeAlias

import torch

from hamlearn.corpus.labels import Entity as EntitySpan
from hamlearn.corpus.labels import entities
from hamlearn.data.dataset import PostDataset
from hamlearn.data.segments import Segments
from hamlearn.data.sources import InputFiles, Sources
from hamlearn.data.visual import VisualFeatures
from hamlearn.errors import HamlearnError
from hamlearn.inference import explanation
from hamlearn.inference.hub_models import local_model
from hamlearn.inference.image_features import FileEncoder, ImageEncoder, NetworkEncoder
from hamlearn.inference.image_sets import ImageFeatures, InMemoryVisuals, combine
from hamlearn.inference.model_folder import TrainedModel, load_model
from hamlearn.inference.posts import Contribution, Entity, Post, Tagged, Unreadable
from hamlearn.inference.prediction import scored_posts
from hamlearn.inference.vision_weights import converted_beside
from hamlearn.inference.words import Word, whole_characters, words_of
from hamlearn.vision.images import ImageError

log = logging.getLogger(__name__)

Posts: TypeAlias = Iterable[Post | str | Unreadable]
WINDOW = 256  # posts that are sorted by length together; no more are in memory


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A post that can be tagged, as a dataset reads it; `id` is its place among the others."""

    id: str
    post: Post
    text: str
    tokens: list[Word]
    visual: VisualFeatures | None = None
    note: str | None = None
    labels: None = None

    @property
    def image_id(self) -> str:
        return self.id

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.tokens)

    def entity(self, span: EntitySpan, score: float) -> Entity:
        start, end = self.tokens[span.start].start, self.tokens[span.end - 1].end
        return Entity(start, end, self.text[start:end], span.type, score)


class Tagger(AbstractContextManager["Tagger"]):
    """Finds the entities in posts.

    Examples:
        >>> tagger = hamlearn.load("model")  # doctest: +SKIP
        >>> tagger.tag([hamlearn.Post(text="at the game with Jordan", image="game.jpg")])

    Args:
        model: as loaded.
        device: "cpu", "cuda" or "cuda:1"; None takes a GPU, if any.
        weights: folder searched for the weights of the vision networks before the usual places,
            unless the model holds them.
        features: files to read features from instead of opening images.
        systems: functions outside of hamlearn that may load the vision networks.
    """

    def __init__(
        self,
        model: TrainedModel,
        device: str | None = None,
        weights: str | Path | None = None,
        features: InputFiles | None = None,
        systems: Collection[str] = (),
    ) -> None:
        self.model, self.labels = model, model.labels
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._network = model.network.to(self.device).eval()
        self._weights, self._features, self._functions = weights, features, systems
        self._encoder: ImageEncoder | None = None
        self._warned: set[str] = set()  # names of texts that posts do not have

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str | None = None,
        threads: int | None = None,
        weights: str | Path | None = None,
        features: InputFiles | None = None,
        systems: Collection[str] = (),
        revision: str | None = None,
    ) -> Self:
        """Load a model folder, as written by `hamlearn train` or `hamlearn export`.

        An id of the Hugging Face hub, `user/model`, stands for its snapshot, which is fetched into
        the cache of the hub; `revision` is a branch, tag or commit of it.

        Vision networks are loaded when the first image is read, from local files alone. `threads`
        are those of torch on the CPU, in the whole process. `systems` are functions outside of
        hamlearn that may build the network, see `load_model`, or load one of its vision networks.

        Raises:
            HamlearnError: the folder is not as it was written, and the message names the file; or a
                model of the hub cannot be fetched.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        path = local_model(folder, revision)
        weights = weights or converted_beside(path)
        return cls(load_model(path, systems), device, weights, features, systems)

    @property
    def reads_images(self) -> bool:
        """Whether the model reads features of images."""
        return bool(self.model.facts.inputs.files)

    @property
    def image_encoder(self) -> ImageEncoder:
        """The encoder of images, loaded on first access.

        Raises:
            HamlearnError: the model reads no images, or networks or files cannot be loaded.
        """
        facts = self.model.facts
        if not self.reads_images:
            raise HamlearnError(f"the model {facts.system} reads no images")
        if self._encoder is None and self._features is not None:
            self._encoder = FileEncoder(facts, self._features)
        elif self._encoder is None:
            self._encoder = NetworkEncoder(
                facts, self._weights, self.device, self.model.held, self._functions
            )
        return self._encoder

    def close(self) -> None:
        """Close files and drop cached features of images."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None

    def __exit__(self, *error: object) -> None:
        self.close()

    def tag(
        self, posts: Posts | Post | str, batch_size: int | None = None, explain: bool = False
    ) -> list[Tagged]:
        """Return the entities of posts, in order; a text stands for a post without images.

        A single post, or a single text, gives a list of one.
        A post that cannot be tagged has an `error` and does not affect the others. An image that
        cannot be read is ignored, with a `note`. The default `batch_size` is that of training. With
        `explain`, a result says what each part of the image contributes to the entities found.

        Raises:
            HamlearnError: a post has an image, and the vision networks cannot be loaded; or `posts`
                are neither a post nor several.
        """
        return list(self.stream(posts, batch_size, explain=explain))

    def stream(
        self,
        posts: Posts | Post | str,
        batch_size: int | None = None,
        window: int = WINDOW,
        explain: bool = False,
    ) -> Iterator[Tagged]:
        """Yield what `tag` returns while posts are read; memory does not grow with their number.

        A `window` of posts is read at a time and sorted by length.
        """
        size = batch_size or self.model.facts.training.eval_batch_size
        if isinstance(posts, str | Post | Unreadable):
            posts = (posts,)
        if isinstance(posts, bytes | Mapping) or not isinstance(posts, Iterable):
            raise HamlearnError(f"posts: found {type(posts).__name__}, expected posts or texts")
        source = iter(posts)
        while taken := list(islice(source, window)):
            prepared = [self._prepare(str(place), post) for place, post in enumerate(taken)]
            ready = self._with_images([one for one in prepared if isinstance(one, _Prepared)])
            tagged = iter(self._tag(ready, size, explain))
            yield from (next(tagged) if isinstance(one, _Prepared) else one for one in prepared)

    def _prepare(self, place: str, post: Post | str | Unreadable) -> _Prepared | Tagged:
        """Return a post with its words, or why it cannot be tagged."""
        if isinstance(post, Unreadable):
            return Tagged(post.id, error=post.error)
        if isinstance(post, str):
            post = Post(text=post)
        if not isinstance(post, Post):
            return Tagged(None, error=f"post: found {type(post).__name__}, expected Post or str")
        try:
            text, words = words_of(post)
        except HamlearnError as error:
            printable = whole_characters(post.text) if isinstance(post.text, str) else None
            return Tagged(post.id, printable, error=str(error))
        return _Prepared(place, post, text, words)

    def _with_images(self, posts: Sequence[_Prepared]) -> list[_Prepared]:
        """Return posts with the features of their images."""
        images = [image for one in posts for image in one.post.all_images]
        if not self.reads_images or not images:
            return list(posts)
        features = self.image_encoder.encode_all(images)
        return [self._with_features(one, features) for one in posts]

    def _with_features(
        self, one: _Prepared, features: Iterator[ImageFeatures | ImageError]
    ) -> _Prepared:
        """Return a post with its next features, and a note on images that could not be read."""
        found, notes = dict[str, ImageFeatures](), []
        for number, image in enumerate(one.post.all_images, start=1):
            read = next(features)
            if isinstance(read, ImageFeatures):
                found[read.key] = read  # an image that is there twice counts once
            else:
                name = Path(image).name if isinstance(image, str | Path) else f"image {number}"
                notes.append(f"{name}: {read.reason}")
        note = "; ".join([*notes, "not used"]) if notes else None
        facts = self.model.facts
        network = facts.networks.get("objects")
        most = 0 if network is None else network.settings["objects"]
        images = list(found.values())
        visual = combine(images, most, len(facts.classes)) if images else None
        return replace(one, visual=visual, note=note)

    def _tag(self, posts: Sequence[_Prepared], batch_size: int, is_explained: bool) -> list[Tagged]:
        """Return the entities of posts; if a batch fails, of each post on its own."""
        try:
            return self._tag_together(posts, batch_size, is_explained) if posts else []
        except HamlearnError as error:
            if len(posts) == 1:
                return [Tagged(posts[0].post.id, posts[0].text, error=str(error))]
            return [self._tag([one], 1, is_explained)[0] for one in posts]

    @torch.inference_mode()
    def _tag_together(
        self, posts: Sequence[_Prepared], batch_size: int, is_explained: bool
    ) -> list[Tagged]:
        data = self._dataset(posts)
        found: dict[int, Tagged] = {}
        path_of: dict[int, list[int]] = {}
        for scored, paths in scored_posts(self._network, data, batch_size, self.device):
            relevance = {view: values.tolist() for view, values in scored.relevance.items()}
            spans = [entities([self.labels[number] for number in path]) for path in paths]
            scores = self._network.probabilities(scored.emissions, scored.mask, spans, self.labels)
            for row, index in enumerate(scored.posts):
                one, cut = posts[index], data.cut[index]
                path_of[index] = paths[row]
                by_view = {view: values[row] for view, values in relevance.items()}
                notes = [one.note] if one.note else []
                notes += [f"the last {cut} words are past the model's limit"] if cut else []
                found[index] = Tagged(
                    id=one.post.id,
                    text=one.text,
                    words=one.words,
                    entities=tuple(map(one.entity, spans[row], scores[row])),
                    relevance=by_view if by_view and one.visual is not None else None,
                    has_image=one.visual is not None,
                    note="; ".join(notes) or None,
                )
        if is_explained:
            every = {index: path_of[index] for index in range(len(posts))}
            weights = explanation.explain(self._network, data, every, self.labels, self.device)
            for index, own in enumerate(weights):
                parts = None if own is None else self._parts(posts[index], own)
                found[index] = replace(found[index], explanation=parts)
        return [found[index] for index in range(len(posts))]

    def _parts(self, post: _Prepared, weights: Sequence[float]) -> tuple[Contribution, ...]:
        """Return the contributions of the image and its objects, or of the places of its map."""
        seen = post.visual
        inputs = self.model.facts.inputs
        if seen is None or not (inputs.objects or inputs.crops):
            side = math.isqrt(len(weights))
            places = [divmod(number, side) for number in range(len(weights))]
            boxes = [(x / side, y / side, (x + 1) / side, (y + 1) / side) for y, x in places]
            return tuple(map(Contribution, ["region"] * len(weights), boxes, weights))
        classes = [self.image_encoder.class_names[number] for number in seen.classes]
        names = ["image", *(name or "image" for name in classes)]
        corners = [None, *(tuple(map(float, box)) for box in seen.boxes)]
        return tuple(map(Contribution, names, corners, weights))

    def _dataset(self, posts: Sequence[_Prepared]) -> PostDataset:
        model, visual, segments = self.model, None, None
        facts, inputs = model.facts, model.facts.inputs
        if self.reads_images:
            features = {one.id: one.visual for one in posts if one.visual is not None}
            names = self.image_encoder.class_names if features else []
            visual = InMemoryVisuals(features, facts, names)
        if inputs.reads:
            texts = {name: self._texts(name, posts) for name in inputs.texts}
            segments = Segments(model.tokenizer, facts.text.max_subtokens, inputs, texts, visual)
        sources = Sources(visual=visual, segments=segments, lexicon=model.lexicon)
        return PostDataset(posts, model.tokenizer, facts.text, sources=sources)

    def _texts(self, name: str, posts: Sequence[_Prepared]) -> dict[str, str]:
        """Return an additional text of posts by their places; warn once if none has one."""
        found = {one.id: text for one in posts if (text := one.post.all_texts.get(name))}
        was_read = any(split.texts.get(name) for split in self.model.facts.splits.values())
        if was_read and not found and name not in self._warned:
            log.warning("the model was trained with the text %s, but posts have none", name)
            self._warned.add(name)
        return found
