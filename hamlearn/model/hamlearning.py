"""HamLearning: the parts put together as in Figure 2 of the paper, and decoding (Eq. 16 to 18)."""

from typing import Any

import torch
from torch import Tensor, nn
from torchcrf import CRF
from transformers import PreTrainedModel

from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch
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
        """Return the scores of all labels, and the relevance of the pictures."""
        sentence, words = self.text(batch)
        words = self.transform(words)  # H of Eq. 12, (B, W, D)
        relevance: dict[str, Tensor] = {}
        if self.visual is not None:
            words, relevance = self._look(batch, sentence, words)
        emissions = self.emit(self.dropout(words)).float()
        return Output(emissions, relevance)

    def _look(
        self, batch: Batch, sentence: Tensor, words: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the words after the interaction (B, W, D), and the relevance by view.

        A post without a picture comes out as if it were alone with its text, so its way is that of
        text alone, and nothing is computed for the picture that is not there.
        """
        if (
            batch.has_image is None
            or batch.image is None
            or batch.objects is None
            or batch.object_classes is None
            or batch.object_mask is None
            or batch.boxes is None
            or ("spatial" in self.views and batch.relations is None)
            or batch.objects.shape[1] == 0
        ):
            return self.interaction(words, batch.word_mask, None), {}
        rows = batch.has_image.nonzero().squeeze(1)
        if len(rows) == len(batch):
            views, relevance = self._see(batch, sentence)
            return self.interaction(words, batch.word_mask, views, batch.object_mask), relevance
        others = (~batch.has_image).nonzero().squeeze(1)
        unseen = self.interaction(words[others], batch.word_mask[others], None)
        if len(rows) == 0:
            return with_zero_gradients(unseen, self._idle()), {
                view: words.new_zeros(len(batch), dtype=torch.float32)
                for view in self.views
                if self.measures
            }
        seen, relevance = self._look(batch.rows(rows), sentence[rows], words[rows])
        place = torch.cat([rows, others]).argsort()
        return torch.cat([seen, unseen])[place], {
            view: score.new_zeros(len(batch)).index_copy(0, rows, score)
            for view, score in relevance.items()
        }

    def _see(self, batch: Batch, sentence: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return V^r of each view, (B, O, D), and the relevance, of posts that have pictures."""
        assert self.visual is not None
        assert batch.object_mask is not None
        nodes = self.visual(batch.image, batch.objects, batch.object_classes, batch.has_image)
        node_mask = nn.functional.pad(batch.object_mask, (1, 0), value=True)  # the picture
        views, relevance = [], {}
        for name, encode in self.views.items():
            if name == "semantic":
                seen = encode(nodes, node_mask)
            else:
                seen = encode(nodes, batch.boxes, batch.relations)
            fused, score = self.relevance[name](sentence, seen)
            views.append(fused)
            if score is not None:
                relevance[name] = score
        return views, relevance

    def _idle(self) -> list[nn.Parameter]:
        """Return the parameters that have no part in the text alone."""
        assert self.visual is not None
        parts = (self.visual, self.views, self.relevance)
        seeing = [parameter for part in parts for parameter in part.parameters()]
        return seeing + self.interaction.idle()


class _ZeroGradients(torch.autograd.Function):
    """The identity of its first argument; the others get a gradient of zeros."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients[0], *map(torch.zeros_like, ctx.saved_tensors)


def with_zero_gradients(tensor: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Return the tensor itself; its backward pass gives the parameters a gradient of zeros.

    AdamW decays what has a gradient, be it zero, and passes over what has none. With this, what a
    batch has no use for is treated as what it multiplies by zero, and each process of several
    reports a gradient for each parameter.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not torch.is_grad_enabled() or not trained:
        return tensor
    zeroed: Tensor = _ZeroGradients.apply(tensor, *trained)
    return zeroed


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
