import shutil

import h5py
import numpy as np
import pytest
import torch
from transformers import BertModel

from hamlearn.corpus.posts import read_posts
from hamlearn.data.encoded import key_of
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.windows import Window
from hamlearn.errors import HamlearnError
from hamlearn.io import digest_of_file
from hamlearn.settings import TextSettings
from hamlearn.training.encoding import encode
from tests.builders import make_posts, write_corpus
from tests.data.test_encoded import give_weights


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    paths = write_corpus(folder, make_posts(train=16, dev=6, test=6))
    give_weights(paths["encoder"], 1)
    paths["plain"] = folder / "plain.h5"
    encode(paths["posts"], paths["encoder"], TextSettings(), paths["plain"])
    return paths


def row_of(ids):
    return Window(ids, np.full(len(ids), -1), words=0, first=0, target_span=(0, 0))


def test_each_row_holds_what_the_encoder_says_of_the_post_alone(paths):
    posts = read_posts(paths["posts"])
    encoder = BertModel.from_pretrained(paths["encoder"], add_pooling_layer=False).eval()
    tokenizer = load_tokenizer(paths["encoder"])
    with h5py.File(paths["plain"]) as file:
        hidden, starts = file["hidden"][:], file["starts"][:]
        keys = [key.tobytes() for key in file["keys"][:]]
        assert (file["hidden"].chunks, hidden.dtype) == (None, np.float32)
    rows = {}
    for post in posts:
        ids = tokenizer(list(post.words), is_split_into_words=True)["input_ids"]
        row = rows[post.words] = keys.index(key_of(row_of(np.asarray(ids))))
        with torch.no_grad():
            alone = encoder(torch.tensor([ids])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(hidden[starts[row] : starts[row + 1]], alone, atol=2e-6)
    assert len(keys) == len(rows) < len(posts)  # the same words are encoded once
    assert starts[-1] == len(hidden)


def test_the_same_corpus_gives_the_same_bytes(paths, tmp_path):
    encode(paths["posts"], paths["encoder"], TextSettings(), tmp_path / "again.h5")
    assert digest_of_file(tmp_path / "again.h5") == digest_of_file(paths["plain"])


def test_an_untrained_encoder_is_refused(paths, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(paths["encoder"], encoder)
    (encoder / "model.safetensors").unlink()
    with pytest.raises(HamlearnError, match=r"text\.freeze: .*encoder holds no weights"):
        encode(paths["posts"], encoder, TextSettings(), tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
