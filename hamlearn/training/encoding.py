"""Write the outputs of a frozen text encoder for a corpus, which every run then reads."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hamlearn.corpus.posts import read_posts
from hamlearn.data.batches import LengthBuckets
from hamlearn.data.dataset import PostDataset
from hamlearn.data.encoded import KEY, KIND, SCHEMA_VERSION, digest_of_encoder, key_of
from hamlearn.data.segments import Segments
from hamlearn.data.sources import Sources, texts_of
from hamlearn.data.text_encoder import load_encoder, require_pretrained
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.visual import VisualReader
from hamlearn.devices import free_device
from hamlearn.encoder_files import local_encoder
from hamlearn.features.hdf5 import atomic_hdf5, write_attributes
from hamlearn.io import progress
from hamlearn.model.text import encoder_inputs
from hamlearn.settings import TextSettings
from hamlearn.systems import OBJECT_NAMES, Inputs

log = logging.getLogger(__name__)

BATCH = 32  # rows of similar length


def encode(
    posts: str | Path,
    encoder: str | Path,
    settings: TextSettings,
    out: str | Path,
    objects: str | Path | None = None,
    texts: Mapping[str, str | Path] | None = None,
    inputs: Inputs | None = None,
    threads: int | None = None,
) -> None:
    """Write the last hidden state of every sub-token of a corpus, in the layout of `Encoded`.

    Each row, a post or a window over a long post, is encoded once, in evaluation mode and float32;
    rows with the same sub-tokens are stored once. The file is written atomically.

    Args:
        posts: all splits.
        encoder: a pretrained one.
        settings: how long posts are read.
        out: the file.
        objects: features of objects, whose names follow the posts.
        texts: files of texts that follow the posts, by name.
        inputs: of the systems that read the file; None: all of these texts, names first.
        threads: of torch on the CPU.

    Raises:
        HamlearnError: an input is absent or unfit, or the encoder has no weights.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    encoder = local_encoder(encoder, settings.revision)
    require_pretrained(encoder)
    tokenizer = load_tokenizer(encoder)
    every, files = read_posts(posts), texts or {}
    if inputs is None:
        inputs = Inputs(reads=(*([OBJECT_NAMES] if objects else []), *files))
    with ExitStack() as stack:
        named = None
        if objects is not None:
            only_names = Inputs(reads=(OBJECT_NAMES,))
            named = stack.enter_context(VisualReader(objects=objects, inputs=only_names))
        given = {name: files[name] for name in inputs.texts if name in files}
        segments = Segments(
            tokenizer, settings.max_subtokens, inputs, texts_of([every], given), named
        )
        sources = Sources(segments=segments if inputs.reads else None)
        data = PostDataset(every, tokenizer, settings, sources=sources)
    row_of: dict[bytes, int] = {}
    for row in range(len(data)):
        row_of.setdefault(key_of(data[row].window), row)
    rows = list(row_of.values())
    model = load_encoder(encoder).eval()
    attributes: dict[str, str | int | bool] = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "encoder": str(encoder),
        "encoder_digest": digest_of_encoder(model),
        "max_subtokens": settings.max_subtokens,
        "long_posts": settings.long_posts,
        "texts": " and ".join(inputs.reads) or "nothing",
    }
    lengths: NDArray[np.int64] = np.asarray([data.lengths[row] for row in rows])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    buckets = LengthBuckets(lengths.tolist(), BATCH)
    with (
        torch.inference_mode(),
        atomic_hdf5(out) as (file, check_disk),
        free_device() as device,
    ):
        write_attributes(file, attributes)
        file["keys"] = np.frombuffer(b"".join(row_of), np.uint8).reshape(-1, KEY)
        file["starts"] = starts
        size = (int(starts[-1]), int(model.config.hidden_size))
        hidden = file.create_dataset("hidden", size, np.float32)
        model.to(device)
        for places in progress(buckets, len(buckets), "batches of posts"):
            batch = data.batch([rows[place] for place in places]).to(device)
            output = model(**encoder_inputs(model, batch))
            values = output.last_hidden_state.float().cpu().numpy()  # (B, S, D)
            for place, own in zip(places, values, strict=True):
                hidden[starts[place] : starts[place + 1]] = own[: lengths[place]]
            check_disk()
    log.info("%d posts: %d different rows encoded on %s", len(every), len(rows), device)
