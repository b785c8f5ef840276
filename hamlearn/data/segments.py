"""Texts that follow a post as further segments: names of objects, captions, knowledge."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from hamlearn.corpus.texts import Identified, text_of
from hamlearn.data.tokenizer_file import tokenizer_errors
from hamlearn.data.visual import VisualSource
from hamlearn.data.windows import Window
from hamlearn.systems import OBJECT_NAMES, Inputs


@dataclass(frozen=True)
class Segments:
    """The texts that a system reads after a post, in the order of `inputs.reads`."""

    tokenizer: PreTrainedTokenizerBase
    max_subtokens: int  # maximum S of a post and the texts after it
    inputs: Inputs
    texts: Mapping[str, Mapping[str, str]]  # by name and by id, see `text_of`; of those there are
    visual: VisualSource | None = None  # has the names of objects

    def found(self, post: Identified) -> dict[str, bool]:
        """Return by name whether a post has each text of the corpus."""
        return {name: bool(text_of(texts, post)) for name, texts in self.texts.items()}

    def append_to(self, window: Window, post: Identified) -> Window:
        """Return a window of a post followed by its texts, as far as there is room.

        [CLS] post [SEP] text [SEP] text [SEP]: the texts are the second segment of a pair, with the
        separators of the tokenizer, unless the system has `one_segment`. Names of objects are in
        descending order of score.
        """
        ids: list[int] = []
        for name in self.inputs.reads:
            between = [] if ids else self._between
            room = self.max_subtokens - len(window.ids) - len(ids) - len(between) - 1
            text = self._text(name, post)
            if text and room > 0:
                with tokenizer_errors(self.tokenizer.name_or_path, "its tokenizer failed"):
                    own = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
                ids += [*between, *own[:room], self.tokenizer.sep_token_id]
        return window.append(ids, is_segment=not self.inputs.one_segment)

    def _text(self, name: str, post: Identified) -> str:
        if name != OBJECT_NAMES:
            return text_of(self.texts.get(name, {}), post)
        if self.visual is None or post.image_id not in self.visual:
            return ""
        return " ".join(self.visual.names(post.image_id))

    @cached_property
    def _between(self) -> list[int]:
        """Sub-tokens between the [SEP] of a post and what follows: RoBERTa has a second one."""
        if self.inputs.one_segment:
            return []
        with tokenizer_errors(self.tokenizer.name_or_path, "its tokenizer failed on a pair"):
            pair = self.tokenizer("a", "a")
            sides = pair.sequence_ids(0)
        if not {0, 1} <= set(sides):
            return []
        stop = len(sides) - sides[::-1].index(0)  # of the first segment
        return list(pair["input_ids"][stop + 1 : sides.index(1)])
