"""A conda installation in miniature: the stand-in command, a channel and an index of wheels.

    bin/conda, bin/activate    what Snakemake calls
    channel/                   the file:// channel: `python` and `pip`, those that run the tests
    wheels/                    a wheel for every distribution that is installed beside the tests
    links/NAME/                links to the modules of that distribution

A wheel holds the metadata of its distribution and a .pth file that leads to its links. So pip
resolves and installs as it would from an index, in no time, and an environment sees the
distributions that pip chose for it and no other.
"""

import csv
import hashlib
import io
import json
import shlex
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name
from rattler import Subdir

COMMAND = Path(__file__).with_name("command.py")
PYTHON = "python{}.{}".format(*sys.version_info)


def lay(folder: Path) -> None:
    """Lay the installation into a folder that is not there yet."""
    links, wheels, channel = folder / "links", folder / "wheels", folder / "channel"
    wheels.mkdir(parents=True)
    for found in distributions():
        write_wheel(found, links, wheels)
    write_python(channel)
    write_pip(channel)
    words = shlex.join([sys.executable, str(COMMAND), str(folder)])
    write_executable(folder / "bin" / "conda", f'#!/bin/sh\nexec {words} "$@"\n')
    write_executable(
        folder / "bin" / "activate", 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'
    )


def write_executable(path: Path, text: str) -> None:
    """Write a script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


# --- wheels ----------------------------------------------------------------------------------


def write_wheel(found: Distribution, links: Path, wheels: Path) -> None:
    """Write the wheel that leads to a distribution which is installed here.

    Distributions that share a folder, as those of nvidia do, come into sight together.
    """
    record = found.read_text("RECORD")
    name = canonicalize_name(found.name).replace("-", "_")
    place = links / name
    if record is None or place.exists():
        return
    place.mkdir(parents=True)
    for top in {PurePosixPath(row[0]).parts[0] for row in csv.reader(record.splitlines())}:
        if not top.endswith((".dist-info", "..", "__pycache__")):
            (place / top).symlink_to(Path(str(found.locate_file(top))))
    info = f"{name}-{found.version}.dist-info"
    files = {
        f"{info}/METADATA": found.read_text("METADATA") or "",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.pth": f"{place}\n",
    }
    if points := found.read_text("entry_points.txt"):
        files[f"{info}/entry_points.txt"] = points
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheels / f"{name}-{found.version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


# --- the channel -----------------------------------------------------------------------------


def write_python(channel: Path) -> None:
    """Write the package `python`: an environment of the Python that runs the tests."""
    real = Path(sys.base_prefix, "bin", PYTHON).resolve()
    version = "{}.{}.{}".format(*sys.version_info)
    settings = f"home = {real.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    files: dict[str, bytes | Path] = {
        "pyvenv.cfg": settings.encode(),
        f"bin/{PYTHON}": real,
        "bin/python3": Path(PYTHON),
        "bin/python": Path(PYTHON),
    }
    platform = str(Subdir.current())
    index = {"name": "python", "version": version, "build": "0_cpython", "subdir": platform}
    write_package(channel, index, files)


def write_pip(channel: Path) -> None:
    """Write the package `pip`: the one beside the tests."""
    pip = distribution("pip")
    files: dict[str, bytes | Path] = {
        f"site-packages/{path}": path.read_binary()
        for path in pip.files or []
        if path.suffix != ".pyc" and path.parts[0] != ".."
    }
    index = {
        "name": "pip",
        "version": pip.version,
        "build": "pyh0_0",
        "subdir": "noarch",
        "noarch": "python",
        "depends": ["python"],
    }
    write_package(channel, index, files)


def write_package(channel: Path, index: dict[str, Any], files: dict[str, bytes | Path]) -> None:
    """Write a subdirectory of the channel with one package in it.

    Args:
        channel: Folder of the channel.
        index: What the package says of itself.
        files: Its files; content that is a path makes a link to there.
    """
    index = {"build_number": 0, "depends": [], **index}
    paths = []
    members = []
    for name, content in files.items():
        member = tarfile.TarInfo(name)
        data = b"" if isinstance(content, Path) else content
        if isinstance(content, Path):
            member.type, member.linkname = tarfile.SYMTYPE, str(content)
        member.size = len(data)
        members.append((member, data))
        paths.append(
            {
                "_path": name,
                "path_type": "softlink" if isinstance(content, Path) else "hardlink",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_in_bytes": len(data),
            }
        )
    described = {"index": index, "paths": {"paths": paths, "paths_version": 1}}
    if "noarch" in index:
        described["link"] = {"noarch": {"type": "python"}, "package_metadata_version": 1}
    for name, values in described.items():
        data = json.dumps(values).encode()
        member = tarfile.TarInfo(f"info/{name}.json")
        member.size = len(data)
        members.append((member, data))
    folder = channel / index["subdir"]
    folder.mkdir(parents=True)
    file = folder / "{name}-{version}-{build}.tar.bz2".format(**index)
    with tarfile.open(file, "w:bz2", compresslevel=1) as package:
        for member, data in members:
            package.addfile(member, io.BytesIO(data))
    whole = file.read_bytes()
    record = {**index, "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    listed = {"info": {"subdir": index["subdir"]}, "packages": {file.name: record}}
    (folder / "repodata.json").write_text(json.dumps(listed))
