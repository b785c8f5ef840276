"""GEI: Zhao et al. 2022, "Entity-level Interaction via Heterogeneous Graph for Multimodal ...".

(The title ends: "Named Entity Recognition", Findings of EMNLP 2022.) Spans of entities are detected
in the text; a graph of these entities and of the objects gathers what the image says of them, and
only the words of entities take it up. With H (B, W, D) of the encoder and objects O (B, N, D):

    z_i = W_z h_i + b_z                       scores of O, B and I, with a CRF
    E_k = mean of h_i over the words i of the k-th span                             (B, M, D)
    E ← FFN(E + Att_ee(E; E) + Att_oe(E; O)),  O ← FFN(O + Att_oo(O; O) + Att_eo(O; E))
    h'_i = h_i + g_i ⊙ E_k,  g_i = sigmoid(W_h h_i + W_e E_k)  for the words of the k-th span
    h'_i = h_i  for all others
    e_i = W h'_i + b,  then a CRF;  L = -log p(y | e) - λ log p(z)

Checked against: the paper's abstract, which states the span detection, the two kinds of nodes, and
that what is found is fused into the words of entities alone. Its equations, and its code, which its
repository announces and does not hold, were not available when this was written.

Not stated there and decided here: attention (one for each kind of edge), the residual gate, two
layers, λ = 0.5 as in UMT. The spans are the gold ones in training, and those of the best path of
the CRF otherwise. The last layer does not update objects, which nothing reads any more.

Without an image entities attend to each other alone, so a post is labelled as the same model labels
its text alone.
"""

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.baselines.shared import SPAN_LOSS, SPANS, PairGate, spans_of
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder, sum_subtokens
from hamlearn.model.transformer import attendable, check_heads
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings

LAYERS = 2
_O, _B, _I = range(len(SPANS))


def entity_numbers(spans: Tensor, mask: Tensor) -> Tensor:
    """Return the number of the entity of each word, (B, W) int64, -1 outside of all.

    An I begins an entity where the word before is outside. Both arguments are (B, W), the labels of
    spans and the mask of words.
    """
    inside = (spans != _O) & mask
    before = nn.functional.pad(inside[:, :-1], (1, 0))
    begins = inside & ((spans == _B) | ~before)
    return (begins.long().cumsum(1) - 1).masked_fill(~inside, -1)


class Edges(nn.Module):
    """What nodes gather from neighbours over one kind of edge; zero where they have none."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)

    def forward(self, nodes: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Return (B, U, D) of nodes (B, U, D), neighbours (B, V, D) and their mask (B, V)."""
        found, _ = self.attention(
            nodes,
            neighbours,
            neighbours,
            key_padding_mask=~attendable(mask),
            need_weights=False,
        )
        gathered: Tensor = found.masked_fill(~mask.any(1)[:, None, None], 0)
        return gathered


class NodeUpdate(nn.Module):
    """New vectors of the nodes of one kind, from neighbours of their own and of the other kind."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.within = Edges(width, heads, dropout)
        self.across = Edges(width, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, mask: Tensor, others: Tensor, other_mask: Tensor) -> Tensor:
        """Return (B, U, D) of nodes (B, U, D) and of those of the other kind (B, V, D)."""
        gathered = self.within(nodes, nodes, mask) + self.across(nodes, others, other_mask)
        nodes = self.norm(nodes + self.dropout(gathered))
        return self.feed_forward_norm(nodes + self.dropout(self.feed_forward(nodes)))


class GEI(TaggingModel):
    """The model of this file's docstring."""

    span_of: Tensor

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width, heads, dropout = self.text.width, model.heads, model.dropout
        check_heads(width, heads)
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.emit_spans = nn.Linear(width, len(SPANS))  # W_z
        self.span_crf = CRF(len(SPANS), batch_first=True)
        self.entities = nn.ModuleList(NodeUpdate(width, heads, dropout) for _ in range(LAYERS))
        self.objects = nn.ModuleList(NodeUpdate(width, heads, dropout) for _ in range(LAYERS - 1))
        self.gate = PairGate(width)
        self.add_output_layers(width, sizes.labels, dropout)
        self.register_buffer("span_of", spans_of("gei", sizes.names), persistent=False)  # (K,)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the loss of the spans."""
        _, words = self.text(batch)
        scores = self.emit_spans(self.dropout(words)).float()  # z, (B, W, 3)
        numbers = entity_numbers(self._spans(scores, batch), batch.word_mask)
        count = int(numbers.max()) + 1
        if count:
            entities, mask = self._entities(words, numbers, count)  # E, (B, M, D)
            objects, object_mask = self._objects(words, batch)
            for layer, update in enumerate(self.entities):
                before = entities
                entities = update(entities, mask, objects, object_mask)
                if layer < len(self.objects):
                    objects = self.objects[layer](objects, object_mask, before, mask)
            place = numbers.clamp(min=0)[:, :, None].expand_as(words)
            own = entities.gather(1, place)  # E_k of each word, (B, W, D)
            fused = words + self.gate(words, own) * own
            words = torch.where((numbers >= 0)[:, :, None], fused, words)
        return Output(self.emissions(words), auxiliary=self._span_loss(scores, batch))

    def _spans(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return labels of spans, (B, W): those that are taught in training, else the best path."""
        if self.training and batch.labels is not None:
            return self.span_of[batch.labels]
        with torch.no_grad(), torch.autocast(scores.device.type, enabled=False):
            paths = self.span_crf.decode(scores, batch.word_mask)
        rows = [torch.tensor(path, device=scores.device) for path in paths]
        found = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return nn.functional.pad(found, (0, batch.word_mask.shape[1] - found.shape[1]))

    def _entities(self, words: Tensor, numbers: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the mean of the words of each entity, (B, M, D), and which there are, (B, M)."""
        sums = sum_subtokens(words, numbers, count)
        ones = sum_subtokens(torch.ones_like(words[:, :, :1]), numbers, count)  # (B, M, 1)
        return sums / ones.clamp(min=1), ones[:, :, 0] > 0

    def _objects(self, words: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        visual = self.visual_of(batch)
        if visual is None:  # as if all images were missing
            nothing = batch.word_mask.new_zeros(len(batch), 1)
            return words.new_zeros(len(batch), 1, self.text.width), nothing
        return self.visual(visual)[:, 1:], require(visual.objects, "objects").mask

    def _span_loss(self, scores: Tensor, batch: Batch) -> Tensor | None:
        """Return λ times the mean negative log-likelihood of a post's spans."""
        if batch.labels is None:
            return None
        with torch.autocast(scores.device.type, enabled=False):
            gold = self.span_of[batch.labels]
            return -SPAN_LOSS * self.span_crf(scores, gold, batch.word_mask, reduction="mean")
