"""Where the weights of a model's vision networks lie on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from hamlearn.errors import HamlearnError
from hamlearn.inference.layout import Network
from hamlearn.settings import Settings, WeightSettings

CONVERTED = Path("results/weights")  # where the workflow puts weights that it converted
SOURCE = Path(__file__).parents[2]  # the checkout, for the demo's own weights
Chosen = TypeVar("Chosen", bound=WeightSettings)


def settings_of(network: Network, kind: type[Chosen], folder: str | Path | None) -> Chosen:
    """Return the settings that load a network as it was in training; nothing is downloaded.

    Args:
        network: as model.json describes it.
        kind: WeightSettings or DetectorSettings.
        folder: looked into first.

    Raises:
        HamlearnError: the weights are nowhere; the message lists the places.
    """
    chosen: dict[str, Any] = {"weights": network.weights}
    backend = network.settings.get("backend")
    if "backend" in kind.model_fields and backend in ("torchvision", "detectron2"):
        chosen["backend"] = backend
    if network.random:
        return kind.model_validate(chosen)
    chosen["sha256"] = network.sha256
    published = _published(network)
    places = list(_places(network, folder, published))
    for place in places:
        if place.is_file():
            # A published name also says how a picture is prepared, so it is kept where it is used.
            is_cached = published is not None and place == published
            chosen["weights"] = network.weights if is_cached else str(place)
            return kind.model_validate(chosen)
    raise HamlearnError(
        f"{network.name}: found no weights {network.weights} (sha256 {network.sha256}); looked for"
        f" {', '.join(map(str, places))}; `--weights` names a folder that holds them"
    )


def _published(network: Network) -> Path | None:
    """Return where torch keeps weights that go by a published name."""
    from hamlearn.vision.needed import NAMED
    from hamlearn.vision.weights import cached

    url = NAMED.get(network.name, {}).get(network.weights)
    return None if url is None else cached(url)


def _places(network: Network, folder: str | Path | None, published: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder) / (network.weights if published is None else published.name)
    if published is not None:
        yield published
        return
    usual = Settings()
    tables = (usual.image_features.backbones, usual.object_features.detectors)
    for table in tables:
        for name, settings in table.items():
            path = Path(settings.weights)
            if name == network.name and path.name == network.weights:
                yield path
                yield SOURCE / path
    yield CONVERTED / network.weights
