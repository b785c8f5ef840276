"""Systems of one's own, from the configuration to an exported model."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import examples.own_system as example
from hamlearn.data.sources import InputFiles
from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.prediction import predict
from hamlearn.model.base import Output, TaggingModel
from hamlearn.model.text import TextEncoder
from hamlearn.settings import load_settings
from hamlearn.training.run import train
from tests.builders import write_corpus

BUILD = "examples.own_system:GatedAttention"
SETTINGS = {
    "model": {"heads": 2, "class_width": 8},
    "training": {"epochs": 1, "batch_size": 8, "lr": 5e-3},
}
READS = ["encoder", "image", "objects"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), missing=("train_1", "test_0"))


def trained(paths, out, build=BUILD, inputs=READS, **others):
    systems = {"mine": {"build": build, "inputs": inputs, **others}}
    settings = load_settings(json.dumps(SETTINGS | {"systems": systems, "variants": ["mine"]}))
    files = InputFiles(**{name: paths[name] for name in ("images", "objects", "graphs")})
    train(paths["posts"], paths["encoder"], settings, "mine", 0, out, files)
    return files


def test_it_is_trained_used_and_exported_with_the_callers_consent(paths, tmp_path):
    files = trained(paths, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    about = {"reads": [], "about": "mine, of your own"}
    assert facts["own"] == {"build": BUILD, "inputs": READS, **about}
    message = f"system mine: its network is built by {BUILD}, code outside of hamlearn"
    with pytest.raises(HamlearnError, match=message):
        load_model(tmp_path / "run")
    with pytest.raises(HamlearnError, match=message):
        export(tmp_path / "run", tmp_path / "copy")
    export(tmp_path / "run", tmp_path / "copy", systems=[BUILD])
    for folder in ("run", "copy"):
        network = load_model(tmp_path / folder, [BUILD]).network
        assert isinstance(network, example.GatedAttention)
        out = tmp_path / f"{folder}.predicted"
        predict(tmp_path / folder, paths["posts"], ["test"], out, files, None, [BUILD])
    one, other = (tmp_path / f"{name}.predicted" / "test.jsonl" for name in ("run", "copy"))
    assert one.read_bytes() == other.read_bytes()
    assert "mine, of your own" in (tmp_path / "copy" / "README.md").read_text()


def test_a_system_like_another_has_its_network(paths, tmp_path):
    settings = load_settings(json.dumps(SETTINGS | {"systems": {"mine": {"like": "text_only"}}}))
    train(paths["posts"], paths["encoder"], settings, "mine", 0, tmp_path / "mine", InputFiles())
    train(paths["posts"], paths["encoder"], settings, "text_only", 0, tmp_path / "other")
    mine, other = (load_model(tmp_path / name).network.state_dict() for name in ("mine", "other"))
    assert mine.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in mine.items())


class Wrong(TaggingModel):
    """Emissions of one label too many, or none that are numbers."""

    def __init__(self, encoder, sizes, text, model):
        super().__init__()
        self.text = TextEncoder(encoder)
        self.add_output_layers(self.text.width, sizes.labels, 0.0)

    def forward(self, batch):
        scores = self.emissions(self.text(batch)[1])
        return Output(nn.functional.pad(scores, (0, 1)))


class NotANumber(Wrong):
    def forward(self, batch):
        return Output(self.emissions(self.text(batch)[1]) * float("nan"))


class Untrainable(Wrong):
    def forward(self, batch):
        return Output(self.emissions(self.text(batch)[1]).detach())

    def loss_of(self, emissions, batch):
        return emissions.sum()


class WithoutOutputLayers(TaggingModel):
    def __init__(self, encoder, sizes, text, model):
        super().__init__()
        self.text = TextEncoder(encoder)
        self.out = nn.Linear(self.text.width, sizes.labels)

    def forward(self, batch):
        return Output(self.out(self.text(batch)[1]))


class WithoutParameters(TaggingModel):
    crf = None

    def __init__(self, encoder, sizes, text, model):
        super().__init__()
        self.labels = sizes.labels

    def forward(self, batch):
        return Output(torch.zeros(*batch.word_mask.shape, self.labels))


class WithoutTensor(WithoutParameters):
    def forward(self, batch):
        return Output([0.0])


def failing(*arguments):
    raise RuntimeError("no such layer")


def nothing(*arguments):
    return None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Wrong", r"found emissions of shape \(2, \d+, 8\), expected \(2, \d+, 7\)"),
        ("NotANumber", "found emissions that are not finite"),
        ("WithoutOutputLayers", "found a network without `crf`, expected that it calls `add_outp"),
        ("WithoutParameters", "found a loss that depends on no parameter, expected one to train"),
        ("Untrainable", "found a loss that depends on no parameter, expected one to train"),
        ("WithoutTensor", "failed on the first posts: AttributeError: 'list' object has no"),
        ("failing", f"{__name__}:failing failed: RuntimeError: no such layer"),
        ("nothing", f"{__name__}:nothing returned NoneType, expected a TaggingModel"),
        ("absent", "which cannot be imported: AttributeError"),
    ],
)
def test_what_it_returns_is_checked_before_the_training(paths, tmp_path, name, message):
    with pytest.raises(HamlearnError, match=rf"systems\.mine\.build: .*{message}"):
        trained(paths, tmp_path / "run", f"{__name__}:{name}", ["encoder"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({"full": {"like": "full"}}, "systems.full: found 'full', expected a name that no system"),
        ({"mine": {}}, "systems.mine: found neither, expected either `build` or `like`"),
        ({"mine": {"like": "ful"}}, "systems.mine.like: found 'ful', expected one of .* full?"),
        (
            {"mine": {"build": "mine"}},
            "systems.mine.build: found 'mine', expected the form package",
        ),
        ({"mine": {"like": "full", "inputs": ["pictures"]}}, "systems.mine.inputs.0: found 'pict"),
    ],
)
def test_a_wrong_entry_is_one_error(systems, message):
    with pytest.raises(HamlearnError, match=message):
        load_settings({"systems": systems})


def test_the_example_is_quoted_as_it_stands():
    root = Path(__file__).parents[2]
    quoted = [
        block.removeprefix("python\n").rstrip("\n")
        for block in (root / "docs/extending.md").read_text().split("```")
        if block.startswith(("python\n        ", "yaml\nsystems"))
    ]
    files = ("examples/own_system.py", "config/own_system.yaml")
    texts = "\n".join((root / name).read_text() for name in files)
    assert len(quoted) == 3
    assert all(block.removeprefix("yaml\n") in texts for block in quoted)
    assert len((root / files[0]).read_text().splitlines()) <= 80
