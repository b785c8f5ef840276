import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, MODEL_MAPPING

from hamlearn.corpus.posts import read_posts
from hamlearn.data.dataset import PostDataset
from hamlearn.data.text_encoder import checkpoint_activations, load_encoder
from hamlearn.data.tokenizer import load_tokenizer
from hamlearn.data.windows import tokenize
from hamlearn.encoder_files import MODEL_TYPES, WITHOUT_CHECKPOINTING, check_encoder
from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.model_folder import load_model
from hamlearn.settings import TextSettings, load_settings
from hamlearn.training.run import train
from tests.builders import make_posts, write_corpus
from tests.training.layouts import (
    LAYOUTS,
    POSITIONS,
    UNUSABLE,
    USABLE,
    WIDTH,
    encode_apart,
    write_layout,
)

WORDS = ["now", "with", "Jasmine", "Penguins", "it's", "#great", "2024", "U.S.", "@lee", "don't"]
MARKS = {"bytes": "Ġ", "pieces": "▁"}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The folder of every layout."""
    place = tmp_path_factory.mktemp("layouts")
    return {name: write_layout(name, place / name) for name in LAYOUTS}


@pytest.fixture(scope="session")
def posts(tmp_path_factory):
    """A corpus of eight posts to train on: two steps."""
    return write_corpus(tmp_path_factory.mktemp("posts"), make_posts(8, 4, 4))["posts"]


def settings(length=POSITIONS - 2):
    values = {
        "text": {"max_subtokens": length},
        "model": {"heads": 2},
        "training": {"epochs": 1, "batch_size": 4},
    }
    return load_settings(json.dumps(values))


@pytest.mark.parametrize("name", USABLE)
def test_the_longest_post_is_that_of_the_files_and_of_the_network(folders, name):
    longest = USABLE[name].positions
    length = longest or 300
    check_encoder(folders[name], TextSettings(max_subtokens=length), 2)
    network = load_encoder(folders[name]).eval()
    ids = torch.randint(5, 40, (1, length))
    hidden = network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert hidden.shape == (1, length, WIDTH)
    if longest is None:
        return
    assert load_tokenizer(folders[name]).model_max_length == longest
    fault = rf"max_subtokens: found {longest + 1}, expected 3 to {longest}"
    with pytest.raises(HamlearnError, match=fault):
        check_encoder(folders[name], TextSettings(max_subtokens=longest + 1), 2)
    with pytest.raises(HamlearnError, match=fault):
        tokenize([WORDS], load_tokenizer(folders[name]), longest + 1)


def test_encoders_without_gradient_checkpointing_are_those_of_transformers():
    found = []
    for kind in MODEL_TYPES:
        network = MODEL_MAPPING[CONFIG_MAPPING[kind]]
        found += [] if network.supports_gradient_checkpointing else [kind]
    assert tuple(found) == WITHOUT_CHECKPOINTING


@pytest.mark.parametrize("name", USABLE)
def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradients(folders, monkeypatch, name):
    network = load_encoder(folders[name])
    ids = torch.randint(5, 40, (3, 20))
    if name in WITHOUT_CHECKPOINTING:
        with pytest.raises(
            HamlearnError, match=f"expected false for a text encoder of the type {name}"
        ):
            checkpoint_activations(network)
        return
    kept = []

    def gradients():
        torch.manual_seed(3)  # of the dropout
        kept.append(0)

        def keep(tensor):
            kept[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = network(input_ids=ids, attention_mask=torch.ones_like(ids))
            output.last_hidden_state.square().sum().backward()
        found = {key: own.grad for key, own in network.named_parameters() if own.grad is not None}
        network.zero_grad()
        return found

    plain, again = gradients(), gradients()
    checkpoint_activations(network)
    twice = gradients()
    assert plain.keys() == again.keys() == twice.keys()
    assert all(torch.equal(plain[key], again[key]) for key in plain)
    assert all(torch.equal(plain[key], twice[key]) for key in plain)
    assert kept[2] < kept[1]


@pytest.mark.parametrize("name", USABLE)
def test_every_word_has_its_sub_tokens_and_the_space_before_it(folders, name):
    tokenizer = load_tokenizer(folders[name])
    [[window]] = tokenize([WORDS], tokenizer, 512 if USABLE[name].positions is None else 48)
    apart = encode_apart(folders[name], WORDS)
    own = [window.ids[window.word_ids == number].tolist() for number in range(window.words)]
    assert own == apart[: window.words]
    assert window.words > 4
    mark = MARKS.get(USABLE[name].tokenizer)
    for ids in own if mark else ():
        assert tokenizer.convert_ids_to_tokens(ids[0]).startswith(mark)


@pytest.mark.parametrize("name", USABLE)
def test_it_is_trained_exported_and_loaded(folders, posts, tmp_path, name):
    facts = train(posts, folders[name], settings(), "text_only", 0, tmp_path / "run")
    assert facts.parameters > 0
    loaded = load_model(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out")
    exported = load_model(tmp_path / "out")
    trained = load_file(tmp_path / "run" / "model.safetensors")
    for key, value in exported.network.state_dict().items():
        if key in trained:
            assert torch.equal(value, trained[key])
    [post, *_] = read_posts(posts)
    original = load_tokenizer(folders[name])
    scores = []
    for model, tokenizer in (
        (loaded, loaded.tokenizer),
        (exported, exported.tokenizer),
        (loaded, original),  # the one that was trained with
    ):
        data = PostDataset([post], tokenizer, facts.text, facts.labels)
        with torch.inference_mode():
            scores.append(model.network(data.batch([0])).emissions)
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])
    start = load_encoder(folders[name]).get_input_embeddings().weight
    end = loaded.network.text.encoder.get_input_embeddings().weight
    torch.testing.assert_close(start, end, atol=1e-3, rtol=0)  # two steps from the file's own


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("says_so", [True, False])
def test_an_encoder_decoder_is_refused_before_training(folders, posts, tmp_path, name, says_so):
    shutil.copytree(folders[name], tmp_path / name)
    path = tmp_path / name / "config.json"
    values = json.loads(path.read_text())
    if not says_so:
        values.pop("is_encoder_decoder", None)
    path.write_text(json.dumps(values))
    fault = rf"text\.encoder: {tmp_path / name}: found a {name}, an encoder-decoder"
    with pytest.raises(HamlearnError, match=fault):
        check_encoder(tmp_path / name, TextSettings(max_subtokens=20), 2)
    for load in (load_encoder, load_tokenizer):
        with pytest.raises(HamlearnError, match=fault):
            load(tmp_path / name)
    with pytest.raises(HamlearnError, match=fault):
        train(posts, tmp_path / name, settings(), "text_only", 0, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "modernbert"])
def test_a_tokenizer_larger_than_the_encoder_is_refused(folders, posts, tmp_path, name):
    folder = shutil.copytree(folders[name], tmp_path / name)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vectors = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["<user>", "<url>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    fault = rf"{folder}: found a tokenizer of {vectors + 2} tokens, .* {vectors}, .*: 2 have none"
    with pytest.raises(HamlearnError, match=fault):
        check_encoder(folder, TextSettings(max_subtokens=20), 2)
    with pytest.raises(HamlearnError, match=fault):
        train(posts, folder, settings(), "text_only", 0, tmp_path / "run")


def test_the_layouts_are_of_types_that_are_known():
    assert {name for name in USABLE if name != "deberta-v3"} <= set(MODEL_TYPES)
    assert not UNUSABLE.keys() & set(MODEL_TYPES)
