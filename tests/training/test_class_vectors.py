import json

import pytest
import torch
from safetensors.torch import load_file

from hamlearn.data.text_encoder import load_encoder, load_tokenizer
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import load_run
from hamlearn.settings import load_settings
from hamlearn.training.class_vectors import class_vectors
from hamlearn.training.run import train
from tests.builders import CLASSES, SCRATCH, write_corpus


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def encoder(paths):
    torch.manual_seed(3)
    return load_encoder(paths["encoder"]), load_tokenizer(paths["encoder"])


def by_hand(encoder, tokenizer, name):
    """The mean over the sub-tokens of a name, one look-up at a time."""
    pieces = tokenizer.tokenize(name) or [tokenizer.unk_token]
    table = encoder.embeddings.word_embeddings.weight
    total = sum(table[tokenizer.convert_tokens_to_ids(piece)] for piece in pieces)
    return total / len(pieces)


def test_a_class_is_the_mean_of_its_names_sub_tokens(encoder):
    names = ["dog", "new york", "traffic_light", "\u200d"]
    vectors = class_vectors(*encoder, names)
    assert vectors.shape == (len(names) + 1, SCRATCH.width)
    for row, name in zip(vectors, ["dog", "new york", "traffic light", "", "none"], strict=True):
        torch.testing.assert_close(row, by_hand(*encoder, name))


def test_classes_with_numbers_for_names_are_refused(encoder):
    with pytest.raises(HamlearnError, match=r"words: found 2 classes without a name.*vg_0000"):
        class_vectors(*encoder, ["vg_0000", "dog", "vg_0007"])


def test_a_run_starts_from_the_vectors_and_is_loaded_again(paths, tmp_path, monkeypatch):
    started = []

    def seen(*given):
        started.append(class_vectors(*given))
        return started[0]

    monkeypatch.setattr("hamlearn.training.class_vectors.class_vectors", seen)
    model = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
    settings = load_settings(
        json.dumps(
            {
                "model": {**model, "class_embedding": "words"},
                "training": {"epochs": 1, "batch_size": 8, "lr": 1e-7, "weight_decay": 0},
            }
        )
    )
    files = {name: paths[name] for name in ("images", "objects", "graphs")}
    train(paths["posts"], paths["encoder"], settings, "full", 0, tmp_path / "run", **files)
    ended = load_file(tmp_path / "run" / "model.safetensors")["visual.classes.weight"]
    assert ended.shape == (len(CLASSES) + 1, SCRATCH.width)
    torch.testing.assert_close(ended, started[0], atol=1e-5, rtol=0)  # so small a learning rate
    loaded = load_run(tmp_path / "run")
    assert torch.equal(loaded.tagger.visual.classes.weight.cpu(), ended)
