"""`full` on posts with images, from files to entities, relative to the forward passes it needs."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.networks import (
    RANDOM,
    prepare_image,
    run_backbone,
    run_detector,
    small_mask_rcnn,
)
from benchmarks.plan import Plan
from benchmarks.posts import SENTENCE, write_posts
from benchmarks.results import Result
from benchmarks.steps import LABELS, PAPER, N, make_training
from benchmarks.timing import Function, speedup, summarize, time_alternately
from hamlearn.corpus.posts import CorpusPost
from hamlearn.corpus.posts import write_posts as write_corpus
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.features.relations import RELATIONS
from hamlearn.inference import image_features
from hamlearn.inference.image_features import BATCH
from hamlearn.inference.model_folder import TrainedModel
from hamlearn.inference.posts import Post
from hamlearn.inference.tagger import Tagger
from hamlearn.model.batch import Batch
from hamlearn.runs import FeatureSizes, RunFacts, SplitCounts, VisionNetwork
from hamlearn.settings import ScratchSettings, Settings, load_settings
from hamlearn.training.scratch_encoder import write_scratch_encoder
from hamlearn.vision import base
from hamlearn.vision.base import Backbone, Detector, load_backbone, selection_of
from hamlearn.vision.images import open_image


def measure(plan: Plan, images: Sequence[Path], folder: Path) -> Iterator[Result]:
    """Yield the speed of prediction, and the shares of its parts.

    Its baseline is the sum of the forward passes of the detector, of the image network and of
    `full` itself, on inputs prepared before.
    """
    detector = small_mask_rcnn(plan.min_size or 32)
    backbone = load_backbone(plan.backbone, RANDOM)
    prepared = torch.stack([backbone.preprocess(open_image(path)) for path in images])
    batches = prepared.to(memory_format=torch.channels_last).split(BATCH)
    inputs = [prepare_image(detector, path) for path in images]
    posts, read = _posts(images, folder), list[Batch]()
    with tagger_of(plan, backbone, detector, folder) as tagger:
        network = tagger.model.network

        def predicted() -> None:
            tagger.image_encoder.close()  # no features are kept
            read.clear()
            with network.register_forward_pre_hook(lambda _, given: read.append(given[0])):
                found = tagger.tag(posts)
            assert all(one.has_image and not one.error for one in found)

        @torch.inference_mode()
        def labelled() -> None:
            for batch in read:  # as the last prediction put them together
                network.paths(network(batch).emissions, batch.word_mask)

        networks: dict[str, Function] = {
            "detector": lambda: [run_detector(detector, one) for one in inputs],
            "image network": lambda: run_backbone(backbone, batches),
            "full": labelled,
        }
        times = time_alternately({"prediction": predicted} | networks, plan.rounds)
    times["forward"] = [sum(parts) for parts in zip(*map(times.get, networks), strict=True)]
    numbers = summarize(times, len(posts))
    shares = (
        f"{name} {numbers[name]['median'] / numbers['prediction']['median']:.0%}"
        for name in networks
    )
    yield Result(
        f"prediction with images: {plan.backbone} and mask_rcnn, short side {plan.min_size}",
        speedup(times, "prediction", "forward"),
        "forward passes of all its networks",
        at_least=0.9,
        note=f"{numbers['prediction']['per_second']:.2f} posts/s; {', '.join(shares)}",
        numbers=numbers,
    )


def _posts(images: Sequence[Path], folder: Path) -> list[Post]:
    """Return posts of 3 to 25 words, each with one of the images."""
    path = folder / "predicted.jsonl"
    write_posts(path, len(images))
    texts = (json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines())
    return [Post(text=text, image=image) for text, image in zip(texts, images, strict=True)]


@contextmanager
def tagger_of(plan: Plan, backbone: Backbone, detector: Detector, folder: Path) -> Iterator[Tagger]:
    """Give a tagger of an untrained `full` that reads images by these networks."""
    sizes = {
        "image": backbone.width,
        "object": detector.feature_width,
        "classes": len(detector.classes),
    }
    stored: dict[str, Any] = {"dtype": "float16"}
    selection = selection_of(detector, Settings().object_features)
    networks = {
        "images": _network(backbone.weights.name, stored),
        "objects": _network(detector.weights.name, stored | {"objects": N} | selection),
    }
    facts = _facts(networks, detector.classes, sizes)
    network = make_training(plan, "cpu", **sizes).model.eval()
    model = TrainedModel(network, _tokenizer(folder), facts, lexicon=None, digest="0" * 64)
    with (
        patch.object(image_features, "find_weights", lambda *arguments: RANDOM),
        patch.object(image_features, "check_loaded", lambda *arguments, **named: None),
        patch.object(base, "load_backbone", lambda *arguments: backbone),
        patch.object(base, "load_detector", lambda *arguments: detector),
        Tagger(model, "cpu") as tagger,
    ):
        assert tagger.image_encoder is not None  # it is loaded here
        yield tagger


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    words = tuple(SENTENCE.split())
    post = CorpusPost("0", "train", "0", None, words, ("O",) * len(words))
    write_corpus(folder / "words.jsonl", [post] * 2)  # a character seen once would be unknown
    write_scratch_encoder(folder / "words.jsonl", folder / "encoder", ScratchSettings())
    return load_tokenizer(folder / "encoder")


def _network(name: str, settings: dict[str, Any]) -> VisionNetwork:
    return VisionNetwork(
        name=name, weights=name, sha256="0" * 64, random=True, settings=settings, versions={}
    )


def _facts(
    networks: dict[str, VisionNetwork], classes: Sequence[str], sizes: dict[str, int]
) -> RunFacts:
    """Return the facts of a run of `full` with the settings of the paper."""
    paper = load_settings(PAPER)
    return RunFacts(
        system="full",
        seed=0,
        labels=LABELS,
        sizes=FeatureSizes(relations=len(RELATIONS), **sizes),
        text=paper.text,
        model=paper.model,
        training=paper.training,
        precision="32-true",
        device="cpu",
        graph_backend="dense",
        splits={split: SplitCounts(posts=1) for split in ("train", "dev")},
        networks=networks,
        classes=list(classes),
        graph=paper.graph,
        parameters=1,
        epoch=1,
        dev_f1={"lenient": 0.0, "strict": 0.0},
        seconds=1.0,
        seconds_per_epoch=1.0,
    )
