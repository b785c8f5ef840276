"""The model card: what a model is, what it was trained on, how good it is, what it is for."""

import re
from typing import Any

from markupsafe import Markup

from hamlearn.inference.layout import Facts, Network
from hamlearn.systems import SYSTEMS
from hamlearn.templates import environment

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def write_card(facts: Facts, rows: list[dict[str, Any]]) -> str:
    """Return the card as Markdown.

    Args:
        facts: of the model.
        rows: scores to show, the columns of a scores file; without any, those on dev are shown.
    """
    vision = facts.vision
    networks = [] if vision is None else [vision.backbone, vision.detector]
    # Markdown: texts that are not ours are escaped by the filter `cell`.
    templates = environment("hamlearn.inference", autoescape=False)
    templates.filters["cell"] = cell
    corpora = sorted({str(row["corpus"]) for row in rows})
    card = templates.get_template("model_card.md.jinja").render(
        facts=facts,
        meanings={name: f", {variant.about}" for name, variant in SYSTEMS.items()},
        types=list(dict.fromkeys(label[2:] for label in facts.labels if label != "O")),
        random=[cell(network.name) for network in networks if network.random],
        network=_network,
        missing=lambda split: _missing(facts.trained.missing_pictures.get(split)),
        corpora=f"Corpus: {', '.join(map(cell, corpora))}." if corpora else "",
        rows=rows,
        percent=lambda share: f"{100 * share:.2f}",
    )
    return f"{card}\n"


def cell(text: object) -> str:
    """Return a text as it can stand in a table of Markdown: in one line, nothing of it markup."""
    return _MARKS.sub(r"\\\1", str(Markup.escape(" ".join(str(text).split()))))


def _network(network: Network) -> str:
    if network.random:
        return f"{cell(network.name)}, random weights: carries no meaning"
    return f"{cell(network.name)}, {cell(network.weights)}, sha256 `{network.sha256}`"


def _missing(count: int | None) -> str:
    return "pictures are not looked at" if count is None else str(count)
