"""Features of images made of texts about them, such as captions, by a frozen text encoder.

    python -m examples.caption_features captions.txt ENCODER resources/captions/twitter2017

writes, with ENCODER a folder such as resources/encoders/all-mpnet-base-v2,
`resources/captions/twitter2017.npz` for `backbone: precomputed` and the folder
`resources/captions/twitter2017` for `detector: precomputed`: an image is the vector of its whole
text, and its objects are the vectors of the sentences, each in a box as large as the image. They
are features of captions and not of pixels, and what a system gains by them, it gains by captions.
config/captions.yaml reads them.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from hamlearn.corpus.image_files import image_id_of
from hamlearn.corpus.texts import read_texts

SENTENCES = 15  # at most, of an image
LENGTH = 160  # sub-tokens of a text, at most
BATCH = 64
SIDE = 100  # of the box, which stands for the whole image, in pixels


def sentences(text: str) -> list[str]:
    """Return the first sentences of a text."""
    return [one for one in re.split(r"(?<=[.!?])\s+", text.strip()) if one][:SENTENCES]


@torch.no_grad()
def vectors(texts: Sequence[str], encoder: str | Path) -> NDArray[np.float32]:
    """Return the mean of the sub-token vectors of each text, scaled to a norm of sqrt(F), (n, F).

    Their numbers then have a mean square of one, as those of an image network nearly have.
    """
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    model = AutoModel.from_pretrained(encoder, local_files_only=True).eval()
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        batch = tokenizer(
            [texts[number] for number in part],
            padding=True,
            truncation=True,
            max_length=LENGTH,
            return_tensors="pt",
        )
        hidden = model(**batch).last_hidden_state  # (B, S, F)
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        found[part] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return found * np.float32(found.shape[1] ** 0.5)


def write_features(path: str | Path, encoder: str | Path, out: str | Path) -> int:
    """Write features of all images that a file of texts has, and return the number of images."""
    texts: dict[str, str] = {}
    for name, text in read_texts(path).items():
        texts.setdefault(image_id_of(name), text)
    parts = {image_id: sentences(text) for image_id, text in texts.items()}
    known = sorted({*texts.values(), *(one for some in parts.values() for one in some)})
    of_text = dict(zip(known, vectors(known, encoder), strict=True))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    whole = np.stack([of_text[text] for text in texts.values()])
    np.savez(out.with_name(f"{out.name}.npz"), ids=np.array(list(texts)), features=whole)
    for image_id, some in parts.items():
        np.savez(
            out / f"{image_id}.npz",
            features=np.stack([of_text[one] for one in some]),
            boxes=np.tile(np.array([0, 0, SIDE, SIDE], np.float32), (len(some), 1)),
            names=np.array(["sentence"] * len(some)),
            width=SIDE,
            height=SIDE,
        )
    return len(texts)


if __name__ == "__main__":
    print(write_features(*sys.argv[1:4]), "images")
