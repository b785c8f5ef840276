"""HamLearning: the parts put together as in Figure 2 of the paper, and decoding (Eq. 16 to 18)."""

from typing import Any

from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, VisualBatch, require
from hamlearn.model.interaction import Interaction
from hamlearn.model.relevance import RelevanceFusion
from hamlearn.model.semantic import SemanticEncoder
from hamlearn.model.spatial import SpatialEncoder
from hamlearn.model.text import TextEncoder
from hamlearn.model.visual import VisualEmbedding

N_RELATIONS = 11  # inside, cover, overlap and eight sectors: those of hamlearn.features.relations

FLAGS: dict[str, dict[str, bool]] = {
    # The model of the paper.
    "full": {"vision": True, "vit": True, "rgcn": True, "relevance": True},
    # Semantic view alone: V = V^1, no part of the interaction for V^2.
    "wo_rgcn": {"vision": True, "vit": True, "rgcn": False, "relevance": True},
    # Spatial view alone: V = V^2.
    "wo_vit": {"vision": True, "vit": False, "rgcn": True, "relevance": True},
    # No relevance measuring: M = 1, every picture counts fully.
    "wo_rm": {"vision": True, "vit": True, "rgcn": True, "relevance": False},
    # Encoder, textual Transformer, FFNN and CRF: no picture, no parameter for one.
    "text_only": {"vision": False, "vit": False, "rgcn": False, "relevance": False},
}


class HamLearning(TaggingModel):
    """The whole model: text, two views of the picture, relevance, interaction, CRF.

    A post without a picture is tagged exactly as the same model tags its text alone.

    Args:
        encoder: a Hugging Face text encoder; its width is D.
        n_labels: K.
        image_width: F of the picture's features; unused without vision.
        object_width: F of the objects' features; unused without vision.
        n_classes: C, the detector's classes; unused without vision.
        vision: False leaves out everything that sees.
        vit: the semantic view.
        rgcn: the spatial view.
        relevance: measure relevance; False is M = 1.
        heads: attention heads everywhere but in the encoder.
        text_layers: layers of the textual Transformer.
        vit_layers: layers of the semantic encoder.
        rgcn_layers: layers of the spatial encoder.
        rounds: L.
        share_rounds: all rounds use the same weights.
        class_width: width of the class embedding.
        dropout: everywhere but in the encoder, which has its own.
        graph_backend: "auto", "dgl" or "dense".
        normalize_messages: divide the sum of Eq. 5 by the number of neighbours.
        n_relations: R.

    Raises:
        HamlearnError: the heads do not divide D, or a model with vision has no view.
    """

    crf: CRF

    def __init__(
        self,
        encoder: PreTrainedModel,
        n_labels: int,
        image_width: int = 0,
        object_width: int = 0,
        n_classes: int = 0,
        *,
        vision: bool = True,
        vit: bool = True,
        rgcn: bool = True,
        relevance: bool = True,
        heads: int = 12,
        text_layers: int = 1,
        vit_layers: int = 4,
        rgcn_layers: int = 2,
        rounds: int = 3,
        share_rounds: bool = False,
        class_width: int = 300,
        dropout: float = 0.1,
        graph_backend: str = "auto",
        normalize_messages: bool = False,
        n_relations: int = N_RELATIONS,
    ) -> None:
        """Make the parts that the flags ask for."""
        super().__init__()
        width = int(encoder.config.hidden_size)
        if width % heads:
            raise HamlearnError(
                f"model.heads: found {heads}, expected a divisor of {width}, the width of the text"
                " encoder"
            )
        if vision and not (vit or rgcn):
            raise HamlearnError("variant: found vision without a view, expected vit or rgcn")
        if vision and (image_width < 1 or object_width < 1):
            raise HamlearnError(
                f"a model with vision: found features of width {image_width} (picture) and"
                f" {object_width} (objects), expected both to be positive"
            )
        self.text = TextEncoder(encoder, heads, text_layers, dropout)
        self.transform = nn.Sequential(  # FFNN of Eq. 12
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.visual: VisualEmbedding | None = None
        if vision:
            self.visual = VisualEmbedding(image_width, object_width, n_classes, class_width, width)
            views: dict[str, nn.Module] = {}
            if vit:
                views["semantic"] = SemanticEncoder(width, heads, vit_layers, dropout)
            if rgcn:
                views["spatial"] = SpatialEncoder(
                    width, n_relations, rgcn_layers, graph_backend, normalize_messages, dropout
                )
            self.views = nn.ModuleDict(views)
            self.measures = relevance
            self.relevance = nn.ModuleDict(
                {view: RelevanceFusion(width, relevance) for view in views}
            )
            self.interaction = Interaction(width, heads, rounds, len(views), share_rounds, dropout)
        self.dropout = nn.Dropout(dropout)
        self.emit = nn.Linear(width, n_labels)
        self.crf = CRF(n_labels, batch_first=True)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the relevance of the images."""
        sentence, words = self.text(batch)  # (B, D), (B, W, D)
        words = self.transform(words)  # H of Eq. 12, (B, W, D)
        relevance: dict[str, Tensor] = {}
        if self.visual is not None:
            views, object_mask = None, None
            if batch.visual is not None:
                visual = batch.visual.masked(self.emit.weight.dtype)
                views, relevance = self._see(visual, sentence)
                object_mask = require(visual.objects, "objects").mask
            words = self.interaction(words, batch.word_mask, views, object_mask)
        emissions = self.emit(self.dropout(words)).float()  # (B, W, K)
        return Output(emissions, relevance)

    def _see(self, visual: VisualBatch, sentence: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return V^r of each view, (B, O, D), and the relevance (B,) by view."""
        assert self.visual is not None
        objects = require(visual.objects, "objects")
        nodes = self.visual(visual)  # (B, O+1, D), the image first
        node_mask = nn.functional.pad(objects.mask, (1, 0), value=True)
        views, relevance = [], {}
        for name, encode in self.views.items():
            if name == "semantic":
                seen = encode(nodes, node_mask)
            else:
                seen = encode(nodes, objects.boxes, require(objects.relations, "relations"))
            fused, score = self.relevance[name](sentence, seen)
            views.append(fused)
            if score is not None:
                relevance[name] = score.masked_fill(~visual.has_image, 0)
        return views, relevance


def build(encoder: PreTrainedModel, variant: str, sizes: Sizes, **settings: Any) -> HamLearning:
    """Return an untrained model with the parts that a variant has.

    Args:
        encoder: the text encoder.
        variant: one of FLAGS.
        sizes: what corpus and features decide.
        settings: further arguments of `HamLearning`.
    """
    given = {
        "image_width": sizes.image,
        "object_width": sizes.object,
        "n_classes": sizes.classes,
    }
    return HamLearning(encoder, sizes.labels, **(FLAGS[variant] | given | settings))
