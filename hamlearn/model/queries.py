"""A query for each type of entity before the post, as in machine reading comprehension.

Li et al. 2020, "A Unified MRC Framework for Named Entity Recognition": the encoder reads
[CLS] query [SEP] post [SEP] once for each type, and the entities of the type are the answers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from hamlearn.errors import HamlearnError
from hamlearn.model.batch import Batch

LONGEST = 16  # sub-tokens of a query
QUERIES = {
    "PER": "person: names of people and fictional characters",
    "LOC": "location: names of places, countries, cities and landmarks",
    "ORG": "organization: names of companies, teams, bands and institutions",
    "MISC": "other: names of events, products, works and nationalities",
}


def query_of(type_: str) -> str:
    """Return the query of a type; one that has none of its own is asked for by its name."""
    name = " ".join(type_.replace("_", " ").replace("-", " ").split()).lower()
    return QUERIES.get(type_, f"{name}: names of {name}")


class QueryScores(nn.Module):
    """g = W_q q · W_x x / sqrt(D), a logit: how much a query asks for an object or a place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return g (B, T, N) of queries (B, T, D) and what they are put to (B, N, D)."""
        scores: Tensor = self.query(queries) @ self.key(keys).transpose(1, 2)
        return scores / queries.shape[-1] ** 0.5


class TypeQueries(nn.Module):
    """The queries of T types, which are stored with the weights."""

    ids: Tensor

    def __init__(self, types: Sequence[str]) -> None:
        super().__init__()
        self.types = list(types)
        absent = torch.full((len(types), LONGEST + 1), -1)
        self.register_buffer("ids", absent)  # (T, Q), [SEP] last, then -1

    def start(self, tokenizer: PreTrainedTokenizerBase, max_subtokens: int) -> None:
        """Take the sub-tokens of the queries; a long query is cut.

        Raises:
            HamlearnError: a post of `max_subtokens` leaves no room for them.
        """
        texts = [query_of(type_) for type_ in self.types]
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
        self.ids.fill_(-1)
        for row, ids in zip(self.ids, encoded, strict=True):
            whole = [*ids[:LONGEST], tokenizer.sep_token_id]
            row[: len(whole)] = torch.tensor(whole)
        room = tokenizer.model_max_length - self._longest
        if max_subtokens > room:
            raise HamlearnError(
                f"text.max_subtokens: found {max_subtokens}, expected at most {room} for a system"
                f" with queries, which take {self._longest} of the {tokenizer.model_max_length}"
                f" sub-tokens that {tokenizer.name_or_path} reads"
            )

    @property
    def _longest(self) -> int:
        return int((self.ids >= 0).sum(1).max())

    def forward(self, batch: Batch) -> Batch:
        """Return the text of a batch behind each query: B*T rows, the T of a post in a row."""
        query = self.ids[:, : self._longest].repeat(len(batch), 1)  # (B*T, Q)
        is_there = query >= 0

        def behind(values: Tensor, of_query: Tensor) -> Tensor:
            rows = values.repeat_interleave(len(self.types), 0)
            return torch.cat([rows[:, :1], of_query.to(rows.dtype), rows[:, 1:]], dim=1)

        post = torch.ones_like(batch.input_ids)
        post[:, 0] = 0  # [CLS] belongs to the first segment
        return Batch(
            input_ids=behind(batch.input_ids, query.clamp(min=0)),
            attention_mask=behind(batch.attention_mask, is_there),
            word_ids=behind(batch.word_ids, torch.full_like(query, -1)),
            word_mask=batch.word_mask.repeat_interleave(len(self.types), 0),
            segments=behind(post, torch.zeros_like(query)),
        )
