"""A frozen encoder: its outputs stored once, read by every system, and refused where unfit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertModel

from hamlearn.corpus.posts import read_posts, write_posts
from hamlearn.data.dataset import PostDataset
from hamlearn.data.encoded import KEY, Encoded
from hamlearn.data.sources import InputFiles, Sources
from hamlearn.data.text_encoder import load_config
from hamlearn.errors import HamlearnError
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.prediction import predict
from hamlearn.io import digest_of_file
from hamlearn.settings import TextSettings, load_settings
from hamlearn.systems import SYSTEMS, inputs_of
from hamlearn.training.encoding import encode
from hamlearn.training.loop import TrainingLoop
from hamlearn.training.run import train
from tests.builders import make_posts, write_corpus, write_image_features

MODEL = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
TRAINING = {"epochs": 2, "batch_size": 8, "lr": 5e-3, "eval_batch_size": 3}
FROZEN = [name for name in SYSTEMS if inputs_of(name).can_freeze]
TOLD = {"like": "full", "reads": ["captions", "names"]}  # texts as a second segment
WINDOWS = {"max_subtokens": 9, "long_posts": "windows", "window_overlap": 3}


def give_weights(encoder: Path, seed: int) -> None:
    """Make a pretrained encoder of the shape of one, with a pooler as published ones have."""
    torch.manual_seed(seed)
    BertModel(load_config(encoder)).save_pretrained(encoder)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A corpus with all that is read, a pretrained encoder, and its outputs."""
    folder = tmp_path_factory.mktemp("corpus")
    posts = make_posts(train=16, dev=6, test=6)
    paths = write_corpus(folder, posts, missing=("train_1", "test_0"))
    ids = [post.image_id for post in posts]
    write_image_features(paths["images"], ids, ("train_1", "test_0"), regions=True)
    paths["captions"] = folder / "captions.txt"
    paths["captions"].write_text("".join(f"{image}.jpg :a dog with a ball\n" for image in ids))
    give_weights(paths["encoder"], 1)
    text = settings_for().text
    paths["plain"], paths["beside"] = folder / "plain.h5", folder / "beside.h5"
    encode(paths["posts"], paths["encoder"], text, paths["plain"])
    beside = (paths["objects"], {"captions": paths["captions"]}, inputs_of("ita"))
    encode(paths["posts"], paths["encoder"], text, paths["beside"], *beside)
    inputs, paths["told"] = settings_for().system("told").inputs, folder / "told.h5"
    encode(paths["posts"], paths["encoder"], text, paths["told"], *beside[:2], inputs)
    paths["windows"] = folder / "windows.h5"
    encode(paths["posts"], paths["encoder"], settings_for(**WINDOWS).text, paths["windows"])
    return paths


def settings_for(training=None, **text):
    sections = {"text": {"freeze": True} | text, "model": MODEL, "training": training or TRAINING}
    return load_settings(json.dumps(sections | {"systems": {"told": TOLD}}))


def files_of(paths, variant):
    inputs = settings_for().system(variant).inputs
    files = {name: paths[name] for name in inputs.files}
    return InputFiles(**files, texts={name: paths[name] for name in inputs.texts if name in paths})


def mute(patch):
    """Make the encoder say nothing."""

    def forward(self, *args, **kwargs):
        raise AssertionError("the encoder was asked")

    patch.setattr(BertModel, "forward", forward)


def run(paths, variant, out, encoded, settings=None, devices=1):
    """Train and predict test; without stored outputs the encoder is asked."""
    files = replace(files_of(paths, variant), encoded=encoded)
    settings = settings or settings_for()
    with pytest.MonkeyPatch.context() as patch:
        if encoded is not None:
            mute(patch)
        given = (paths["posts"], paths["encoder"], settings, variant, 0, out)
        facts = train(*given, files, threads=1)
        outputs = out.with_name(f"{out.name}.predicted")
        predict(out, paths["posts"], ["test"], outputs, files)
    history = (out / "history.csv").read_text().splitlines()[1:]
    losses = [[float(value) for value in row.split(",")[1:3]] for row in history]
    return facts, losses, predicted_in(outputs / "test.jsonl")


def predicted_in(path):
    return [json.loads(line)["predicted"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("variant", "windows"),
    [*((name, False) for name in (*FROZEN, "told")), ("full", True), ("bert", True)],
)
def test_stored_outputs_stand_for_the_encoder(paths, tmp_path, variant, windows):
    settings = settings_for(**WINDOWS) if windows else settings_for()
    kind = {"ita": "beside", "told": "told"}.get(variant, "windows" if windows else "plain")
    stored = run(paths, variant, tmp_path / "stored", paths[kind], settings)
    live = run(paths, variant, tmp_path / "live", None, settings)
    assert (stored[0].splits["train"].windowed_posts > 0) == windows
    np.testing.assert_allclose(stored[1], live[1], rtol=1e-4)
    assert stored[2] == live[2]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("stored", "live")]
    pretrained = load_file(paths["encoder"] / "model.safetensors")
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=2e-4, rtol=1e-3)
        if name.startswith("text.encoder."):
            assert torch.equal(value, pretrained[name.removeprefix("text.encoder.")])
    # The run is whole: what is read from it asks the encoder, with no file of outputs.
    predict(tmp_path / "stored", paths["posts"], ["test"], tmp_path, files_of(paths, variant))
    assert predicted_in(tmp_path / "test.jsonl") == stored[2]


def test_emissions_of_stored_outputs_are_those_of_the_encoder(paths, tmp_path):
    run(paths, "text_only", tmp_path / "run", paths["plain"])
    loaded, posts = load_model(tmp_path / "run"), read_posts(paths["posts"], "test")
    with Encoded(paths["plain"]) as outputs, torch.inference_mode():
        stored = PostDataset(
            posts, loaded.tokenizer, TextSettings(), sources=Sources(encoded=outputs)
        )
        live = PostDataset(posts, loaded.tokenizer, TextSettings())
        found, expected = (loaded.network(data.batch([4, 0, 2])) for data in (stored, live))
        assert stored.batch([4, 0, 2]).encoded.shape[:2] == live.batch([4, 0, 2]).input_ids.shape
    torch.testing.assert_close(found.emissions, expected.emissions, atol=1e-6, rtol=1e-6)


def test_a_frozen_encoder_is_in_no_group_and_has_no_dropout(paths, tmp_path, monkeypatch):
    seen = []
    real = TrainingLoop.training_step

    def watch(self, batch, number):
        encoder = self.model.get_submodule("text.encoder")
        groups = self.trainer.optimizers[0].param_groups
        updated = {id(one) for group in groups for one in group["params"]}
        own = {id(one) for one in encoder.parameters()}
        every = {id(one) for one in self.model.parameters()}
        modes = {module.training for module in encoder.modules()}
        seen.append((self.model.training, modes, updated == every - own))
        return real(self, batch, number)

    monkeypatch.setattr(TrainingLoop, "training_step", watch)
    run(paths, "full", tmp_path / "run", None)
    assert set(map(str, seen)) == {str((True, {False}, True))}
    assert len(seen) == 4


def test_a_killed_run_ends_like_an_unbroken_one(paths, tmp_path):
    real = TrainingLoop.training_step

    def dying_step(self, batch, number):
        if (self.current_epoch, number) == (1, 1):
            raise ZeroDivisionError
        return real(self, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "training_step", dying_step)
        with pytest.raises(ZeroDivisionError):
            run(paths, "full", tmp_path / "killed", paths["plain"])
    assert (tmp_path / "checkpoints" / "killed" / "last.ckpt").exists()
    for name in ("killed", "unbroken"):
        run(paths, "full", tmp_path / name, paths["plain"])
    files = [tmp_path / name / "model.safetensors" for name in ("killed", "unbroken")]
    assert digest_of_file(files[0]) == digest_of_file(files[1])


def test_several_processes_train_as_one_does(paths, tmp_path):
    still = {"heads": 2, "class_width": 8, "dropout": 0.0, "graph_backend": "dense"}
    losses = []
    for devices in (1, 2):
        chosen = TRAINING | {"batch_size": 7, "devices": devices}
        settings = settings_for(chosen)
        settings = settings.model_copy(
            update={"model": settings.model.model_copy(update=still | {"vit_layers": 1})}
        )
        out = tmp_path / str(devices)
        losses.append(run(paths, "full", out, paths["plain"], settings)[1])
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.fixture(scope="module")
def trained(paths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(paths, "bert_crf", folder / "run", paths["plain"])
    return folder / "run"


def changed(paths, tmp_path, what):
    """Return posts, encoder and settings, one of which is not what the outputs are of."""
    posts, encoder, text = paths["posts"], paths["encoder"], {}
    if what == "posts":
        every = read_posts(posts)
        every[0] = replace(every[0], words=("great", *every[0].words[1:]))
        posts = tmp_path / "posts.jsonl"
        write_posts(posts, every)
    elif what == "encoder":
        encoder = tmp_path / "encoder"
        shutil.copytree(paths["encoder"], encoder)
        weights = BertModel.from_pretrained(encoder)
        with torch.no_grad():
            weights.get_input_embeddings().weight[3, 3] += 1e-3
        weights.save_pretrained(encoder)
    else:
        text = {"max_subtokens": 7}
    return posts, encoder, settings_for(**text)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "posts",
            r"plain\.h5: found no outputs of the post 'train_0'.*make it again",
        ),
        ("encoder", r"plain\.h5: found outputs of .*encoder, whose weights have.*make it again"),
        ("max_subtokens", r"plain\.h5: found no outputs of .*made with text\.max_subtokens 128"),
    ],
)
def test_outputs_of_something_else_are_refused_in_training(paths, tmp_path, what, message):
    given = changed(paths, tmp_path, what)
    with pytest.raises(HamlearnError, match=message):
        train(*given, "bert_crf", 0, tmp_path / "run", InputFiles(encoded=paths["plain"]))
    assert not (tmp_path / "run").exists()


def test_outputs_of_something_else_are_refused_in_prediction(paths, trained, tmp_path):
    given = (trained, paths["posts"], ["test"], tmp_path)
    with pytest.raises(
        HamlearnError, match=r"beside\.h5: found no outputs .*names and captions and ocr"
    ):
        predict(*given, InputFiles(encoded=paths["beside"]))
    files = replace(files_of(paths, "ita"), encoded=paths["told"])  # the same texts, another order
    untouched = (paths["posts"], paths["encoder"], settings_for())
    with pytest.raises(HamlearnError, match=r"told\.h5: found no outputs .*captions and names"):
        train(*untouched, "ita", 0, tmp_path / "ita", files)
    _, encoder, settings = changed(paths, tmp_path, "encoder")
    encode(paths["posts"], encoder, settings.text, tmp_path / "other.h5")
    with pytest.raises(HamlearnError, match=r"other\.h5: found outputs of .*this run"):
        predict(*given, InputFiles(encoded=tmp_path / "other.h5"))
    assert not (tmp_path / "test.jsonl").exists()


def test_an_encoder_that_learns_takes_no_outputs(paths, tmp_path):
    given = (paths["posts"], paths["encoder"], settings_for(freeze=False), "bert_crf", 0)
    with pytest.raises(HamlearnError, match=r"plain\.h5: found stored outputs.*freeze: false"):
        train(*given, tmp_path / "run", InputFiles(encoded=paths["plain"]))


def test_an_untrained_encoder_is_not_frozen(paths, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(paths["encoder"], encoder)
    (encoder / "model.safetensors").unlink()
    with pytest.raises(HamlearnError, match=r"text\.freeze: .*encoder holds no weights"):
        train(paths["posts"], encoder, settings_for(), "bert_crf", 0, tmp_path / "run")
    with pytest.raises(HamlearnError, match=r"text\.freeze: found the variant hvpnet"):
        train(paths["posts"], encoder, settings_for(), "hvpnet", 0, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_a_system_without_an_encoder_has_nothing_to_freeze(paths, tmp_path):
    facts, *_ = run(paths, "bilstm_crf", tmp_path / "run", None)
    assert facts.system == "bilstm_crf"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("hidden", "`hidden` is absent, expected float32"),
        ("dtype", r"`hidden` is float64 of .*, expected float32"),
        ("starts", "its rows do not fit together"),
        ("keys", "its rows do not fit together"),
        ("empty", r"`hidden` is float32 of shape \(.*, 0\), expected"),
        ("short", r"`keys` is uint8 of shape \(3, 8\), expected uint8 of"),
        ("kind", "found 'images' of layout version 1, expected encoded of"),
        ("number", "holds numbers that are not finite"),
        ("bytes", "not an HDF5 file, or a damaged one"),
    ],
)
def test_a_broken_file_is_named(paths, tmp_path, fault, message):
    path = tmp_path / "broken.h5"
    shutil.copy(paths["plain"], path)
    if fault == "bytes":
        path.write_bytes(path.read_bytes()[:900])
    else:
        with h5py.File(path, "a") as file:
            if fault == "hidden":
                del file["hidden"]
            elif fault == "dtype":
                values = file["hidden"][:].astype(np.float64)
                del file["hidden"]
                file["hidden"] = values
            elif fault == "starts":
                file["starts"][1] = 0
            elif fault == "keys":
                file["keys"][1] = file["keys"][0]
            elif fault == "empty":
                del file["hidden"]
                file["hidden"] = np.ones((3, 0), np.float32)
            elif fault == "short":
                del file["keys"]
                file["keys"] = np.ones((3, 8), np.uint8)
            elif fault == "kind":
                file.attrs["kind"] = np.bytes_(b"images")
            elif fault == "number":
                file["hidden"][0, 0] = np.nan
    with pytest.raises(HamlearnError, match=rf"broken\.h5: {message}"), Encoded(path) as outputs:
        outputs.read(np.arange(1))


def test_rows_are_read_in_any_order(paths):
    with Encoded(paths["plain"]) as outputs, h5py.File(paths["plain"]) as file:
        starts, hidden = file["starts"][:], file["hidden"][:]
        assert file["keys"].shape == (len(starts) - 1, KEY)
        rows = np.array([3, 0, 3, len(starts) - 2, 4])
        for row, own in zip(rows, outputs.read(rows), strict=True):
            assert np.array_equal(own, hidden[starts[row] : starts[row + 1]])
