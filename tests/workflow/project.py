"""A copy of the project that DAG tests run in and may edit."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")


class Project:
    """The workflow, its configuration and the package's source in a folder of their own.

    Stages are run by the stand-in, or by the package itself where the project is `real`.
    """

    def __init__(self, folder: Path, real: bool = False) -> None:
        self.folder = folder
        folder.mkdir()
        nothing = shutil.ignore_patterns("__pycache__")
        for name in ("workflow", "envs", "profiles", "hamlearn"):
            shutil.copytree(ROOT / name, folder / name, ignore=nothing)
        shutil.copytree(ROOT / "config", folder / "config", symlinks=True)
        config = (ROOT / "config.yaml").read_text(encoding="utf-8")
        for control in ("trained_shuffled: [full]", "controls: [removed, shuffled, blank]"):
            assert control in config  # left out here, since each is a job more for every run
            config = config.replace(control, f"{control.partition(':')[0]}: []")
        (folder / "config.yaml").write_text(config, encoding="utf-8")
        (folder / "resources").mkdir()
        shutil.copy(ROOT / "resources" / "published.yaml", folder / "resources")
        if real:
            shutil.copytree(ROOT / "resources" / "demo", folder / "resources" / "demo")
        else:
            self.write("resources/demo/resnet.safetensors", "weights")
            self.write("resources/demo/detector.safetensors", "weights")
        for name in ("resnet152-f82ba261.pth", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"):
            self.write(f"cache/torch/hub/checkpoints/{name}", "weights")
        for encoder in ("bert-x", "bert-y", "bert-base-uncased"):  # of the hub
            snapshot = f"cache/huggingface/hub/models--{encoder}"
            self.write(f"{snapshot}/refs/main", "c0ffee")
            for name in ("model.safetensors", "vocab.txt"):
                self.write(f"{snapshot}/snapshots/c0ffee/{name}", "weights")
            self.write(f"{snapshot}/snapshots/c0ffee/config.json", '{"model_type": "bert"}')
        stage = f'"{sys.executable}"' if real else f'"{sys.executable}" -S "{STAND_IN}"'
        python = folder / "bin" / "python"
        self.write("bin/python", f'#!/bin/sh\nexec {stage} "$@"\n')
        python.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def overlay(self, **changes: Any) -> list[str]:
        """Return the arguments that lay these changes over config.yaml."""
        self.write("changes.yaml", yaml.safe_dump(changes))
        return ["--configfile", "changes.yaml"]

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment of Snakemake in this project."""
        words = [sys.executable, "-m", "snakemake", "--cores", "2", "--nocolor", *arguments]
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        cache = self.folder / "cache"
        cached = {"XDG_CACHE_HOME": str(cache), "HF_HOME": str(cache / "huggingface")}
        return words, {**os.environ, **cached, "PATH": path}

    def snakemake(self, *arguments: str, ok: bool = True, patience: float = 1200) -> str:
        """Run Snakemake here, for so many seconds at most, and return what it says."""
        words, environment = self.command(*arguments)
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
        )
        assert (done.returncode == 0) == ok, done.stdout
        return done.stdout

    def planned(self, **changes: Any) -> Counter[str]:
        """Return how often each rule would run after these changes of the configuration."""
        said = self.snakemake("-n", "--quiet", "rules", *(self.overlay(**changes)))
        table = re.search(r"^job +count\n[- ]+\n(.*?)^total", said, re.DOTALL | re.MULTILINE)
        if table is None:
            assert "Nothing to be done" in said, said
            return Counter()
        rows = (line.split() for line in table[1].splitlines())
        return Counter({name: int(count) for name, count in rows if name != "all"})

    def calls(self) -> list[dict[str, Any]]:
        """Return what the stand-in was told: words, threads and path."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]
