"""What a system reads in addition to the words of a post: features, text about images, outputs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from hamlearn.corpus.image_files import ByImage, file_name_of, none_found
from hamlearn.data.alignment import align
from hamlearn.data.encoded import Encoded
from hamlearn.data.lexicon import Lexicon
from hamlearn.data.tokenizer_file import tokenizer_errors
from hamlearn.data.visual import VisualReader, VisualSource
from hamlearn.data.windows import Window
from hamlearn.errors import HamlearnError
from hamlearn.io import lines
from hamlearn.runs import RunSetup
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs


class Named(Protocol):
    """A post, of which the name of its image is read."""

    @property
    def image_id(self) -> str:
        """Name of the image."""


@dataclass(frozen=True)
class InputFiles:
    """Paths of the files that systems read in addition to posts."""

    images: str | Path | None = None  # features of whole images
    objects: str | Path | None = None  # features of objects
    graphs: str | Path | None = None  # relations between these objects
    captions: str | Path | None = None  # which no system requires
    encoded: str | Path | None = None  # outputs of a frozen encoder; None: the encoder runs

    def read_by(self, inputs: Inputs) -> "InputFiles":
        """Return the files that are read, the others None."""
        names = [*inputs.files]
        names += ["captions"] if inputs.captions else []
        names += ["encoded"] if inputs.encoder else []
        return InputFiles(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Sources:
    """What a dataset reads in addition to posts; None for what its system does not read."""

    visual: VisualSource | None = None  # features of images
    image_text: "ImageText | None" = None  # text about images, put after the posts
    lexicon: Lexicon | None = None  # ids of whole words and characters
    encoded: Encoded | None = None  # stored outputs of a frozen encoder


@contextmanager
def open_sources(
    inputs: Inputs,
    files: InputFiles,
    tokenizer: PreTrainedTokenizerBase,
    text: TextSettings,
    lexicon: Lexicon | None = None,
    splits: Sequence[Iterable[Named]] = (),
    run: RunSetup | None = None,
) -> Iterator[Sources]:
    """Open the files that a system reads, whatever others are given, and close them at the end.

    `splits` have the posts to be read; a file must have something of at least one of them. For the
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
        visual = encoded = image_text = None
        if inputs.files:
            visual = VisualReader(files.images, files.objects, files.graphs, inputs)
            stack.enter_context(visual)
            for file in visual.files:
                _check_found(f"{file.path}: ids", "features", splits, file.row_of)
            if run is not None:
                align(visual, run)
        if files.encoded is not None:
            encoded = stack.enter_context(Encoded(files.encoded))
        if inputs.names or inputs.captions:
            captions = None if files.captions is None else captions_of(splits, files.captions)
            named = visual if inputs.names else None
            image_text = ImageText(tokenizer, text.max_subtokens, named, captions)
        yield Sources(visual, image_text, lexicon, encoded)


@dataclass(frozen=True)
class ImageText:
    """Text about images as sub-tokens: names of detected objects, and a caption."""

    tokenizer: PreTrainedTokenizerBase
    max_subtokens: int  # maximum S of a post and the text after it
    visual: VisualSource | None  # has the names of objects; None leaves them out
    captions: Mapping[str, str] | None  # by image; None where no file of them is read

    def has_caption(self, image_id: str) -> bool:
        """Return True if an image has a caption."""
        return bool(self.captions and self.captions.get(image_id))

    def append_to(self, window: Window, image_id: str) -> Window:
        """Return a window followed by the text about an image.

        [CLS] post [SEP] names [SEP] caption [SEP], as far as there is room. Names are in descending
        order of score.
        """
        has_names = self.visual is not None and image_id in self.visual
        names = self.visual.names(image_id) if self.visual is not None and has_names else []
        ids: list[int] = []
        caption = self.captions.get(image_id, "") if self.captions is not None else ""
        for text in (" ".join(names), caption):
            room = self.max_subtokens - len(window.ids) - len(ids) - 1
            if text and room > 0:
                with tokenizer_errors(self.tokenizer.name_or_path, "its tokenizer failed"):
                    own = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
                ids += [*own[:room], self.tokenizer.sep_token_id]
        return window.append(ids)


def captions_of(splits: Sequence[Iterable[Named]], path: str | Path) -> ByImage[str]:
    """Read the captions of posts, see `read_captions`; HamlearnError if none has one."""
    captions = read_captions(path)
    _check_found(f"captions: {path}", "a caption", splits, captions)
    return captions


def _check_found(
    place: str, what: str, splits: Sequence[Iterable[Named]], given: Mapping[str, Any]
) -> None:
    """Refuse values by image none of which is that of a post, if there are posts."""
    ids = (post.image_id for posts in splits for post in posts)
    if any(image_id in given for image_id in ids):
        return
    if wanted := list(dict.fromkeys(post.image_id for posts in splits for post in posts)):
        raise none_found(place, what, len(wanted), wanted[0], given)


def read_captions(path: str | Path) -> ByImage[str]:
    """Read a file of `ID.jpg :caption` lines and return captions by image.

    The extension may be omitted. If a name occurs more than once, the first caption counts.

    Raises:
        HamlearnError: the file is absent or not UTF-8, or a line has no caption; the message names
            the line.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"captions: {path}: no such file, expected `ID.jpg :caption` lines")
    captions: dict[str, str] = {}
    with path.open("rb") as file:
        for number, line in lines(file):
            if not line.strip():
                continue
            try:
                name, colon, caption = line.decode("utf-8").partition(" :")
            except UnicodeDecodeError as error:
                raise HamlearnError(f"captions: {path}:{number}: not UTF-8 ({error})") from error
            if not colon or not file_name_of(name):
                raise HamlearnError(
                    f"captions: {path}:{number}: found {line[:60]!r}, expected `ID.jpg :caption`"
                )
            captions.setdefault(file_name_of(name), caption.strip())
    return ByImage(captions)
