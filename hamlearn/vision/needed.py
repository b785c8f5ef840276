"""Every file of weights that a configuration inputs: where it should lie, and where to get it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.models import ResNet152_Weights
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file
from hamlearn.settings import Settings, WeightSettings
from hamlearn.systems import inputs_of
from hamlearn.vision.fetching import fetch
from hamlearn.vision.published import FASTER_RCNN, MASK_RCNN
from hamlearn.vision.weights import RANDOM, cached, digest_in_name

# The addresses of names that publishers give, by network.
NAMED = {
    "resnet152": {weights.name: weights.url for weights in ResNet152_Weights},
    "mask_rcnn": {weights.name: weights.url for weights in MaskRCNN_ResNet50_FPN_Weights}
    | MASK_RCNN,
}
# The addresses of files that are configured by path, by network and file name.
FILES = {
    "faster_rcnn": FASTER_RCNN,
    "mask_rcnn": {url.rsplit("/", 1)[1]: url for url in MASK_RCNN.values()},
}
HUB = "https://huggingface.co"
_FILES_OF_ENCODER = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Needed:
    """One file of weights.

    Attributes:
        what: whose they are.
        path: where they are looked for; None where no file is needed.
        said: where the publishers put them, or why no file is needed.
        url: address to fetch them from, or None.
        sha256: the expected digest or its beginning, or None where none is known.
    """

    what: str
    path: Path | None
    said: str
    url: str | None = None
    sha256: str | None = None

    def state(self) -> str:
        """Return whether the file is there and is the expected one; the file is read for that."""
        if self.path is None:
            return "no file needed"
        if not self.path.is_file():
            return "absent"
        if self.sha256 is None:
            return "present"
        digest = digest_of_file(self.path)
        is_right = digest.startswith(self.sha256)
        return (
            "present, verified"
            if is_right
            else f"present, checksum mismatch: its sha256 is {digest}"
        )

    def text(self) -> str:
        """Return what is to be said of it, in lines."""
        lines = [f"{self.what}: {self.state()}"]
        if self.path is not None:
            lines.append(f"  looked for  {self.path.absolute()}")
        lines.append(f"  published   {self.said}")
        if self.path is not None:
            shown = self.sha256 or "none known"
            short = self.sha256 is not None and len(self.sha256) < 64
            lines.append(f"  sha256      {shown}{'... (its beginning)' if short else ''}")
        return "\n".join(lines)


def needed_files(settings: Settings) -> list[Needed]:
    """Return the weights of the backbone, of the detectors, and of the text encoder.

    Raises:
        HamlearnError: a network that is asked for is not configured.
    """
    found = []
    if any("images" in inputs_of(name).files for name in settings.variants):
        found.append(_network("backbone", settings.backbone, settings.image_features.backbones))
    if any("objects" in inputs_of(name).files for name in settings.variants):
        for name in settings.detector:
            if name != "precomputed":
                table = settings.object_features.detectors
                found.append(_network("detector", name, table))
    return [*found, _encoder(settings.text.encoder)]


def fetch_needed(settings: Settings) -> Iterator[tuple[Needed, str]]:
    """Fetch what is absent and can be had and verified; yield every file and what became of it."""
    for file in needed_files(settings):
        state = file.state()
        if state == "absent" and file.path is not None:
            if file.url is None:
                state = "absent, and no address to fetch it from"
            elif file.sha256 is None:
                state = "absent, and not fetched: set `sha256`, without it nothing is verified"
            else:
                fetch(file.url, file.path, file.sha256)
                state = "fetched, verified"
        yield file, state


def _network(kind: str, name: str, table: Mapping[Any, WeightSettings]) -> Needed:
    what = f"{kind} {name}"
    if name not in table:
        raise HamlearnError(f"settings: no weights of {what}, expected one of {', '.join(table)}")
    chosen = table[name]
    if chosen.weights == RANDOM:
        return Needed(what, None, "random weights: visual scores carry no meaning")
    url = NAMED.get(name, {}).get(chosen.weights)
    if url is not None:
        path = cached(url)
        return Needed(what, path, url, url, chosen.sha256 or digest_in_name(path))
    path = Path(chosen.weights)
    url = FILES.get(name, {}).get(path.name)
    others = ", ".join((FILES.get(name) or NAMED.get(name) or {}).values())
    said = f"not under this name, but as {others}" if others else "not known"
    if name == "demo":
        said = "in this repository"
    return Needed(what, path, url or said, url, chosen.sha256)


def _encoder(name: str) -> Needed:
    """Return the weights of the text encoder, a folder or a name of the Hugging Face hub."""
    from huggingface_hub import constants, try_to_load_from_cache

    what = f"text encoder {name}"
    if name == "scratch":
        return Needed(what, None, "trained with the rest, without any file")
    folder = Path(name)
    if folder.is_dir() or folder.is_absolute() or len(folder.parts) > 2 or name[0] == ".":
        places = [folder / file for file in _FILES_OF_ENCODER]
        present = [place for place in places if place.is_file()]
        return Needed(what, (present or places)[0], "as the folder's source tells")
    hits = (try_to_load_from_cache(name, file) for file in _FILES_OF_ENCODER)
    present = [Path(hit) for hit in hits if isinstance(hit, str)]
    cache = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    said = f"{HUB}/{name}; transformers fetches it when a training begins"
    return Needed(what, (present or [cache / _FILES_OF_ENCODER[0]])[0], said)
