"""The weights that a configuration needs: listed with their places and sizes, and fetched."""

import textwrap
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hamlearn import hub
from hamlearn.encoder_files import SCRATCH, read_files
from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file
from hamlearn.networks import WeightSettings
from hamlearn.settings import TextSettings
from hamlearn.vision.network_files import Network, in_words
from hamlearn.vision.published import (
    RANDOM,
    cached,
    fetch,
    file_name,
    known_digest,
    published,
    torchvision_urls,
)

WIDTH = 79
SECONDS = 5.0  # to wait for the size of a file


@dataclass(frozen=True)
class WeightFile:
    """One file of weights, or one snapshot of the Hugging Face hub, that a configuration needs.

    Attributes:
        network: the network, in words.
        path: where the file or folder is looked for; None where none is needed.
        origin: where it is published, or why no file is needed.
        url: the URL to fetch a file from, or None.
        sha256: the expected digest or its beginning, or None if unknown.
        hub_id: the id of a snapshot, or None.
        revision: of a snapshot.
        terms: the licence, in words.
    """

    network: str
    path: Path | None
    origin: str
    url: str | None = None
    sha256: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    terms: str = "those of their publisher"

    def state(self) -> str:
        """Return whether it is present and has the expected digest, in words."""
        if self.path is None:
            return "no file needed"
        if self.hub_id is not None:
            return "absent" if hub.snapshot(self.hub_id, self.revision) is None else "present"
        if not self.path.exists():
            return "absent"
        if self.sha256 is None:
            return "present"
        digest = digest_of_file(self.path)
        is_right = digest.startswith(self.sha256)
        return f"present, {'verified' if is_right else f'checksum mismatch: sha256 is {digest}'}"

    def digest(self) -> str:
        """Return the expected sha256, else that of the file that is there, in words."""
        if self.sha256 is None and self.path is not None and self.path.is_file():
            return f"{digest_of_file(self.path)}, as found; none is expected"
        return self.sha256 or "unknown"

    def size(self) -> str:
        """Return the size in words: of what is present, else as its place of publication says."""
        place = self.path
        if self.hub_id is not None:
            place = hub.snapshot(self.hub_id, self.revision)
        try:
            if place is not None and place.exists():
                files = read_files(place) if place.is_dir() else [str(place)]
                return in_words(sum(Path(file).stat().st_size for file in files))
            if self.hub_id is not None:
                sizes = hub.published_files(self.hub_id, self.revision)[1]
                return in_words(sum(sizes.values()))
            if self.url is not None:
                asked = urllib.request.Request(self.url, method="HEAD")
                with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
                    return in_words(int(answer.headers["Content-Length"]))
        except (HamlearnError, OSError, TypeError, ValueError):
            return "unknown: it is absent, and where it is published gives no answer"
        return "unknown"

    def text(self) -> str:
        """Return a description of lines of at most 79 columns, but for longer paths and URLs."""
        values = {"published": self.origin}
        if self.path is not None:
            values = {"looked for": str(self.path.absolute()), **values}
            if self.hub_id is None:
                values["sha256"] = self.digest()
            values |= {"size": self.size(), "terms": self.terms}
        head = f"{self.network}: {self.state()}"
        return "\n".join([_filled(head, "", "  "), *(_entry(*item) for item in values.items())])


def _entry(key: str, value: str) -> str:
    """Return a key and its value, which begins in a new line where a word of it is too long."""
    indent = 14 * " "
    if max(map(len, value.split())) > WIDTH - len(indent):
        return f"  {key}\n{_filled(value, '    ', '    ')}"
    return _filled(value, f"  {key:<12}", indent)


def _filled(text: str, first: str, indent: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def weight_files(
    networks: Iterable[tuple[str, str, WeightSettings]], text: TextSettings
) -> Iterator[WeightFile]:
    """Yield the weights of networks, given by key, name and settings, and of the text encoder."""
    for given in networks:
        yield network_file(Network(*given))
    yield _encoder_file(text.encoder, text.revision)


def fetch_absent(file: WeightFile) -> str:
    """Fetch a file or snapshot if it is absent; return its state after that.

    A file without a known digest is not fetched, since nothing could be verified.
    """
    state = file.state()
    if state != "absent" or file.path is None:
        return state
    if file.hub_id is not None:
        hub.fetch(file.hub_id, file.revision)
        return "fetched"
    if file.url is None:
        return "absent, and no URL to fetch it from"
    if file.sha256 is None:
        return "absent, and not fetched: set `sha256`, without which nothing is verified"
    fetch(file.url, file.path, file.sha256)
    return "fetched, verified"


def network_file(network: Network) -> WeightFile:
    """Return the weights of one network."""
    settings, source = network.settings, network.source
    words = f"{'detector' if '.detectors.' in network.key else 'backbone'} {network.name}"
    if network.hub_id is not None:
        return _snapshot(words, network.hub_id, settings.revision)
    if source.kind == "transformers":
        return WeightFile(words, Path(source.name), "wherever the folder comes from")
    if settings.weights is None:
        return WeightFile(words, None, "its function states none")
    if settings.weights == RANDOM:
        return WeightFile(words, None, "random weights: visual scores carry no meaning")
    known = published(settings.source)
    named: Mapping[str, str] = known.named
    if source.kind == "torchvision":
        named = torchvision_urls(source.name)
    if url := named.get(settings.weights):
        path = cached(url)
        digest = settings.sha256 or known_digest(path)
        return WeightFile(words, path, url, url, digest, terms=known.terms)
    if network.file is None:
        return WeightFile(words, None, f"its function reads {settings.weights}")
    path = network.file
    urls = [*(known.files or named.values())]
    url = next((url for url in urls if file_name(url) == path.name), None)
    origin = f"not under this name, but as {', '.join(urls)}" if urls else known.origin
    return WeightFile(words, path, url or origin, url, settings.sha256, terms=known.terms)


def _encoder_file(name: str, revision: str | None) -> WeightFile:
    """Return the weights of the text encoder, a folder or an id of the Hugging Face hub."""
    words = f"text encoder {name}"
    if name == SCRATCH:
        return WeightFile(words, None, "no file: trained from scratch with the model")
    if hub.is_id(name):
        return _snapshot(words, name, revision)
    return WeightFile(words, Path(name), "wherever the folder comes from")


def _snapshot(words: str, name: str, revision: str | None) -> WeightFile:
    origin = f"https://huggingface.co/{name}, revision {revision or 'main'}"
    path = hub.snapshot(name, revision) or hub.place(name)
    return WeightFile(words, path, origin, hub_id=name, revision=revision)
