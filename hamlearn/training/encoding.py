"""One pass of a frozen text encoder over a corpus, whose outputs every run then reads."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from hamlearn.corpus.posts import read_posts
from hamlearn.data.captions import Extras, read_captions
from hamlearn.data.dataset import LengthBuckets, PostDataset
from hamlearn.data.encoded import (
    KEY,
    KIND,
    SCHEMA_VERSION,
    digest_of_encoder,
    key_of,
    require_weights,
)
from hamlearn.data.text_encoder import load_encoder, load_tokenizer
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import overlap_of
from hamlearn.devices import free_device
from hamlearn.features.hdf5 import atomic_hdf5, write_attributes
from hamlearn.io import progress
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs

log = logging.getLogger(__name__)

BATCH = 32  # rows of like length


def encode(
    posts: str | Path,
    encoder: str | Path,
    settings: TextSettings,
    out: str | Path,
    objects: str | Path | None = None,
    captions: str | Path | None = None,
    threads: int | None = None,
) -> None:
    """Write what an encoder says of every sub-token of a corpus, whole or not at all.

    Each row, a post or a window over a long one, is read once, in evaluation mode and float32; rows
    of the same sub-tokens are stored once.

    Args:
        posts: prepared posts, of all splits.
        encoder: hub name or folder of a pretrained text encoder.
        settings: how posts are cut, or read in windows.
        out: the file, in the layout of `hamlearn.data.encoded`.
        objects: features of objects, whose names are put behind the posts; None for none.
        captions: file of captions that are put behind the posts; None for none.
        threads: of torch on the CPU; None leaves them as they are.

    Raises:
        HamlearnError: an input is absent or unfit, or the encoder has no weights.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    require_weights(encoder)
    tokenizer = load_tokenizer(encoder)
    every = read_posts(posts)
    named = (
        nullcontext()
        if objects is None
        else VisualReader(objects=objects, inputs=Inputs(names=True))
    )
    with named as pictures:
        extras = Extras(
            tokenizer,
            settings.max_subtokens,
            pictures,
            None if captions is None else read_captions(captions),
        )
        data = PostDataset(
            every,
            tokenizer,
            None,
            settings.max_subtokens,
            overlap=overlap_of(settings.model_dump()),
            extras=extras,
        )
    row_of: dict[bytes, int] = {}
    for row in range(len(data)):
        row_of.setdefault(key_of(data[row].tokens.ids), row)
    model = load_encoder(encoder).eval()
    behind = [name for name, of in (("names", objects), ("captions", captions)) if of is not None]
    attributes: dict[str, str | int | bool] = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "encoder": str(encoder),
        "encoder_digest": digest_of_encoder(model),
        "max_subtokens": settings.max_subtokens,
        "long_posts": settings.long_posts,
        "beside": " and ".join(behind) or "nothing",
    }
    with atomic_hdf5(out) as (file, check_disk), free_device() as device:
        write_attributes(file, attributes)
        file["keys"] = np.frombuffer(b"".join(row_of), np.uint8).reshape(-1, KEY)
        _write_outputs(file, check_disk, model.to(device), data, list(row_of.values()), device)
    log.info("%d posts: %d different rows encoded on %s", len(every), len(row_of), device)


@torch.inference_mode()
def _write_outputs(
    file: h5py.File,
    check_disk: Callable[[], None],
    model: PreTrainedModel,
    data: PostDataset,
    rows: Sequence[int],
    device: str,
) -> None:
    """Write `starts` and `hidden` of some rows, in their order."""
    lengths: NDArray[np.int64] = np.asarray([data.lengths[row] for row in rows])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    file["starts"] = starts
    width = int(model.config.hidden_size)
    hidden = file.create_dataset("hidden", (int(starts[-1]), width), np.float32)
    buckets = LengthBuckets(lengths.tolist(), BATCH)
    for places in progress(buckets, len(buckets), "batches of posts"):
        batch = data.batch([rows[place] for place in places]).to(device)
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        values = output.last_hidden_state.float().cpu().numpy()  # (B, S, D)
        for place, own in zip(places, values, strict=True):
            hidden[starts[place] : starts[place + 1]] = own[: lengths[place]]
        check_disk()
