"""Export a trained model: its folder with its scores and a model card, to be handed over."""

import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hamlearn.errors import HamlearnError
from hamlearn.hub import is_id
from hamlearn.inference.image_features import NetworkEncoder
from hamlearn.inference.model_folder import (
    CARD,
    FACTS,
    SCORES,
    VISION,
    TrainedModel,
    load_model,
    unchanged_model,
    verify,
    write_json,
    write_manifest,
)
from hamlearn.inference.vision_weights import converted_beside, copy_weights, origin_of
from hamlearn.io import markdown
from hamlearn.outputs import MODEL, atomic_folder, check_folder
from hamlearn.runs import RunFacts, VisionNetwork
from hamlearn.systems import CONTROLS, NO_DETECTOR
from hamlearn.templates import environment

METRICS = ("f1", "precision", "recall")
log = logging.getLogger(__name__)


def export(
    folder: str | Path,
    out: str | Path,
    scores: str | Path | None = None,
    systems: Collection[str] = (),
    with_vision: bool = False,
    weights: str | Path | None = None,
    license: str | None = None,
    languages: Sequence[str] = (),
) -> None:
    """Copy a model folder, with a model card and, if given, its scores.

    The copy is written atomically, and loaded before that; a model folder at `out` is replaced. It
    names no folder of this machine. The same model and scores give the same bytes. `scores` is a
    scores file of the workflow or metrics.csv, of which the rows of this system, seed and detector
    are copied. `systems` are those of `load_model`. With `with_vision`, the copy holds the weights
    of its vision networks, which are found as in `Tagger` (`weights`), and reads images anywhere.
    `license`, an identifier of the hub such as apache-2.0, and `languages`, such as en, are stated
    in the card.

    Raises:
        HamlearnError: the model cannot be loaded or is replaced meanwhile, `out` holds something
            else, the scores have no row of this model, or the weights of its vision networks are
            absent or cannot be copied.
    """
    folder, out = Path(folder), Path(out)
    weights = weights or converted_beside(folder)
    check_folder(out, MODEL)
    with atomic_folder(out, MODEL) as part, unchanged_model(folder):
        loaded = load_model(folder, systems)
        facts = _without_paths(loaded.facts)
        for name in sorted(verify(folder).keys() - {SCORES, CARD}):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, part / name)
        if with_vision and not loaded.held:
            copy_weights(loaded.facts, weights, part / VISION)
        write_json(part / FACTS, facts.model_dump(mode="json"))
        rows = [] if scores is None else _write_scores(scores, facts, part / SCORES)
        base = loaded.facts.text.encoder
        front = _front_matter(facts, rows, base, license, languages)
        is_whole = with_vision or bool(loaded.held)
        (part / CARD).write_text(model_card(facts, rows, front, is_whole), encoding="utf-8")
        write_manifest(part)
        copied = load_model(part, systems)
        if with_vision:
            _check_vision(loaded, copied, weights)
    log.info("%s: %s with %d labels, written", out, facts.system, len(facts.labels))
    if facts.networks and not is_whole:
        log.info(
            "%s: it does not hold the weights of %s (--with-vision); its %s says where they are"
            " published",
            out,
            " and ".join(network.name for network in facts.networks.values()),
            CARD,
        )


def model_card(
    facts: RunFacts, rows: list[dict[str, Any]], front: str = "", is_whole: bool = False
) -> str:
    """Return the model card as Markdown.

    Args:
        facts: of the model.
        rows: of a scores file; without any, the scores on dev are shown.
        front: its YAML for the hub.
        is_whole: the weights of its vision networks are in the folder.
    """
    templates = environment("hamlearn.inference", autoescape=False)  # `markdown` escapes
    templates.filters["markdown"] = markdown
    return (
        templates.get_template("model_card.md.jinja").render(
            facts=facts,
            front=front,
            is_whole=is_whole,
            about=facts.network_of_system.about,
            random=[
                markdown(network.name) for network in facts.networks.values() if network.random
            ],
            describe=_describe,
            origins=[(network, origin_of(kind, network)) for kind, network in _files(facts)],
            corpora=", ".join(sorted({markdown(row["corpus"]) for row in rows})),
            rows=rows,
            percent=lambda share: f"{100 * share:.2f}",
        )
        + "\n"
    )


def _files(facts: RunFacts) -> list[tuple[str, VisionNetwork]]:
    return [(kind, one) for kind, one in facts.networks.items() if not one.random]


def _front_matter(
    facts: RunFacts,
    rows: list[dict[str, Any]],
    encoder: str,
    license: str | None,
    languages: Sequence[str],
) -> str:
    """Return what the Hugging Face hub reads of a card, with the F1 of all types as its results."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="token-classification",
            task_name="Named entity recognition",
            dataset_type=row["corpus"],
            dataset_name=row["corpus"],
            dataset_split=row["split"],
            metric_type=metric,
            metric_value=round(float(row[metric]), 6),
            metric_name=f"{metric}, {row['scheme']}",
        )
        for row in rows
        if row["type"] == "all"
        for metric in METRICS
    ]
    is_published = facts.inputs.encoder and "/" in encoder and is_id(encoder)
    data = ModelCardData(
        library_name="hamlearn",
        pipeline_tag="token-classification",
        tags=["hamlearn", "named-entity-recognition", facts.system]
        + ["multimodal"] * bool(facts.networks),
        language=[*languages] or None,
        license=license,
        base_model=encoder if is_published else None,
        datasets=sorted({row["corpus"] for row in rows}) or None,
        metrics=[*METRICS],
        model_name=f"hamlearn {facts.system}, seed {facts.seed}" if results else None,
        eval_results=results or None,
    )
    return f"{data.to_yaml()}\n"


def _check_vision(loaded: TrainedModel, copied: TrainedModel, weights: str | Path | None) -> None:
    """Compare the features that both compute of one image.

    Raises:
        HamlearnError: they differ.
    """
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    places = (weights, None)
    found = [
        NetworkEncoder(model.facts, place, "cpu", model.held).encode(image).visual
        for model, place in zip((loaded, copied), places, strict=True)
    ]
    for field in fields(found[0]):
        one, other = (getattr(visual, field.name) for visual in found)
        if not np.array_equal(one, other):
            raise HamlearnError(f"--with-vision: {field.name} of the copy differ; it is not kept")


def _without_paths(facts: RunFacts) -> RunFacts:
    """Replace folders of this machine by their last name."""
    encoder, vectors = Path(facts.text.encoder), facts.text.word_vectors
    names = {
        "encoder": encoder.name if encoder.is_absolute() else facts.text.encoder,
        "word_vectors": None if vectors is None else Path(vectors).name,
    }
    networks = {kind: _without_folder(network) for kind, network in facts.networks.items()}
    text = facts.text.model_copy(update=names)
    return facts.model_copy(update={"text": text, "networks": networks})


def _without_folder(network: VisionNetwork) -> VisionNetwork:
    kind, _, name = (network.source or "").partition(":")
    if kind != "transformers" or is_id(name):
        return network
    return network.model_copy(update={"source": f"{kind}:{Path(name).name}"})


def _write_scores(source: str | Path, facts: RunFacts, out: Path) -> list[dict[str, Any]]:
    """Write the rows of this model and return those that the card shows."""
    from hamlearn.evaluation.evaluate import ALL, read_scores
    from hamlearn.evaluation.tables import with_cells

    scores = read_scores(source)
    objects = facts.networks.get("objects")
    detector = NO_DETECTOR if objects is None else objects.name
    own = scores[
        (scores["variant"] == facts.system)
        & (scores["seed"] == facts.seed)
        & (scores["detector"] == detector)
        & (scores["control"].str.startswith("trained") == (facts.training.control is not None))
    ]
    if own.empty or own["corpus"].nunique() > 1:
        found = ", ".join(sorted(own["corpus"].unique())) or "no row"
        raise HamlearnError(
            f"{source}: found {found} of variant {facts.system}, seed {facts.seed} and detector"
            f" {detector}, expected the scores of this model on one corpus"
        )
    with_cells(own).to_csv(out, index=False, lineterminator="\n")
    shown = own[(own["cue"] == ALL) & (own["has_picture"] == ALL)]
    shown = shown[~shown["control"].isin(CONTROLS)]
    return [{str(name): value for name, value in row.items()} for row in shown.to_dict("records")]


def _describe(network: VisionNetwork) -> str:
    if network.random:
        return f"{markdown(network.name)}, random weights: carries no meaning"
    return f"{markdown(network.name)}, {markdown(network.weights)}, sha256 `{network.sha256}`"
