"""Models on the Hugging Face hub: fetched by the id of a repository, and pushed to one.

The library finds the token of the user: the variable HF_TOKEN, or the login of `hf auth login`. The
variable HF_ENDPOINT names another hub.
"""

import logging
from pathlib import Path

from hamlearn import hub
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import CARD, ENCODER, FACTS, MANIFEST, verify

TEXTS = ("txt", "model", "jinja")  # files of tokenizers
# What may be fetched: no code, and no pickle.
PATTERNS = ("*.json", "*.csv", CARD, "*.safetensors", *(f"{ENCODER}/*.{end}" for end in TEXTS))
KEPT = ".gitattributes"  # the hub's own
log = logging.getLogger(__name__)


def is_hub_id(name: str | Path) -> bool:
    """Return True if a name is no folder and has the form `user/model`."""
    return str(name).count("/") == 1 and hub.is_id(name)


def local_model(name: str | Path, revision: str | None = None) -> Path:
    """Return a model folder as it is, or the snapshot of an id of the hub, which is fetched.

    Without a connection, or with HF_HUB_OFFLINE, the snapshot in the cache is taken.

    Raises:
        HamlearnError: the hub has no such model, or does not answer and the cache has none; or a
            folder has a `revision`.
    """
    if not is_hub_id(name):
        if revision is not None:
            fault = f"found {revision!r:.60}, expected none: only models of the hub have revisions"
            raise HamlearnError(f"{name}: revision: {fault}")
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                str(name),
                revision=revision,
                allow_patterns=[*PATTERNS],
                etag_timeout=hub.SECONDS,
            )
        )
    except Exception as error:  # of the libraries below huggingface_hub too
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(
            f"{name}: found no folder of this name, and revision {revision or 'main'} of the model"
            f" cannot be fetched from the hub ({reason})"
        ) from error


def push_to_hub(
    folder: str | Path, name: str, private: bool = False, revision: str | None = None
) -> str:
    """Put an exported model into a repository of the hub, which is created if absent.

    Everything changes in one commit; other files of the repository are deleted.

    Args:
        folder: as `export` wrote it.
        name: user/model.
        private: of a new repository.
        revision: the branch; None: main.

    Returns:
        The URL of the commit.

    Raises:
        HamlearnError: the folder is no exported model, or the hub refuses it or does not answer.
    """
    folder = Path(folder)
    files = verify(folder)
    if CARD not in files:
        raise HamlearnError(
            f"{folder}: found no {CARD}, expected an exported model: `hamlearn export {folder} OUT`"
        )
    if name.count("/") != 1 or not hub.is_form_of_id(name):
        raise HamlearnError(f"{name:.100}: found no id of a repository, expected user/model")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, names = HfApi(), sorted([*files, MANIFEST])
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        present = api.list_repo_files(name, revision=revision)
        old = sorted({*present} - {*names, KEPT})
        done = api.create_commit(
            name,
            [
                *(CommitOperationAdd(one, folder / one) for one in names),
                *(CommitOperationDelete(one) for one in old),
            ],
            commit_message=f"Add a model exported by hamlearn ({files[FACTS].sha256[:8]})",
            revision=revision,
        )
    except Exception as error:  # of the libraries below huggingface_hub too
        reason = " ".join(f"{error!s:.300}".split())
        raise HamlearnError(f"{name}: not pushed ({reason})") from error
    log.info("%s: %d files pushed, %d deleted", name, len(names), len(old))
    return str(done.commit_url)
