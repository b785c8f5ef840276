"""Small trainings for the tests of this folder."""

import csv
import json

import torch
from safetensors.torch import load_file

from hamlearn.data.sources import InputFiles
from hamlearn.settings import load_settings
from hamlearn.training.run import train

VISUAL = ("images", "objects", "graphs")
TIMES = {"seconds", "seconds_per_epoch", "ended"}


class Killed(Exception):
    """Stands for the end of a process that is killed."""


def settings_for(epochs=3, **changes):
    model = {"heads": 2, "vit_layers": 1, "rounds": 1, "class_width": 8, "graph_backend": "dense"}
    chosen = {"epochs": epochs, "batch_size": 8, "lr": 5e-3, "word_dropout": 0.1} | changes
    return load_settings(json.dumps({"model": model, "training": chosen}))


def run(paths, out, variant="text_only", seed=0, settings=None, **changes):
    files = {name: paths[name] for name in VISUAL} if variant != "text_only" else {}
    return train(
        paths["posts"],
        paths["encoder"],
        settings or settings_for(),
        variant,
        seed,
        out,
        InputFiles(**(files | changes)),
    )


def killed_in(patch, loop, epoch, step=0):
    """Let a training end in this step."""
    whole_step = loop.training_step

    def dying_step(self, batch, number):
        if (self.current_epoch, number) == (epoch, step):
            raise Killed
        return whole_step(self, batch, number)

    patch.setattr(loop, "training_step", dying_step)


def history(out):
    with (out / "history.csv").open() as file:
        return list(csv.DictReader(file))


def same_weights(one, two):
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def timeless(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]
