"""The files of the configured networks: what is read, what is absent, and how large it is.

The workflow imports this module while it is read: it needs no library of networks, and nothing is
imported or run to look at a network.
"""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hamlearn import hub
from hamlearn.distribution import located
from hamlearn.encoder_files import CONFIG, read_files, read_json, require_weights
from hamlearn.errors import HamlearnError
from hamlearn.io import canonical, digest_of_file
from hamlearn.networks import DetectorSettings, WeightSettings
from hamlearn.sources import Source, module_file, parse_source
from hamlearn.vision.published import RANDOM, cached, file_name, is_weight_file, published

PACKAGES = ("torchvision", "timm", "transformers")  # by kind of source
PREPROCESSOR = ("preprocessor_config.json", "processor_config.json")  # either
# What transformers loads as a vision model, and as a detector, by `model_type`. Those with a text
# tower give their vision tower.
VISION_TYPES = (
    *("aimv2", "aimv2_vision_model", "align", "altclip", "beit", "bit", "blip", "chinese_clip"),
    *("clip", "clip_vision_model", "convnext", "convnextv2", "cvt", "data2vec-vision", "deit"),
    *("dinat", "dinov2", "dinov2_with_registers", "dinov3_convnext", "dinov3_vit", "donut-swin"),
    *("efficientnet", "focalnet", "hgnet_v2", "hiera", "ijepa", "levit", "metaclip_2", "mlcd"),
    *("mlcd_vision_model", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2", "pixio"),
    *("poolformer", "pvt", "pvt_v2", "regnet", "resnet", "segformer", "siglip", "siglip2"),
    *("siglip2_vision_model", "siglip_vision_model", "swiftformer", "swin", "swinv2"),
    *("timm_wrapper", "vit", "vit_mae", "vit_msn"),
)
DETECTOR_TYPES = (
    *("conditional_detr", "d_fine", "dab-detr", "deformable_detr", "detr", "lw_detr", "rf_detr"),
    *("rt_detr", "rt_detr_v2", "table-transformer", "yolos"),
)
ZERO_SHOT_TYPES = ("grounding-dino", "mm-grounding-dino", "owlv2", "owlvit")


class Network(NamedTuple):
    """One network of the configuration: its key there, its name and its settings."""

    key: str
    name: str
    settings: WeightSettings

    @property
    def source(self) -> Source:
        """Where it comes from."""
        return parse_source(self.settings.source or "")

    @property
    def hub_id(self) -> str | None:
        """The id of the hub that its weights come from, or None."""
        kind, name = self.source
        if kind == "transformers" and hub.is_id(name):
            return name
        return f"timm/{name}" if kind == "timm" and self.settings.weights is None else None

    @property
    def folder(self) -> Path | None:
        """The folder or snapshot of its files; None without one, or where it is absent."""
        if self.hub_id is not None:
            return hub.snapshot(self.hub_id, self.settings.revision)
        return Path(self.source.name) if self.source.kind == "transformers" else None

    @property
    def file(self) -> Path | None:
        """The file of its weights, which may be absent; None if it has none, or none is known."""
        weights = self.settings.weights
        if weights is None or weights == RANDOM:
            return None
        if url := published(self.settings.source).named.get(weights):
            return cached(url)
        is_own = published(self.settings.source) == published(None)
        return None if is_own and not is_weight_file(weights) else located(weights)

    @property
    def is_cached(self) -> bool:
        """Whether its files lie in a cache of torch or of the hub, or come with hamlearn.

        Where they are then says nothing about what they hold.
        """
        weights = self.settings.weights
        is_named = weights in published(self.settings.source).named
        is_shipped = weights is not None and located(weights) != Path(weights)
        return self.hub_id is not None or is_named or is_shipped

    def files(self) -> list[str]:
        """Return the files that decide what it computes, but for the code of its library."""
        if self.folder is not None:
            return read_files(self.folder)
        return [] if self.file is None else [str(self.file)]

    def origin(self) -> dict[str, Any]:
        """Return its source, the commit of its snapshot, and the sha256 of files by their names.

        The files are those of a folder or snapshot, or the module of a `python:` source that is not
        hamlearn's own; a file of weights has its digest elsewhere.
        """
        files = [] if self.folder is None else read_files(self.folder)
        revision = self.folder.name if self.folder and self.hub_id else None
        if self.source.kind == "python" and not self.source.module.startswith("hamlearn."):
            own = module_file(self.source.module)
            files = [] if own is None else [str(own)]
        digests = {Path(file).name: digest_of_file(Path(file)) for file in files}
        return {"source": self.settings.source, "revision": revision, "files": digests}

    def describe(self) -> str:
        """Return what is loaded, in one line."""
        kind, name = self.source
        what = f"{kind}:{name}"
        if self.hub_id is not None:
            what += f", revision {self.settings.revision or 'main'} of {self.hub_id}"
        if self.settings.weights is not None:
            what += f", weights {self.settings.weights}"
        sizes = [Path(file).stat().st_size for file in self.files() if Path(file).is_file()]
        return f"{self.key}: {what}" + (f", {in_words(sum(sizes))}" if sizes else "")


def in_words(size: float) -> str:
    """Return a size in bytes as people write it."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            break
        size, unit = size / 1000, {"bytes": "kB", "kB": "MB", "MB": "GB"}[unit]
    return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"


def check(network: Network, installed: bool = True) -> None:
    """Check that a network can be loaded, as far as files tell.

    Args:
        network: of the configuration.
        installed: it is loaded in this environment, which must have its library; False where
            jobs have environments of their own.

    Raises:
        HamlearnError: a library, module, function, folder or file is absent, or a folder holds
            another kind of model. The message names the key.
    """
    kind, settings = network.source.kind, network.settings
    if isinstance(settings, DetectorSettings):
        if kind == "timm":
            raise HamlearnError(
                f"{network.key}.source: found {settings.source}, expected another source: timm has"
                " no detectors"
            )
        if kind == "torchvision" and settings.classes is not None:
            _refuse_classes(network, "a detector of torchvision")
    if kind == "transformers" and settings.revision is not None and network.hub_id is None:
        raise HamlearnError(
            f"{network.key}.revision: found {settings.revision!r:.60}, expected null: only the hub"
            f" has revisions, and {network.source.name:.100} is a folder or can be no id of it"
        )
    if installed and kind in PACKAGES:
        _require_package(network, kind)
    if kind == "python":
        check_function(f"{network.key}.source", network.source, installed)
    if kind == "transformers":
        check_folder(network)
        if installed and network.folder is not None and _needs_timm(network.folder):
            _require_package(network, "timm")
    elif network.hub_id is not None:
        _require_snapshot(network)
    if network.file is not None and not network.file.is_file():
        raise HamlearnError(_absent(network, network.file))


def check_function(place: str, source: Source, installed: bool = True) -> None:
    """Check that a `python:` source is a function of a module, without importing it.

    Args:
        place: key of the configuration, for messages.
        source: with the module and the function.
        installed: it is imported in this environment.

    Raises:
        HamlearnError: there is no such module or function.
    """
    file = module_file(source.module)
    if file is None:
        if not installed:
            return
        raise HamlearnError(
            f"{place}: found no module {source.module}, expected one in the working directory or"
            " an installed package"
        )
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise HamlearnError(f"{place}: {file}: not Python ({error})") from error
    if "*" not in (names := set(_defined(tree.body))) and source.function not in names:
        raise HamlearnError(
            f"{place}: {file}: found no {source.function}, expected a function of that name"
        )


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind; `*` for names that are not known."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case ast.Assign() | ast.AnnAssign():
                yield from (one.id for one in ast.walk(node) if isinstance(one, ast.Name))
            case ast.If() | ast.Try() | ast.With():
                inner = [one for one in ast.walk(node) if isinstance(one, ast.stmt)]
                yield from _defined([one for one in inner if one is not node])


def check_folder(network: Network) -> None:
    """Check the folder or snapshot of a `transformers:` source by its JSON files."""
    place = f"{network.key}.source"
    if network.hub_id is not None:
        _require_snapshot(network)
    folder = network.folder
    if folder is None or not folder.is_dir():
        raise HamlearnError(f"{place}: found no folder {network.source.name}, expected a model's")
    if not (folder / CONFIG).is_file():
        raise HamlearnError(f"{place}: {folder}: found no {CONFIG}, expected one")
    values = read_json(folder / CONFIG)
    model_type = values.get("model_type") if isinstance(values, dict) else None
    is_detector = isinstance(network.settings, DetectorSettings)
    known = (*DETECTOR_TYPES, *ZERO_SHOT_TYPES) if is_detector else VISION_TYPES
    if model_type not in known:
        what = "a detector" if is_detector else "a vision model"
        raise HamlearnError(
            f"{place}: {folder / CONFIG}: found the model_type {model_type!r:.60}, expected that of"
            f" {what}: {', '.join(known)}"
        )
    require_weights(folder, f"{place}: {folder}")
    if not any((folder / name).is_file() for name in PREPROCESSOR):
        raise HamlearnError(
            f"{place}: {folder}: found no {PREPROCESSOR[0]}, expected one, which says how an image"
            " is prepared"
        )
    classes = network.settings.classes if isinstance(network.settings, DetectorSettings) else None
    if model_type in ZERO_SHOT_TYPES and not classes:
        raise HamlearnError(
            f"{network.key}.classes: found none, expected names: a {model_type} finds what it is"
            " told"
        )
    if is_detector and model_type not in ZERO_SHOT_TYPES and classes is not None:
        _refuse_classes(network, f"a {model_type}")


def _refuse_classes(network: Network, what: str) -> None:
    raise HamlearnError(
        f"{network.key}.classes: found names, expected null: {what} has classes of its own"
    )


def _require_package(network: Network, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise HamlearnError(
            f"{network.key}.source: found {network.settings.source}, and {package} is not"
            f" installed: pip install {package}"
        )


def _needs_timm(folder: Path) -> bool:
    """Return True if a model has a backbone of timm."""
    values = read_json(folder / CONFIG)
    own = values.get("backbone_config") or {}
    return bool(values.get("use_timm_backbone") or own.get("model_type") == "timm_backbone")


def check_held(folder: Path) -> None:
    """Check the folder of transformers that a model of others holds, by its config.json.

    Raises:
        HamlearnError: it is of no vision model or detector, or requests program code.
    """
    values = read_json(folder / CONFIG)
    model_type = values.get("model_type") if isinstance(values, dict) else None
    if model_type not in (*VISION_TYPES, *DETECTOR_TYPES, *ZERO_SHOT_TYPES):
        raise HamlearnError(
            f"{folder / CONFIG}: found the model_type {model_type!r:.60}, expected that of a vision"
            " model or a detector"
        )
    for name in ("auto_map", "custom_pipelines", "quantization_config"):
        for file in (CONFIG, *PREPROCESSOR):
            if (folder / file).is_file() and f'"{name}"' in canonical(read_json(folder / file)):
                raise HamlearnError(
                    f"{folder / file}: {name}: found a request for program code, expected sizes"
                    " and names of functions alone"
                )


def _require_snapshot(network: Network) -> None:
    if network.hub_id is not None and network.folder is None:
        raise HamlearnError(
            f"{network.key}.source: {hub.absent(network.hub_id, network.settings.revision)}"
        )


def _absent(network: Network, file: Path) -> str:
    """Return the message about an absent file of weights."""
    known, settings = published(network.settings.source), network.settings
    urls = [url for url in (*known.named.values(), *known.files) if file_name(url) == file.name]
    origin = urls[0] if urls else ""
    if not urls and (known.files or known.named):
        origin = f"not under this name, but as {', '.join(known.files or known.named.values())}"
    digest = f", with the sha256 {settings.sha256}" if settings.sha256 else ""
    is_known = known != published(None)
    names = " or ".join([*known.named, RANDOM])
    fetch = "fetch it by `python -m hamlearn weights fetch --settings FILE`, " if urls else ""
    return (
        f"{network.key}.weights: found no file {file.absolute()}, expected the weights of"
        f" {network.name}: published {origin or known.origin}{digest}; see docs/data.md#weights."
        f" {fetch or 'Put a copy there, '}or set the key to the path of one"
        f"{f', or to {names}' if is_known or network.source.kind == 'torchvision' else ''}"
    ).replace(". fetch", ". Fetch")
