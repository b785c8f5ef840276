"""The weights of a model's vision networks: found as in training, or held by the model itself.

A model folder may hold them in vision/images and vision/objects, as safetensors: those of
transformers with the JSON files of their folder, all others as one file, whose stem is that of the
file it was made from, which tells how an image is prepared.
"""

import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from hamlearn.distribution import root
from hamlearn.encoder_files import read_files
from hamlearn.errors import HamlearnError
from hamlearn.io import canonical, digest_of_file
from hamlearn.networks import BACKBONES, DETECTORS, PRECOMPUTED, DetectorSettings, WeightSettings
from hamlearn.runs import RunFacts, VisionNetwork
from hamlearn.sources import parse_source

if TYPE_CHECKING:
    from hamlearn.vision.base import Backbone, Detector
    from hamlearn.vision.weight_files import WeightFile

CONVERTED = Path("results/weights")  # where the workflow puts converted weights by default
TEXTS = (".json", ".txt", ".model")  # configurations and vocabularies
MODEL_FILE, SUFFIX = "model.safetensors", ".safetensors"
# Files that a model holds and their sha256, by kind of network.
Held: TypeAlias = Mapping[str, Mapping[Path, str]]
NONE_HELD: Held = MappingProxyType({})
AnySettings = TypeVar("AnySettings", bound=WeightSettings)


def find_weights(
    network: VisionNetwork,
    table: Mapping[str, WeightSettings],
    kind: type[AnySettings],
    folder: str | Path | None,
    held: Mapping[Path, str] = MappingProxyType({}),
    functions: Collection[str] = (),
) -> AnySettings:
    """Return the settings, of type `kind`, that load a network as it was in training.

    `table` has the built-in networks. The files that the model holds are taken, if any; else
    weights are searched in `folder` first. `functions` are those outside of hamlearn that may load
    a network, as `package.module:function`.

    Raises:
        HamlearnError: the weights are absent, and the message lists the places; or the network is
            loaded by a function outside of hamlearn that is not among `functions`.
    """
    from hamlearn.vision.published import cached, is_weight_file, published

    source = source_of(network, table)
    library, name = parse_source(source)
    if library == "python" and source not in [each.source for each in table.values()]:
        if name not in functions:
            raise HamlearnError(
                f"{network.name}: found {source}, code that is not hamlearn's own and is not run"
                f" unasked; if you trust it, add `--system {name}`, or give feature files"
            )
        places = [Path(folder or ".") / network.weights, CONVERTED / network.weights]
        stated = next((str(place) for place in places if place.is_file()), network.weights)
        return kind.model_validate({"source": source, "weights": stated})
    if library == "transformers":
        if held:
            return kind.model_validate({"source": f"transformers:{_checked_folder(held)}"})
        beside = None if folder is None else Path(folder) / Path(name).name
        if beside is not None and beside.is_dir():
            return kind.model_validate({"source": f"transformers:{beside}"})
        return kind.model_validate({"source": source, "revision": network.revision})
    chosen: dict[str, Any] = {"source": source, "weights": network.weights}
    backend = network.settings.get("backend")
    if "backend" in kind.model_fields and backend in ("torchvision", "detectron2"):
        chosen["backend"] = backend
    if held:
        file, digest = next(iter(held.items()))
        return kind.model_validate(chosen | {"weights": str(file), "sha256": digest})
    if library == "timm" and network.revision is not None:
        return kind.model_validate({"source": source, "revision": network.revision})
    is_named = library == "torchvision" and not is_weight_file(network.weights)
    if network.random or (is_named and not published(source).named):
        return kind.model_validate(chosen)
    chosen["sha256"] = network.sha256
    url = published(source).named.get(network.weights)
    kept = None if url is None else cached(url)  # where torch keeps weights of that name
    name = network.weights.partition(", of ")[0] if kept is None else kept.name
    places = [] if folder is None else [Path(folder) / name]
    if kept is not None:
        places.append(kept)
    else:
        usual = Path(table[network.name].stated_weights()) if network.name in table else Path()
        places += [usual, root() / usual] if usual.name == name else []
        places.append(CONVERTED / name)
    for place in places:
        if place.is_file():
            # A published name also states how an image is prepared: it is kept for its own file.
            path = {} if place == kept else {"weights": str(place)}
            return kind.model_validate(chosen | path)
    raise HamlearnError(
        f"{network.name}: found no weights {network.weights} (sha256 {network.sha256}); looked for"
        f" {', '.join(map(str, places))}; published {weight_file(network, table).origin};"
        " `--weights` names a folder that holds them"
    )


def converted_beside(model: str | Path) -> Path | None:
    """Return where the workflow that trained a model put converted weights, if it did.

    The model RESULTS/models/CORPUS/DETECTOR/VARIANT/seedN has them in RESULTS/weights.
    """
    above = Path(model).absolute().parents
    weights = above[4] / "weights" if len(above) > 4 and above[3].name == "models" else None
    return weights if weights is not None and weights.is_dir() else None


def source_of(network: VisionNetwork, table: Mapping[str, WeightSettings]) -> str:
    """Return the source of a network; "" where none is known."""
    own = table[network.name].source if network.name in table else None
    return network.source or own or ""


def weight_file(network: VisionNetwork, table: Mapping[str, WeightSettings]) -> "WeightFile":
    """Return where the weights of a network of the training are published."""
    from hamlearn.vision.network_files import Network
    from hamlearn.vision.weight_files import network_file

    library = parse_source(source := source_of(network, table)).kind
    stated = None if library == "transformers" or network.revision else network.weights
    settings = WeightSettings(source=source, weights=stated, revision=network.revision)
    return network_file(Network("", network.name, settings))


def origin_of(kind: str, network: VisionNetwork) -> str:
    """Return where the weights of a network are published, in words."""
    if network.name == PRECOMPUTED:
        return "features from files, made by another program"
    table: Mapping[str, WeightSettings] = BACKBONES if kind == "images" else DETECTORS
    source = source_of(network, table)
    if source not in [one.source for one in table.values()] and source.startswith("python:"):
        return f"code outside of hamlearn, `{source}`: features are read from files"
    return weight_file(network, table).origin


def _checked_folder(held: Mapping[Path, str]) -> Path:
    """Return the folder of a held model of transformers, whose config.json names nothing else."""
    from hamlearn.vision.network_files import check_held

    for path, digest in held.items():
        if digest_of_file(path) != digest:
            raise HamlearnError(f"{path}: was changed after the model was loaded; load it again")
    folder = next(iter(held)).parent
    check_held(folder)
    return folder


def check_loaded(network: VisionNetwork, loaded: "Backbone | Detector", is_copy: bool) -> None:
    """Refuse a network with other weights or another preprocessing than in training.

    The file of a copy has a digest of its own, which the manifest of the model states.
    """
    of_weights, digest = f"sha256 of {network.weights}", loaded.weights.digest
    preprocessing = json.loads(canonical(loaded.preprocessing))
    for key, found, expected in (
        (of_weights, network.sha256 if is_copy else digest, network.sha256),
        ("preprocessing", preprocessing, network.settings.get("preprocessing")),
    ):
        if found != expected:
            raise HamlearnError(
                f"{network.name}: {key}: found {found!r:.80}, expected {expected!r:.80} as in"
                " training"
            )


# --- copies -------------------------------------------------------------------------------------


def copy_weights(facts: RunFacts, weights: str | Path | None, folder: Path) -> None:
    """Write the weights of all vision networks of a model, as safetensors, below `folder`.

    Random weights are drawn again where the model is used, and are not written.

    Args:
        facts: of the model.
        weights: folder that is searched first.
        folder: vision/ of the copy.

    Raises:
        HamlearnError: weights are absent or not those of the training, or there are none to copy:
            features came from files, or from code outside of hamlearn.
    """
    for kind, network in facts.networks.items():
        if network.name == PRECOMPUTED:
            raise HamlearnError(
                f"--with-vision: found {kind} whose features came from files, expected a network;"
                " export without it"
            )
        settings: WeightSettings
        if kind == "images":
            settings = find_weights(network, BACKBONES, WeightSettings, weights)
        else:
            settings = find_weights(network, DETECTORS, DetectorSettings, weights)
        if not network.random:
            _copy(network, settings, folder / kind)


def _copy(network: VisionNetwork, settings: WeightSettings, out: Path) -> None:
    from safetensors.torch import save_file

    from hamlearn import hub
    from hamlearn.vision.network_files import Network
    from hamlearn.vision.weight_files import network_file
    from hamlearn.vision.weights import read_state

    found = network_file(Network("", network.name, settings))
    path = found.path
    if found.hub_id is not None:
        path = hub.snapshot(found.hub_id, found.revision)
    files = [] if path is None else [path]
    if path is not None and path.is_dir():
        files = [Path(one) for one in read_files(path)]
    if not files:
        raise HamlearnError(f"{network.name}: found no weights {network.weights}, expected a file")
    out.mkdir(parents=True)
    is_folder = parse_source(settings.source or "").kind == "transformers"
    if is_folder:
        for file in files:
            if file.suffix in TEXTS and not file.name.endswith(".index.json"):
                shutil.copyfile(file, out / file.name)
    parts = [file for file in files if file.suffix not in TEXTS]
    stem = re.sub(r"^[^A-Za-z0-9]|[^A-Za-z0-9._-]", "_", parts[0].stem).lstrip("_")
    target = out / (MODEL_FILE if is_folder else f"{stem}{SUFFIX}")
    if len(parts) == 1 and parts[0].suffix == SUFFIX:
        shutil.copyfile(parts[0], target)
        return
    state: dict[str, Any] = {}
    for part in parts:
        state |= {name: value.clone().contiguous() for name, value in read_state(part).items()}
    save_file(state, target, {"format": "pt"})
