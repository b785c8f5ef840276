"""What a picture shows, as text beside the post: names of objects, and a caption."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from hamlearn.data.text_encoder import special_ids
from hamlearn.data.tokenization import Tokens
from hamlearn.data.visual import VisualReader
from hamlearn.errors import HamlearnError


def read_captions(path: str | Path) -> dict[str, str]:
    """Read a file of `ID.jpg :caption` lines; the ending of the name may be left out.

    Where an image id comes again, the first caption counts.

    Raises:
        HamlearnError: the file is absent or not UTF-8, or a line has no caption; the message names
            the line.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"captions: {path}: no such file, expected `ID.jpg :caption` lines")
    captions: dict[str, str] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            name, colon, caption = line.decode("utf-8").rstrip("\r").partition(" :")
        except UnicodeDecodeError as error:
            raise HamlearnError(f"captions: {path}:{number}: not UTF-8 ({error})") from error
        image = Path(name).stem if Path(name).suffix.lower() in IMAGES else name
        if not colon or not image:
            raise HamlearnError(
                f"captions: {path}:{number}: found {line[:60]!r}, expected `ID.jpg :caption`"
            )
        captions.setdefault(image, caption.strip())
    return captions


IMAGES = (".jpg", ".jpeg", ".png")


class Extras:
    """The text beside each post, as sub-tokens.

    Args:
        tokenizer: the encoder's own.
        max_subtokens: S at most, the post's own and all that is put after them.
        pictures: gives the names of objects; None leaves them out.
        captions: of images, by their id.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_subtokens: int,
        pictures: VisualReader | None = None,
        captions: Mapping[str, str] | None = None,
    ) -> None:
        """Keep where the text comes from."""
        self.tokenizer, self.max_subtokens = tokenizer, max_subtokens
        self.pictures, self.captions = pictures, captions or {}
        self._sep = special_ids(tokenizer).sep

    def texts(self, image: str) -> list[str]:
        """Return the names of the objects, the best first, and the caption; what there is of it."""
        names: Sequence[str] = ()
        if self.pictures is not None and image in self.pictures:
            names = self.pictures.names(image)
        return [text for text in (" ".join(names), self.captions.get(image, "")) if text]

    def after(self, tokens: Tokens, image: str) -> Tokens:
        """Return the sub-tokens of a post with the text beside it behind them.

        [CLS] post [SEP] names [SEP] caption [SEP], as far as there is room: the post comes first,
        and its words are cut as they are without a text beside it.
        """
        ids: list[int] = []
        for text in self.texts(image):
            room = self.max_subtokens - len(tokens.ids) - len(ids) - 1
            if room < 1:
                break
            own = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            ids += [*own[:room], self._sep]
        if not ids:
            return tokens
        word_ids = np.full(len(ids), -1, dtype=np.int64)
        return replace(
            tokens,
            ids=np.concatenate([tokens.ids, np.asarray(ids, dtype=np.int64)]),
            word_ids=np.concatenate([tokens.word_ids, word_ids]),
        )
