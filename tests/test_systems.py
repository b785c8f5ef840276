import re
from pathlib import Path

import pytest

import hamlearn
from hamlearn.corpus.statistics import PUBLISHED
from hamlearn.errors import HamlearnError
from hamlearn.io import read_yaml
from hamlearn.systems import (
    ABLATIONS,
    SYSTEMS,
    Inputs,
    System,
    check_can_freeze,
    encoder_outputs_name,
    get_system,
    image_features_name,
    inputs_of,
    transfer_name,
)

PACKAGE = Path(hamlearn.__file__).parent


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_module_and_a_way_to_read_words(name):
    system = SYSTEMS[name]
    module = system.module.removeprefix("hamlearn.").replace(".", "/")
    assert (PACKAGE / f"{module}.py").is_file()
    assert not system.is_own
    assert system.inputs.encoder != system.inputs.lexicon


def test_ablations_are_systems_of_one_module():
    assert {SYSTEMS[name].module for name in ABLATIONS} == {"hamlearn.model.hamlearning"}


@pytest.mark.parametrize(
    ("inputs", "files"),
    [
        (Inputs(), ()),
        (Inputs(reads=("captions",)), ()),
        (Inputs(reads=("captions", "names")), ("objects",)),
        (Inputs(stages=True), ("images",)),
        (Inputs(crops=True), ("images", "objects")),
        (Inputs(image=True, objects=True), ("images", "objects")),
        (Inputs(graphs=True), ("objects", "graphs")),
    ],
)
def test_inputs_name_the_files_that_they_come_from(inputs, files):
    assert inputs.files == files


def test_an_unknown_system_is_refused():
    with pytest.raises(HamlearnError, match="variant: found 'bert-L2', expected one of full, wo_"):
        get_system("bert-L2")


def test_a_system_with_the_image_in_its_encoder_cannot_be_frozen():
    check_can_freeze("bert", inputs_of("bert"))
    with pytest.raises(HamlearnError, match=r"text\.freeze: found the variant hvpnet"):
        check_can_freeze("hvpnet", inputs_of("hvpnet"))
    with pytest.raises(HamlearnError, match="which feeds queries into the encoder"):
        check_can_freeze("mner_qg", inputs_of("mner_qg"))
    assert [
        name for name in SYSTEMS if inputs_of(name).encoder and not inputs_of(name).can_freeze
    ] == [
        "hvpnet",
        "mrc_mner",
        "mner_qg",
    ]


def test_files_are_named_by_what_they_hold():
    stages = Inputs(image=True, stages=True)
    assert image_features_name(Inputs(image=True), "demo", "d") == "demo"
    assert image_features_name(stages, "demo", "d") == "demo_stages"
    assert image_features_name(stages, "demo", "d", stored=["stages"]) == "demo"
    crops = Inputs(stages=True, crops=True)
    assert image_features_name(crops, "demo", "d") == "demo_stages_crops_d"
    assert image_features_name(crops, "demo", "d", stored=["stages"]) == "demo_crops_d"
    assert encoder_outputs_name(Inputs()) == "words"
    assert encoder_outputs_name(Inputs(one_segment=True)) == "words"
    assert encoder_outputs_name(Inputs(reads=("ocr", "names"))) == "words+ocr+names"
    assert encoder_outputs_name(inputs_of("ita")) == "words1+names+captions+ocr"
    assert transfer_name("twitter2017", "twitter2015") == "twitter2017_to_twitter2015"


@pytest.mark.parametrize("build", ["hamlearn.__main__:main", "hamlearn.io:Path", "os:system"])
def test_only_what_builds_a_system_of_hamlearn_is_not_own(build):
    assert System("", build).is_own
    assert not any(system.is_own for system in SYSTEMS.values())


def test_what_a_system_has_otherwise_than_its_authors_is_said_once_and_in_the_documentation():
    differences = read_yaml(PUBLISHED)["differences"]
    page = (PUBLISHED.parents[1] / "docs" / "systems.md").read_text()
    assert {*differences} == {"all", *SYSTEMS} - {*ABLATIONS, "text_only"}
    assert all(f"- {common}\n" in page for common in differences.pop("all"))
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    for name, found in differences.items():
        code = found.get("code", "")
        link = f"[{code.removeprefix('https://github.com/')}]({code})" if code else ""
        parts = [*found.get("inputs", []), *found.get("differs", [])]
        assert rows[name] == f"{link} | {'; '.join(parts)}"
    assert {*rows} == {*differences}
