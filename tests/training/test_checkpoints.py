from functools import partial
from types import SimpleNamespace

import pytest
import torch

from hamlearn.training.checkpoints import LastCheckpoint


def save(checkpoint, epochs):
    content = {"weights": torch.arange(300.0), "history": [{"epoch": 1}] * epochs}
    trainer = SimpleNamespace(is_global_zero=True, save_checkpoint=partial(torch.save, content))
    checkpoint.on_train_epoch_end(trainer, None)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of one epoch."""
    checkpoint = LastCheckpoint(tmp_path / "seed0", "these inputs")
    save(checkpoint, epochs=1)
    return checkpoint


def test_a_checkpoint_of_the_same_run_is_kept_until_the_run_is_written(saved, tmp_path):
    again = LastCheckpoint(tmp_path / "seed0", "these inputs")
    again.remove_unusable()
    assert sorted(path.name for path in again.folder.iterdir()) == ["digests", "last.ckpt"]
    again.remove()
    assert not list(tmp_path.iterdir())


def test_the_checkpoints_of_other_runs_stay(saved, tmp_path):
    other = tmp_path / "checkpoints" / "seed1"
    other.mkdir()
    saved.remove()
    assert list((tmp_path / "checkpoints").iterdir()) == [other]


def test_a_checkpoint_of_other_inputs_is_removed(saved, tmp_path, caplog):
    caplog.set_level("INFO")
    LastCheckpoint(tmp_path / "seed0", "other inputs").remove_unusable()
    assert not saved.path.exists()
    assert "made from other inputs or settings: training starts over" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "no digests", "other digests"])
def test_a_damaged_checkpoint_is_removed(saved, damage):
    content = saved.path.read_bytes()
    middle = len(content) // 2
    if damage == "cut":
        saved.path.write_bytes(content[:-1])
    elif damage == "empty":
        saved.path.write_bytes(b"")
    elif damage == "bit":
        changed = bytes([content[middle] ^ 1])
        saved.path.write_bytes(content[:middle] + changed + content[middle + 1 :])
    elif damage == "no digests":
        saved.digests.unlink()
    else:
        saved.digests.write_bytes(b"\xff")
    saved.remove_unusable()
    assert not saved.folder.exists()


def test_digests_survive_a_line_that_was_cut_short(saved):
    saved.digests.write_bytes(saved.digests.read_bytes() + b"0123")
    save(saved, epochs=2)
    saved.remove_unusable()
    assert saved.path.exists()


def test_only_the_first_process_writes(tmp_path):
    checkpoint, called = LastCheckpoint(tmp_path / "seed0", ""), []
    trainer = SimpleNamespace(is_global_zero=False, save_checkpoint=called.append)
    checkpoint.on_train_epoch_end(trainer, None)
    assert called == [checkpoint.path]  # Lightning waits there for the others, and writes nothing
    assert not list(tmp_path.iterdir())
