"""HamLearning: the parts put together as in Figure 2 of the paper, and its ablations."""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from hamlearn.model.base import Output, Sizes, TaggingModel
from hamlearn.model.batch import Batch, VisualBatch, require
from hamlearn.model.interaction import Interaction
from hamlearn.model.relevance import RelevanceFusion
from hamlearn.model.spatial import SpatialEncoder
from hamlearn.model.text import TextEncoder
from hamlearn.model.transformer import TransformerStack
from hamlearn.model.visual import VisualEmbedding
from hamlearn.settings import ModelSettings, TextSettings


@dataclass(frozen=True)
class Parts:
    """The parts of the model that an ablation may leave out.

    Without either view the model reads text alone and has no visual parameter.
    """

    semantic: bool = True  # the Transformer over the objects (Eq. 4)
    spatial: bool = True  # the R-GCN over their relations (Eq. 5 to 7)
    relevance: bool = True  # measuring relevance (Eq. 8 and 9); without it M = 1


class HamLearning(TaggingModel):
    """The model of the paper: text, two views of the image, relevance, interaction, CRF.

    A post without an image is labelled exactly as the same model labels its text alone.
    """

    parts = Parts()

    def __init__(
        self, encoder: PreTrainedModel, sizes: Sizes, text: TextSettings, model: ModelSettings
    ) -> None:
        super().__init__()
        heads, dropout, parts = model.heads, model.dropout, self.parts
        self.text = TextEncoder(encoder, heads, text.transformer_layers, dropout)
        width = self.text.width  # D
        self.transform = nn.Sequential(  # FFNN of Eq. 12
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        views = [view for view in ("semantic", "spatial") if getattr(parts, view)]
        if views:
            self.visual = VisualEmbedding(sizes, model.class_width, width)
            if parts.semantic:  # Eq. 4: pre-norm as in ViT; objects are a set, without positions
                self.semantic = TransformerStack(
                    width, heads, model.vit_layers, dropout, norm_first=True
                )
            if parts.spatial:
                self.spatial = SpatialEncoder(width, sizes.relations, model)
            self.relevance = nn.ModuleDict(
                {view: RelevanceFusion(width, parts.relevance) for view in views}
            )
            self.interaction = Interaction(width, len(views), model)
        self.has_vision = bool(views)
        self.add_output_layers(width, sizes.labels, dropout)

    def forward(self, batch: Batch) -> Output:
        """Return the scores of all labels, and the relevance of the images."""
        sentence, words = self.text(batch)  # h_[CLS] (B, D), h^T (B, W, D)
        words = self.transform(words)  # H of Eq. 12, (B, W, D)
        if not self.has_vision:
            return Output(self.emissions(words))
        visual = self.visual_of(batch)
        if visual is None:
            return Output(self.emissions(self.interaction(words, batch.word_mask, None)))
        views, relevance = self.see(visual, sentence)  # V^r (B, O, D)
        object_mask = require(visual.objects, "objects").mask  # (B, O)
        words = self.interaction(words, batch.word_mask, views, object_mask)  # final H, (B, W, D)
        return Output(self.emissions(words), relevance)

    def see(self, visual: VisualBatch, sentence: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return V^r of each view (B, O, D), and the relevance of each post (B,) by view.

        Args:
            visual: masked.
            sentence: (B, D), h_[CLS].
        """
        objects = require(visual.objects, "objects")
        nodes = self.visual(visual)  # v_IMG, v_1, ..., v_N, (B, O+1, D)
        encoded = {}
        if self.parts.semantic:
            node_mask = nn.functional.pad(objects.mask, (1, 0), value=True)  # (B, O+1)
            encoded["semantic"] = self.semantic(nodes, node_mask)  # v^1, (B, O+1, D)
        if self.parts.spatial:
            relations = require(objects.relations, "relations")
            encoded["spatial"] = self.spatial(nodes, objects.boxes, relations)  # v^2, (B, O+1, D)
        views, relevance = [], {}
        for view, vectors in encoded.items():
            fused, score = self.relevance[view](sentence, vectors)  # (B, O, D), (B,)
            views.append(fused)
            if score is not None:
                relevance[view] = score.masked_fill(~visual.has_image, 0)
        return views, relevance


class WithoutRGCN(HamLearning):
    """Ablation "w/o RGCN": the semantic view alone, V = V^1."""

    parts = Parts(spatial=False)


class WithoutViT(HamLearning):
    """Ablation "w/o ViT": the spatial view alone, V = V^2."""

    parts = Parts(semantic=False)


class WithoutRelevance(HamLearning):
    """Ablation "w/o RM": no relevance measuring, M = 1, so every image counts fully."""

    parts = Parts(relevance=False)


class TextOnly(HamLearning):
    """Encoder, textual Transformer, FFNN and CRF: no image, and no parameter for one."""

    parts = Parts(semantic=False, spatial=False)
