"""Every system through training, saving, loading and prediction."""

import json
from dataclasses import replace

import pytest
import torch

from hamlearn.corpus.posts import read_posts
from hamlearn.data.sources import InputFiles
from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.prediction import predict
from hamlearn.settings import load_settings
from hamlearn.systems import IMAGE_MAPS, SYSTEMS, inputs_of
from hamlearn.training import run as training
from hamlearn.training.run import train
from tests.builders import make_posts, write_corpus, write_image_features

MODEL = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
TRAINING = {"epochs": 2, "batch_size": 16, "lr": 5e-3, "word_dropout": 0.2}
LEXICAL = [name for name in SYSTEMS if inputs_of(name).lexicon]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    posts = make_posts(train=12, dev=4, test=6)
    paths = write_corpus(folder, posts, missing=("train_1", "test_0"))
    ids = [post.image_id for post in posts]
    maps = {"regions": True, "stages": True, "crops_of": paths["objects"]}
    write_image_features(paths["images"], ids, ("train_1", "test_0"), **maps)
    captions = [f"{image}.jpg :a dog with a ball\n" for image in ids if image != "test_0"]
    (folder / "captions.txt").write_text("".join(captions))
    return paths | {"captions": folder / "captions.txt"}


def files_of(paths, variant):
    inputs = inputs_of(variant)
    files = {name: paths[name] for name in inputs.files}
    return InputFiles(**files, texts={name: paths[name] for name in inputs.texts if name in paths})


def settings_for(**text):
    return load_settings(json.dumps({"text": text, "model": MODEL, "training": TRAINING}))


@pytest.fixture(scope="module")
def trained(paths, tmp_path_factory):
    """Returns the folder of a run of each system, its facts, and the network that was written."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def train_once(variant):
        if variant not in made:
            kept = []
            real = training.write_model_folder

            def keep(out, tagger, *others):
                kept.append(tagger.eval())
                real(out, tagger, *others)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(training, "write_model_folder", keep)
                given = (paths["posts"], paths["encoder"], settings_for(), variant, 0)
                facts = train(*given, folder / variant, files_of(paths, variant))
            made[variant] = folder / variant, facts, kept[0]
        return made[variant]

    return train_once


@pytest.mark.parametrize("variant", SYSTEMS)
def test_a_run_is_loaded_as_it_was_trained(paths, tmp_path, trained, variant):
    run, facts, network = trained(variant)
    files = files_of(paths, variant)
    assert set(facts.networks) == set(inputs_of(variant).files) - {"graphs"}
    assert (facts.graph_backend is not None) == inputs_of(variant).graphs
    loaded, weights = load_model(run), network.state_dict()
    assert all(torch.equal(value, weights[n]) for n, value in loaded.network.state_dict().items())
    out = tmp_path / "test.jsonl"
    predict(run, paths["posts"], ["test"], tmp_path, files)
    found = out.read_text()
    assert [json.loads(line)["has_image"] for line in found.splitlines()] == [
        post.image_id != "test_0" if inputs_of(variant).files else None
        for post in read_posts(paths["posts"], "test")
    ]
    export(run, tmp_path / "copy")
    predict(tmp_path / "copy", paths["posts"], ["test"], tmp_path, files)
    assert out.read_text() == found


@pytest.mark.parametrize("variant", SYSTEMS)
def test_a_killed_run_ends_as_one_that_was_not(paths, tmp_path, monkeypatch, trained, variant):
    whole, _, _ = trained(variant)
    given = (paths["posts"], paths["encoder"], settings_for(), variant, 0, tmp_path / "killed")
    step = training.TrainingLoop.training_step

    def killed(self, batch, number):
        if self.current_epoch == 1:
            raise SystemExit(143)
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "training_step", killed)
        with pytest.raises(SystemExit):
            train(*given, files_of(paths, variant))
    assert (tmp_path / "checkpoints" / "killed" / "last.ckpt").exists()
    train(*given, files_of(paths, variant))
    one, two = (load_model(run).network.state_dict() for run in (whole, tmp_path / "killed"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    histories = [(run / "history.csv").read_text() for run in (whole, tmp_path / "killed")]
    rows = [[line.rsplit(",", 1)[0] for line in text.splitlines()] for text in histories]
    assert rows[0] == rows[1]  # all but the seconds


@pytest.mark.parametrize(
    ("variant", "lacking"),
    [(name, kind) for name in SYSTEMS for kind in IMAGE_MAPS if getattr(inputs_of(name), kind)],
)
def test_a_map_that_is_not_stored_is_asked_for(paths, tmp_path, variant, lacking):
    ids = [post.image_id for post in make_posts(train=12, dev=4, test=6)]
    plain = write_image_features(tmp_path / "plain.h5", ids)
    files = replace(files_of(paths, variant), images=plain)
    with pytest.raises(HamlearnError, match=rf"found no .*extract with.*{lacking}: true"):
        train(paths["posts"], paths["encoder"], settings_for(), variant, 0, tmp_path / "run", files)


def test_word_vectors_are_where_training_begins(paths, tmp_path, monkeypatch):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("today 1 2 3\nParis 4 5 6\nnever_seen 7 8 9\n")
    begun = []
    real = training.TrainingLoop.__init__

    def watch(self, tagger, *others):
        begun.append(tagger.words.weight.detach().clone())
        real(self, tagger, *others)

    monkeypatch.setattr(training.TrainingLoop, "__init__", watch)
    settings = settings_for(word_vectors=str(vectors))
    given = (paths["posts"], paths["encoder"])
    facts = train(*given, settings, "bilstm_crf", 0, tmp_path / "run")
    run = load_model(tmp_path / "run")
    numbers = run.lexicon.encode(["today", "PARIS", "unheard"]).words
    assert begun[0][numbers[0]].tolist() == [1, 2, 3]
    assert begun[0][numbers[1]].tolist() == [4, 5, 6]
    assert numbers[2] == 1
    assert "never_seen" not in run.lexicon.words
    assert facts.word_vectors.startswith("vectors.txt: 2 of ")
    assert not any(name.startswith("text.") for name in run.network.state_dict())


@pytest.mark.parametrize("variant", LEXICAL)
def test_random_vectors_are_said_to_be_so_and_the_rate_is_the_systems_own(
    paths, tmp_path, monkeypatch, variant
):
    rates = []
    real = training.TrainingLoop.configure_optimizers

    def watch(self):
        found = real(self)
        rates.extend(group["initial_lr"] for group in found["optimizer"].param_groups)
        return found

    monkeypatch.setattr(training.TrainingLoop, "configure_optimizers", watch)
    given = (paths["posts"], paths["encoder"])
    facts = train(*given, settings_for(), variant, 0, tmp_path / "run")
    assert facts.word_vectors == "random"
    assert set(rates) == {1e-3}
