"""Stands for `conda` in tests: the calls that Snakemake 9 makes, carried out by rattler.

    command.py INSTALLATION ARGUMENTS

An environment is really solved and installed, from the channel of the installation in the place
of every channel that its file names, and pip fills it from the wheels there and from nowhere else.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from rattler import Channel, Gateway, Subdir, VirtualPackage, install, solve

VERSION = "24.7.1"  # the oldest that Snakemake takes


def main(installation: Path, words: list[str]) -> None:
    """Answer one call."""
    match words:
        case ["--version"]:
            print(f"conda {VERSION}")
        case ["info", "--json"]:
            facts = {"conda_prefix": str(installation), "platform": str(Subdir.current())}
            print(json.dumps(facts))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["clean", "-y", "--tarballs"]:
            pass  # after each environment; the next one is made of the same packages
        case ["env", "create", *options]:
            create(installation, options)
        case _:
            sys.exit(f"conda stand-in: expected a call of Snakemake 9, found {words}")


def create(installation: Path, options: list[str]) -> None:
    """Make the environment of a file."""
    parser = argparse.ArgumentParser(prog="conda env create", allow_abbrev=False)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--no-default-packages", action="store_true")
    asked = parser.parse_args(options)
    *packages, rest = yaml.safe_load(asked.file.read_text())["dependencies"]
    asyncio.run(fill(asked.prefix, packages, installation))
    # Python must not end right after rattler, whose threads may still be leaving it: pip is last.
    pip(asked.prefix, rest["pip"], installation / "wheels")


async def fill(prefix: Path, packages: list[str], installation: Path) -> None:
    """Solve for conda packages and install what was chosen."""
    cache = installation / "cache"
    chosen = await solve(
        [Channel((installation / "channel").as_uri())],
        packages,
        gateway=Gateway(cache_dir=cache / "index"),
        virtual_packages=VirtualPackage.detect(),
    )
    await install(chosen, prefix, cache_dir=cache / "packages", show_progress=False)


def pip(prefix: Path, requirements: list[str], wheels: Path) -> None:
    """Install the requirements with the environment's own pip, from these wheels alone."""
    file = prefix.with_suffix(".pip.txt")
    file.write_text("".join(f"{line}\n" for line in requirements))
    outside = ("PIP_", "PYTHONPATH")  # neither settings nor packages of the caller
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(outside)}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    environment["PIP_FIND_LINKS"] = str(wheels)
    words = [prefix / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    done = subprocess.run([*words, "--requirement", file], env=environment, check=False)
    if done.returncode:
        sys.exit(f"conda stand-in: pip ended with {done.returncode}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
