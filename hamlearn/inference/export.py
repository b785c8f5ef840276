"""A finished run as one folder that can be handed over."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from hamlearn.errors import HamlearnError
from hamlearn.inference import model_folder as runs
from hamlearn.inference.layout import (
    CARD,
    ENCODER,
    FACTS,
    MANIFEST,
    SCHEMA_VERSION,
    SCORES,
    WEIGHTS,
    Facts,
    is_allowed,
)
from hamlearn.inference.loading import read_model
from hamlearn.inference.model_card import write_card
from hamlearn.io import atomic_write, digest_of_file
from hamlearn.model.hamlearning import HamLearning
from hamlearn.runs import RunFacts
from hamlearn.settings import GraphSettings
from hamlearn.systems import ABLATIONS

log = logging.getLogger(__name__)

NO_DETECTOR = "none"  # the detector's word in the scores of runs without pictures


def export(run_folder: str | Path, out: str | Path, scores: str | Path | None = None) -> None:
    """Write a run as a folder that holds all that is needed to use it, but vision weights.

    The folder appears whole or not at all, and is read back before it does. The same run and scores
    give the same bytes.

    Args:
        run_folder: of a finished training.
        out: the folder; an exported model that is there already is replaced.
        scores: a scores file of the workflow, or the gathered metrics.csv; the rows of this
            variant, seed and detector go along.

    Raises:
        HamlearnError: the run is not whole, or is of another system than HamLearning; `out` holds
            something else; or the scores have no row of this run.
    """
    run_folder, out = Path(run_folder), Path(out)
    if out.is_symlink() or (out.exists() and not _is_replaceable(out)):
        raise HamlearnError(
            f"{out}: holds something else than an exported model; expected a new folder"
        )
    run = runs.load_run(run_folder)
    if not isinstance(run.tagger, HamLearning):
        raise HamlearnError(
            f"{run_folder}: found the variant {run.facts.system}, expected one of"
            f" {', '.join(ABLATIONS)}, text_only: systems that these are compared with are not"
            " exported"
        )
    facts = _facts(run.facts)
    with atomic_write(out) as part:
        part.mkdir()
        shutil.copyfile(run_folder / runs.WEIGHTS, part / WEIGHTS)
        (part / ENCODER).mkdir()
        for path in sorted((run_folder / runs.ENCODER).iterdir()):
            if path.is_file() and is_allowed(f"{ENCODER}/{path.name}"):
                shutil.copyfile(path, part / ENCODER / path.name)
        _write_json(part / FACTS, facts.model_dump(mode="json"))
        rows = [] if scores is None else _write_scores(scores, facts, part / SCORES)
        (part / CARD).write_text(write_card(facts, rows), encoding="utf-8")
        _write_manifest(part)
        read_model(part)
    log.info("%s: %s with %d labels, written", out, facts.variant, len(facts.labels))


def _is_replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))


def _facts(run: RunFacts) -> Facts:
    """Return what model.json says, from what run.json says."""
    text = run.text.model_dump()
    encoder = Path(text["encoder"])  # a folder of this machine is nobody else's business
    text["encoder"] = encoder.name if encoder.is_absolute() else text["encoder"]
    sizes = run.sizes.model_dump(include={"image", "object", "classes"})
    return Facts.model_validate(
        {
            "schema_version": SCHEMA_VERSION,
            "hamlearn": run.hamlearn,
            "variant": run.system,
            "labels": run.labels,
            "dimensions": sizes,
            "text": text,
            "model": run.model.model_dump(),
            "batch_size": run.training.eval_batch_size,
            "vision": _vision(run),
            "trained": {
                "seed": run.seed,
                "epoch": run.epoch,
                "epochs": run.training.epochs,
                "posts": {split: counts.posts for split, counts in run.splits.items()},
                "missing_pictures": {
                    split: counts.missing_images for split, counts in run.splits.items()
                },
                "parameters": run.parameters,
                "dev_f1": run.dev_f1,
            },
        }
    )


def _vision(run: RunFacts) -> dict[str, Any] | None:
    """Return how the pictures of the training became what the model saw."""
    if not run.inputs.files:
        return None
    return {
        "backbone": run.networks["images"].model_dump(exclude={"versions"}),
        "detector": run.networks["objects"].model_dump(exclude={"versions"}),
        "classes": run.classes,
        "graph": run.graph or GraphSettings(),
    }


def _write_scores(source: str | Path, facts: Facts, out: Path) -> list[dict[str, Any]]:
    """Write the rows of this run and return those that the card shows."""
    from hamlearn.evaluation.evaluate import ALL, read_scores

    scores = read_scores(source)
    detector = NO_DETECTOR if facts.vision is None else facts.vision.detector.name
    mine = scores[
        (scores["variant"] == facts.variant)
        & (scores["seed"] == facts.trained.seed)
        & (scores["detector"] == detector)
    ]
    if mine.empty:
        raise HamlearnError(
            f"{source}: found no row of variant {facts.variant}, seed {facts.trained.seed} and"
            f" detector {detector}, expected the scores of this run"
        )
    if mine["corpus"].nunique() > 1:
        raise HamlearnError(
            f"{source}: found rows of {', '.join(sorted(mine['corpus'].unique()))};"
            " expected the scores of one corpus"
        )
    mine.to_csv(out, index=False, lineterminator="\n")
    shown = mine[mine["cue"] == ALL]
    return [{str(name): value for name, value in row.items()} for row in shown.to_dict("records")]


def _write_manifest(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": digest_of_file(path),
            "size": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    _write_json(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, "files": files})


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
