"""What a system reads in addition to the words of a post: features, texts, stored outputs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from hamlearn.corpus.image_files import ByImage, none_found
from hamlearn.corpus.texts import Identified, read_texts
from hamlearn.data.alignment import align
from hamlearn.data.encoded import Encoded
from hamlearn.data.lexicon import Lexicon
from hamlearn.data.segments import Segments
from hamlearn.data.visual import VisualReader, VisualSource
from hamlearn.errors import HamlearnError
from hamlearn.runs import RunSetup
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs


@dataclass(frozen=True)
class InputFiles:
    """Paths of the files that systems read in addition to posts."""

    images: str | Path | None = None  # features of whole images
    objects: str | Path | None = None  # features of objects
    graphs: str | Path | None = None  # relations between these objects
    encoded: str | Path | None = None  # outputs of a frozen encoder; None: the encoder runs
    texts: Mapping[str, str | Path] = field(default_factory=dict)  # texts of posts, by name

    def read_by(self, inputs: Inputs) -> "InputFiles":
        """Return the files that are read, the others None."""
        names = [*inputs.files, *(["encoded"] if inputs.encoder else [])]
        texts = {name: self.texts[name] for name in inputs.texts if name in self.texts}
        return InputFiles(**{name: getattr(self, name) for name in names}, texts=texts)

    @property
    def paths(self) -> list[str | Path]:
        """The paths of all files."""
        given = (self.images, self.objects, self.graphs, self.encoded, *self.texts.values())
        return [path for path in given if path is not None]


@dataclass(frozen=True)
class Sources:
    """What a dataset reads in addition to posts; None for what its system does not read."""

    visual: VisualSource | None = None  # features of images
    segments: Segments | None = None  # texts that follow the posts
    lexicon: Lexicon | None = None  # ids of whole words and characters
    encoded: Encoded | None = None  # stored outputs of a frozen encoder


@contextmanager
def open_sources(
    inputs: Inputs,
    files: InputFiles,
    tokenizer: PreTrainedTokenizerBase,
    text: TextSettings,
    lexicon: Lexicon | None = None,
    splits: Sequence[Iterable[Identified]] = (),
    run: RunSetup | None = None,
) -> Iterator[Sources]:
    """Open the files that a system reads, whatever others are given, and close them at the end.

    A file must have something of at least one post of `splits`. For the
    model of a `run`, features must be of the kind that it was trained on; see `align`.

    Raises:
        HamlearnError: a file is absent or of another kind or of no image of
            the posts, or stored outputs are given for an encoder that is trained.
    """
    files = files.read_by(inputs)
    if files.encoded is not None and not text.freeze:
        raise HamlearnError(
            f"{files.encoded}: found stored outputs of an encoder for a run that has `text.freeze:"
            " false`, expected none: the outputs of an encoder change in training"
        )
    with ExitStack() as stack:
        visual = encoded = segments = None
        if inputs.files:
            visual = VisualReader(files.images, files.objects, files.graphs, inputs)
            stack.enter_context(visual)
            for file in visual.files:
                _check_found(f"{file.path}: ids", "features", splits, file.row_of)
            if run is not None:
                align(visual, run)
        if files.encoded is not None:
            encoded = stack.enter_context(Encoded(files.encoded))
        if inputs.reads:
            texts = texts_of(splits, files.texts)
            segments = Segments(tokenizer, text.max_subtokens, inputs, texts, visual)
        yield Sources(visual, segments, lexicon, encoded)


def texts_of(
    splits: Sequence[Iterable[Identified]], files: Mapping[str, str | Path]
) -> dict[str, ByImage[str]]:
    """Read the files of texts of posts by name; HamlearnError if one has a text of no post."""
    texts = {name: read_texts(path, f"texts.{name}") for name, path in files.items()}
    for name, given in texts.items():
        ids = (one for posts in splits for post in posts for one in (post.id, post.image_id))
        if not any(one in given for one in ids):
            _check_found(f"texts.{name}: {files[name]}", "a text", splits, given)
    return texts


def _check_found(
    place: str, what: str, splits: Sequence[Iterable[Identified]], given: Mapping[str, Any]
) -> None:
    """Refuse values by image none of which is that of a post, if there are posts."""
    ids = (post.image_id for posts in splits for post in posts)
    if any(image_id in given for image_id in ids):
        return
    if wanted := list(dict.fromkeys(post.image_id for posts in splits for post in posts)):
        raise none_found(place, what, len(wanted), wanted[0], given)
