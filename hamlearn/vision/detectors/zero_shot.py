"""Detectors of transformers that find what they are told: OWL-ViT, OWLv2 and Grounding DINO."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hamlearn.errors import HamlearnError
from hamlearn.vision.base import Proposals
from hamlearn.vision.detectors.queries import fitted, one_box_each, own_threshold
from hamlearn.vision.weights import Weights

_TEXTS = 256  # class names in one batch of the text encoder


class ZeroShotDetector:
    """What both kinds have in common. No box suppresses another, and a proposal has one class.

    Args:
        model: of AutoModelForZeroShotObjectDetection, frozen and in evaluation mode.
        processor: of its images and texts.
        classes: what to find, in the words that the text encoder reads.
        weights: where the weights come from.
        device: of the model.
    """

    backend = "transformers"
    nms_thresholds = (1.0,)  # nothing overlaps by more
    nms_per_class = False
    feature_width: int

    def __init__(
        self,
        model: Any,
        processor: Any,
        classes: Sequence[str],
        weights: Weights,
        device: str | torch.device = "cpu",
    ) -> None:
        self.model = model.to(device)
        self.processor, self.device = processor, torch.device(device)
        self.classes, self.weights = list(classes), weights
        self.score_threshold = own_threshold(processor.post_process_grounded_object_detection)
        self.preprocessing: dict[str, Any] = {}

    def prepare(self, image: Image.Image) -> dict[str, Tensor]:
        """Return the model's inputs for one image."""
        inputs = self.processor.image_processor(images=image, return_tensors="pt")
        return {key: each.to(self.device) for key, each in inputs.items()}


class OwlDetector(ZeroShotDetector):
    """OWL-ViT and OWLv2: a box, and a likeness to each class name, for each patch of the image.

    The region feature of a patch is what the layer of classes reads. The names are encoded once.

    Raises:
        HamlearnError: a name has more tokens than the text encoder reads.
    """

    @torch.inference_mode()
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        config = self.model.config
        self.feature_width = int(config.vision_config.hidden_size)
        most, tokenizer = config.text_config.max_position_embeddings, self.processor.tokenizer
        for name in self.classes:
            if (count := len(tokenizer(name)["input_ids"])) > most:
                raise HamlearnError(
                    f"classes: {name!r:.80}: found {count} tokens, expected at most {most}"
                )
        tokens = tokenizer(
            self.classes, padding="max_length", max_length=most, return_tensors="pt"
        ).to(self.device)
        tower = getattr(self.model, self.model.base_model_prefix)
        names = []
        for start in range(0, len(self.classes), _TEXTS):
            own = {
                key: tokens[key][start : start + _TEXTS] for key in ("input_ids", "attention_mask")
            }
            found = tower.get_text_features(**own)
            names.append(getattr(found, "pooler_output", found))  # of old versions a tensor
        names_of = torch.cat(names)
        self._names = (names_of / names_of.norm(dim=1, keepdim=True))[None]  # (1, C, E)
        self._known = tokens["input_ids"][None, :, 0] > 0

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return a proposal for each patch."""
        seen = fitted(image)
        maps, _ = self.model.image_embedder(**self.prepare(seen))  # (1, rows, columns, F)
        features = maps.flatten(1, 2)
        logits, _ = self.model.class_predictor(features, self._names, self._known)
        boxes = self.model.box_predictor(features, maps)
        # OWLv2 reads the image at the upper left of a square.
        sides = (max(seen.size),) * 2 if self.model.config.model_type == "owlv2" else seen.size
        return one_box_each(boxes[0], logits[0].sigmoid(), features[0], sides, image)


class GroundedDetector(ZeroShotDetector):
    """Grounding DINO: for each query a box, and a likeness to each token of a text of class names.

    The probability of a class is that of its likeliest token. The region feature of a query is the
    last hidden state of the decoder. Names that do not fit into one text make several, and then
    each text has queries of its own.

    Raises:
        HamlearnError: names hold full stops, which separate names, or one is too long.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.feature_width = int(self.model.config.d_model)
        self._texts = list(self._text_inputs())

    def _text_inputs(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield the inputs of each text, and the class (C for none) of each of its tokens."""
        tokenizer, most = self.processor.tokenizer, int(self.model.config.max_text_len)
        lengths = []
        for name in self.classes:
            if "." in name or "?" in name:
                raise HamlearnError(
                    f"classes: found {name!r:.80}, expected no `.` and no `?`, which separate names"
                )
            tokens = tokenizer(f"{name.strip().lower()}.", add_special_tokens=False)["input_ids"]
            lengths.append(len(tokens))
            if not 1 < len(tokens) <= most - 2:
                raise HamlearnError(
                    f"classes: {name!r:.80}: found {len(tokens) - 1} tokens, expected 1 to"
                    f" {most - 3}"
                )
        start = 0
        while start < len(lengths):
            end, total = start, 2  # the tokens at the beginning and the end of a text
            while end < len(lengths) and total + lengths[end] <= most:
                total, end = total + lengths[end], end + 1
            text = self.processor(text=[self.classes[start:end]], return_tensors="pt")
            owners = torch.full((most,), len(self.classes))
            place = 1
            for number in range(start, end):
                owners[place : place + lengths[number] - 1] = number
                place += lengths[number]
            if text["input_ids"].shape[1] != total:
                raise HamlearnError(
                    f"classes: found {text['input_ids'].shape[1]} tokens in one text, expected the"
                    f" {total} of its names"
                )
            yield {key: each.to(self.device) for key, each in text.items()}, owners.to(self.device)
            start = end

    @torch.inference_mode()
    def propose(self, image: Image.Image) -> Proposals:
        """Return a proposal for each query of each text."""
        seen, boxes, probs, features = fitted(image), [], [], []
        inputs = self.prepare(seen)
        for text, owners in self._texts:
            found = self.model(**inputs, **text)
            tokens = found.logits[0].sigmoid()  # (Q, T)
            own = tokens.new_zeros(len(tokens), len(self.classes) + 1)
            own.scatter_reduce_(1, owners.expand_as(tokens), tokens, "amax")
            probs.append(own[:, :-1])
            boxes.append(found.pred_boxes[0])
            features.append(found.last_hidden_state[0])
        return one_box_each(
            torch.cat(boxes), torch.cat(probs), torch.cat(features), seen.size, image
        )
