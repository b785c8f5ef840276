import os
from typing import get_args

import pytest
import yaml
from snakemake.utils import update_config

from hamlearn import projects
from hamlearn.cli.projects import Template
from hamlearn.errors import HamlearnError
from hamlearn.settings import load_settings
from tests.workflow.project import ROOT


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_command_line_knows_every_template():
    assert set(get_args(Template)) == projects.TEMPLATES.keys()


@pytest.mark.parametrize("template", projects.TEMPLATES)
def test_a_project_has_a_configuration_folders_and_what_is_next(tmp_path, template):
    folder = tmp_path / "deep" / "mine"
    made = projects.create(folder, template)
    assert {".gitignore", "README.md", "config.yaml"} <= set(made)
    own = projects.TEMPLATES[template]
    given = yaml.safe_load((ROOT / "config" / own.config).read_text())
    if own.module:  # which lies in the project itself
        given["systems"]["gated_attention"]["build"] = f"{own.module}:GatedAttention"
        copy, example = folder / f"{own.module}.py", ROOT / "examples" / f"{own.module}.py"
        assert copy.read_bytes() == example.read_bytes()
    assert yaml.safe_load((folder / "config.yaml").read_text()) == given
    load_settings(folder / "config.yaml")
    text = (folder / "config.yaml").read_text()
    assert text.startswith(f"# {own.about} `hamlearn run`")
    assert "--configfile" not in text
    assert all((folder / name).is_dir() for name in own.folders)
    ignored = (folder / ".gitignore").read_text().split()
    assert all(f"{name.split('/')[0]}/" in ignored for name in ("results", *own.folders))
    assert not [name for name in names(folder) if ".init-" in name]


@pytest.mark.parametrize("template", projects.TEMPLATES)
def test_a_configuration_means_in_a_project_what_it_means_in_a_checkout(template):
    """A project's is completed by the defaults of the schema, that of a checkout by config.yaml."""
    given = yaml.safe_load((ROOT / "config" / projects.TEMPLATES[template].config).read_text())
    alone = load_settings(given)
    whole = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(whole, given)
    extended = load_settings(whole)
    if extended.predict.model:  # nothing is trained
        assert alone.predict == extended.predict
        return
    assert [alone.corpora[name] for name in alone.corpus] == [
        extended.corpora[name] for name in extended.corpus
    ]
    unused = {"corpora": True}
    if alone.text.encoder != "scratch":
        unused["text"] = {"scratch"}
    assert alone.model_dump(exclude=unused) == extended.model_dump(exclude=unused)


def test_an_empty_folder_is_taken_as_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    projects.create(tmp_path.relative_to(tmp_path), "demo")
    assert (tmp_path / "README.md").read_text().startswith(f"# {tmp_path.name}\n")


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(HamlearnError, match=r"holds 'notes\.txt', expected a new or empty folder"):
        projects.create(tmp_path, "demo")
    with pytest.raises(HamlearnError, match="found a file, expected a new or empty folder"):
        projects.create(tmp_path / "notes.txt", "demo")
    assert names(tmp_path) == ["notes.txt"]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(projects.Path, "rename", fail)
    with pytest.raises(HamlearnError, match="new: could not be written: No space left"):
        projects.create(tmp_path / "new", "own")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HamlearnError):
        projects.create(tmp_path / "empty", "own")
    assert names(tmp_path) == ["empty"]


@pytest.mark.parametrize(
    ("words", "all_cores"),
    [
        ([], True),
        (["-n", "results/report/metrics.csv"], True),
        (["--configfile", "c.yaml", "--config", "seeds=[0]"], True),
        (["--configfile=c.yaml", "x.csv", "-n"], True),
        (["-c2"], False),
        (["-c", "2"], False),
        (["--cores=2"], False),
        (["-j", "4"], False),
        (["--workflow-profile", "slurm"], False),
    ],
)
def test_all_cores_are_used_unless_it_is_said(tmp_path, monkeypatch, words, all_cores):
    started = {}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("seeds: 1")
    monkeypatch.setattr(os, "execve", lambda *given: started.update(zip("abc", given, strict=True)))
    projects.run(words)
    command = started["b"]
    assert command[1:4] == ["-m", "snakemake", "--snakefile"]
    assert command[4] == str(ROOT / "workflow/Snakefile")
    assert command[5:] == ["--cores", "all"] * all_cores + words
    assert started["c"]["PATH"].startswith(os.path.dirname(command[0]) + os.pathsep)


@pytest.mark.parametrize(
    "words",
    [
        ["--configfile", "no.yaml"],
        ["--configfile=no.yaml"],
        ["-n", "--configfiles", "a", "no.yaml"],
    ],
)
def test_a_configuration_that_is_absent_or_broken_is_one_error(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("seeds: 1")
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started"))
    with pytest.raises(HamlearnError, match=r"--configfile: found no file no\.yaml"):
        projects.run(words)
    (tmp_path / "no.yaml").write_text("variants:\n\t- full\n")
    with pytest.raises(HamlearnError, match=r"^no\.yaml: not YAML: (.*\n)+.*line 2, column 1"):
        projects.run(words)


def test_a_config_yaml_without_keys_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started"))
    for text in ("", "- a\n"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(HamlearnError, match=r"^config\.yaml:1: found"):
            projects.run(["-n"])
