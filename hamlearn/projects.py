"""Projects: a folder with a configuration of its own, and how the workflow is run there."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hamlearn.distribution import root, snakefile
from hamlearn.errors import HamlearnError
from hamlearn.io import parse_yaml, read_yaml
from hamlearn.outputs import name_write_errors

# What says how many jobs run at a time; without it, as many as there are cores.
_STATES_CORES = re.compile(r"-[cj]\d*|--(cores|jobs|profile|workflow-profile)(=.*)?", re.DOTALL)
_PAPER = "resources/twitter2015, resources/twitter2017"


class Template(NamedTuple):
    """A kind of project.

    Attributes:
        config: its configuration, a file in `config/`.
        about: in one sentence.
        folders: for data; Git ignores them.
        steps: what is next, as Markdown.
        module: of `examples/`, which the configuration names; its file is copied into the project.
    """

    config: str
    about: str
    folders: tuple[str, ...]
    steps: str
    module: str | None = None


TEMPLATES = {
    "demo": Template(
        "config.yaml",
        "The embedded demo: a generated corpus, the paper's model and its ablations.",
        (),
        "1. `hamlearn run` runs it all, in 4 to 10 minutes on two cores.\n",
    ),
    "own": Template(
        "own.yaml",
        "A corpus of one's own.",
        ("mine/images",),
        "1. Put `train.txt`, `test.txt` and, if there is one, `valid.txt` into `mine/`: lines of"
        " `token<TAB>label`, an empty line after each post, `IMGID:NAME` before it.\n"
        "2. Put the images into `mine/images/`, as `NAME.jpg`.\n"
        "3. `hamlearn corpus check mine` says whether they can be used.\n"
        "4. Edit the lines marked CHANGE in `config.yaml`, then `hamlearn run`.\n",
    ),
    "paper": Template(
        "paper.yaml",
        "Every table of the paper.",
        ("resources/twitter2015/images", "resources/twitter2017/images", "resources/weights"),
        f"1. Put the texts of the corpora into {_PAPER}, the images into `images/` there.\n"
        "2. `hamlearn corpus check resources/twitter2017` says whether they are complete.\n"
        "3. `hamlearn weights list --settings config.yaml` says which weights are absent;"
        " `weights fetch` fetches those whose digest is known.\n"
        "4. `hamlearn run -n` lists the runs, `hamlearn run` makes them.\n",
    ),
    "own_system": Template(
        "own_system.yaml",
        "A system of one's own next to the text alone, on the embedded demo.",
        (),
        "1. `own_system.py` is the system: change it.\n"
        "2. `hamlearn run` trains and tests it; an edit of the file trains it again.\n"
        "3. Under `systems`, `inputs` in `config.yaml` says what it reads of a post.\n",
        module="own_system",
    ),
    "predict": Template(
        "predict.yaml",
        "Entities in posts of one's own, by a trained model.",
        ("pictures",),
        "1. Put a model that `hamlearn export` wrote into `mymodel/`, the posts into `posts.jsonl`,"
        " and the images that they name into `pictures/`.\n"
        "2. Edit the lines marked CHANGE in `config.yaml`, then `hamlearn run`. The entities are in"
        " `results/posts/posts.jsonl`.\n",
    ),
}
_README = """\
# {name}

{about}

{steps}
`hamlearn run` takes targets and all options of Snakemake: `hamlearn run -n` lists what would run,
`hamlearn run --cores 4` uses four cores. What is finished is not made again. Results are in
`{results}/`, the report is `{results}/report/index.html`. `hamlearn doctor` describes this machine.
"""
_HEAD = """\
# {about} `hamlearn run` in this folder runs it.
# An unknown key or a wrong value is refused by name; `hamlearn schema` lists all keys.

"""


def create(folder: Path, template: str) -> list[str]:
    """Create a project and return the names of what is in it, sorted.

    Args:
        folder: created if absent.
        template: one of TEMPLATES.

    Raises:
        HamlearnError: the folder is not empty, or cannot be written; then nothing is left there.
    """
    if folder.exists() and not folder.is_dir():
        raise HamlearnError(f"{folder}: found a file, expected a new or empty folder")
    if folder.is_dir() and (found := sorted(os.listdir(folder))):
        raise HamlearnError(f"{folder}: holds {found[0]!r:.100}, expected a new or empty folder")
    is_new = not folder.exists()
    with name_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".init-", dir=folder) as scratch:
                part = Path(scratch)
                _write(part, folder.resolve().name, TEMPLATES[template])
                for name in sorted(os.listdir(part)):
                    (part / name).rename(folder / name)
        except BaseException:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if is_new:
                folder.rmdir()
            raise
    return sorted(os.listdir(folder))


def _write(folder: Path, name: str, template: Template) -> None:
    text = (root() / "config" / template.config).read_text(encoding="utf-8")
    body = re.sub(r"\A(#.*\n)+\n*", "", text).replace(f"config/{template.config}", "config.yaml")
    ignored = ["results/", ".snakemake/", "__pycache__/"]
    for one in template.folders:
        (folder / one).mkdir(parents=True)
        top = one.split("/")[0]
        ignored += [] if f"{top}/" in ignored else [f"{top}/"]
    files = {
        "config.yaml": _HEAD.format(about=template.about) + body,
        "README.md": _README.format(
            name=name,
            about=template.about,
            steps=template.steps,
            results=parse_yaml(body, template.config).get("results", "results"),
        ),
        ".gitignore": "\n".join(ignored) + "\n",
    }
    if template.module:
        name = f"{template.module}.py"
        files[name] = (root() / "examples" / name).read_text(encoding="utf-8")
        files["config.yaml"] = files["config.yaml"].replace("examples.", "")
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")


def run(words: Sequence[str]) -> None:
    """Run the workflow in the working folder, in place of this process.

    Its jobs run with the Python that runs this.

    Args:
        words: targets and options of Snakemake.

    Raises:
        HamlearnError: config.yaml or a file of `--configfile` is absent or not a mapping in YAML,
            of which Snakemake says neither the name nor the line.
    """
    if Path("config.yaml").is_file():
        read_yaml("config.yaml")
    for name in _config_files(words):
        if not Path(name).is_file():
            raise HamlearnError(
                f"--configfile: found no file {name}, expected a configuration; it takes all words"
                " up to the next option, so write what is to be made before it"
            )
        read_yaml(name)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile())]
    if not any(_STATES_CORES.fullmatch(word) for word in words):
        command += ["--cores", "all"]
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    environment = {**os.environ, "PATH": os.pathsep.join(folders)}
    os.execve(sys.executable, [*command, *words], environment)


def _config_files(words: Sequence[str]) -> Iterator[str]:
    """Yield the values of `--configfile`, which takes several words."""
    is_value = False
    for word in words:
        if word.startswith("-"):
            name, is_one, value = word.partition("=")
            is_ours = name in ("--configfile", "--configfiles")
            is_value = is_ours and not is_one  # with `=` it takes no further word
            if is_ours and is_one:
                yield value
        elif is_value:
            yield word
