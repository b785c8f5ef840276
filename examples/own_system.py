"""A system of one's own: every word attends to the objects in the image, and a gate weighs them.

config/own_system.yaml trains it on the demo next to the text alone, and so does a project that
`hamlearn init FOLDER --template own_system` starts. docs/extending.md goes through this file.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, require
from hamlearn.model.text import TextEncoder
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings


class GatedAttention(TaggingModel):
    """Words, plus what they find among the objects, as far as a gate lets it through."""

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        self.text = TextEncoder(encoder)
        width = self.text.width  # D
        self.visual = VisualEmbedding(sizes, model.class_width, width)
        self.attention = nn.MultiheadAttention(width, model.heads, model.dropout, batch_first=True)
        self.gate = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.add_output_layers(width, sizes.labels, model.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels."""
        _, words = self.text(batch)  # (B, W, D)
        visual = self.visual_of(batch)
        if visual is not None:
            nodes = self.visual(visual)  # the image and its objects, (B, 1 + O, D)
            mask = require(visual.objects, "objects").mask  # (B, O)
            seen = torch.cat([visual.has_image[:, None], mask], dim=1)  # (B, 1 + O)
            words = words + self._found(words, nodes, seen)
        return Output(self.emissions(words))

    def _found(self, words: Tensor, nodes: Tensor, seen: Tensor) -> Tensor:
        """Return what each word finds among the nodes; nothing without an image."""
        hidden = ~seen & seen.any(dim=1, keepdim=True)  # with all hidden, attention gives NaN
        found, _ = self.attention(words, nodes, nodes, key_padding_mask=hidden, need_weights=False)
        gate = self.gate(torch.cat([words, found], dim=-1)).sigmoid()
        return self.norm(gate * found) * seen.any(dim=1)[:, None, None]
