"""Export a trained model: its folder with its scores and a model card, to be handed over."""

import logging
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import (
    CARD,
    FACTS,
    SCORES,
    load_model,
    unchanged_model,
    verify,
    write_json,
    write_manifest,
)
from hamlearn.io import markdown
from hamlearn.outputs import MODEL, atomic_folder, check_folder
from hamlearn.runs import RunFacts, VisionNetwork
from hamlearn.systems import CONTROLS, NO_DETECTOR
from hamlearn.templates import environment

log = logging.getLogger(__name__)


def export(
    folder: str | Path,
    out: str | Path,
    scores: str | Path | None = None,
    systems: Collection[str] = (),
) -> None:
    """Copy a model folder, with a model card and, if given, its scores.

    The copy is written atomically, and loaded before that; a model folder at `out` is replaced. It
    names no folder of this machine. The same model and scores give the same bytes. `scores` is a
    scores file of the workflow or metrics.csv, of which the rows of this system, seed and detector
    are copied. `systems` are those of `load_model`.

    Raises:
        HamlearnError: the model cannot be loaded or is replaced meanwhile, `out` holds something
            else, or the scores have no row of this model.
    """
    folder, out = Path(folder), Path(out)
    check_folder(out, MODEL)
    with atomic_folder(out, MODEL) as part, unchanged_model(folder):
        facts = _without_paths(load_model(folder, systems).facts)
        for name in sorted(verify(folder).keys() - {SCORES, CARD}):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, part / name)
        write_json(part / FACTS, facts.model_dump(mode="json"))
        rows = [] if scores is None else _write_scores(scores, facts, part / SCORES)
        (part / CARD).write_text(model_card(facts, rows), encoding="utf-8")
        write_manifest(part)
        load_model(part, systems)
    log.info("%s: %s with %d labels, written", out, facts.system, len(facts.labels))


def model_card(facts: RunFacts, rows: list[dict[str, Any]]) -> str:
    """Return the model card as Markdown, with these rows of a scores file, or the scores on dev."""
    templates = environment("hamlearn.inference", autoescape=False)  # `markdown` escapes
    templates.filters["markdown"] = markdown
    return (
        templates.get_template("model_card.md.jinja").render(
            facts=facts,
            about=facts.network_of_system.about,
            random=[
                markdown(network.name) for network in facts.networks.values() if network.random
            ],
            describe=_describe,
            corpora=", ".join(sorted({markdown(row["corpus"]) for row in rows})),
            rows=rows,
            percent=lambda share: f"{100 * share:.2f}",
        )
        + "\n"
    )


def _without_paths(facts: RunFacts) -> RunFacts:
    """Replace folders of this machine by their last name."""
    encoder, vectors = Path(facts.text.encoder), facts.text.word_vectors
    names = {
        "encoder": encoder.name if encoder.is_absolute() else facts.text.encoder,
        "word_vectors": None if vectors is None else Path(vectors).name,
    }
    return facts.model_copy(update={"text": facts.text.model_copy(update=names)})


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
