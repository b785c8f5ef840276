"""Snapshots of the Hugging Face hub in its cache: found, and fetched only on request.

A snapshot is one revision of a repository. It is used whole or not at all: its config.json is
fetched last.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from hamlearn.errors import HamlearnError

CONFIG = "config.json"
SECONDS = 10.0  # to wait for an answer
_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?")
_TEXTS = (".json", ".txt", ".model")  # configurations and vocabularies; no code


def is_id(name: str | Path) -> bool:
    """Return True if a name is no folder and can be an id of the hub."""
    path = Path(name)
    if not is_form_of_id(str(name)) or path.exists():
        return False
    return "/" not in str(name) or not path.parent.is_dir()  # else a mistyped folder in that one


def is_form_of_id(name: str) -> bool:
    """Return True if a name has the form of an id of the hub."""
    return _ID.fullmatch(name) is not None


def snapshot(name: str, revision: str | None = None) -> Path | None:
    """Return the folder of a snapshot in the cache, or None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, CONFIG, revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def local_folder(name: str, revision: str | None = None) -> Path:
    """Return a folder as it is, or that of the snapshot of an id of the hub. Nothing is fetched.

    Raises:
        HamlearnError: it is absent; the message says how it is fetched.
    """
    if not is_id(name):
        if not Path(name).is_dir():
            raise HamlearnError(f"{name}: found no such folder, expected one with {CONFIG}")
        return Path(name)
    found = snapshot(name, revision)
    if found is None:
        raise HamlearnError(absent(name, revision))
    return found


def absent(name: str, revision: str | None) -> str:
    """Return the message about a snapshot that is not in the cache."""
    return (
        f"{name}: found no folder of this name, and no snapshot of its revision"
        f" {revision or 'main'} in the cache of the Hugging Face hub, which is not contacted"
        " unasked; expected one: fetch it by `python -m hamlearn weights fetch --settings FILE`"
    )


def place(name: str) -> Path:
    """Return the folder of a repository in the cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")


def published_files(name: str, revision: str | None = None) -> tuple[str, dict[str, int]]:
    """Ask the hub for the commit of a revision and the sizes of the files that are fetched of it.

    Raises:
        HamlearnError: the hub does not answer, or has no such repository or revision.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise HamlearnError(f"{name}: the hub is not asked, since HF_HUB_OFFLINE is set")
    try:
        info = HfApi().model_info(name, revision=revision, timeout=SECONDS, files_metadata=True)
    except Exception as error:  # of the libraries below huggingface_hub too
        reason = f"{error!s:.300}".splitlines()[0]
        raise HamlearnError(f"{name}: the Hugging Face hub gives no answer ({reason})") from error
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return str(info.sha), {file: sizes[file] for file in wanted(sizes)}


def wanted(files: Iterable[str]) -> list[str]:
    """Return the files of a repository that are read: configurations, vocabularies and weights.

    Weights are those in safetensors, or in PyTorch's format where there are none.
    """
    names = [name for name in files if "/" not in name]
    weights = [name for name in names if _WEIGHTS.fullmatch(name)]
    safe = [name for name in weights if ".safetensors" in name]
    texts = [name for name in names if name.endswith(_TEXTS) and name not in weights]
    return sorted({*texts, *(safe or weights)})


def fetch(name: str, revision: str | None = None) -> Path:
    """Fetch a snapshot into the cache, config.json last, and return its folder.

    Raises:
        HamlearnError: the hub does not answer, has no such snapshot, or it has no config.json.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    commit, sizes = published_files(name, revision)
    if CONFIG not in sizes:
        raise HamlearnError(f"{name}: found no {CONFIG} in this repository, expected one")
    others = sorted(sizes.keys() - {CONFIG})
    try:
        snapshot_download(name, revision=commit, allow_patterns=others)
        hf_hub_download(name, CONFIG, revision=commit)
        if revision != commit:  # so that the cache knows the commit of the revision
            hf_hub_download(name, CONFIG, revision=revision)
    except Exception as error:
        reason = f"{error!s:.300}".splitlines()[0]
        raise HamlearnError(f"{name}: not fetched ({reason})") from error
    return local_folder(name, revision)
