"""The thread that writes: nothing of what goes wrong in it is lost, and the order is kept."""

import json
import threading

import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.shards import shard_writer
from hamlearn.features.store import FeatureFile, attributes_of, image_columns
from hamlearn.settings import load_settings
from hamlearn.vision.images import Decoded, ImageError, Status

IDS = [f"p{number}" for number in range(12)]


def writer(out):
    columns, attributes = image_columns(1, "float16"), attributes_of("images", "a", "b", "c", 0, {})
    return shard_writer(
        out, dict.fromkeys(IDS), columns, attributes, load_settings(json.dumps({})), "cpu"
    )


def item(number):
    return Decoded(number, (3, 2), None)


def written(out, values):
    """Write one value a row; call what can be called."""
    with writer(out) as shard:
        for number, value in enumerate(values):
            shard.put(
                [item(number)],
                lambda value=value: [{"features": [value() if callable(value) else value]}],
            )


def test_rows_are_written_in_another_thread_in_their_order(tmp_path):
    threads, order = set(), []

    def values(number):
        threads.add(threading.current_thread())
        order.append(number)
        return [{"features": [number]}]

    with writer(tmp_path / "a.h5") as shard:
        for number in range(11):
            shard.put([item(number)], lambda number=number: values(number))
        failed = Decoded(11, (0, 0), ImageError(Status.MISSING, "gone"))
        assert list(shard.readable([failed])) == []
    assert order == list(range(11))
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    with FeatureFile(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file.rows("features", range(11))[:, 0], range(11))
        assert file.reasons == [*[""] * 11, "gone"]


@pytest.mark.parametrize("wrong", [0, 11])
def test_a_value_that_cannot_be_stored_ends_the_shard(tmp_path, wrong):
    values = [1e6 if number == wrong else 1 for number in range(12)]
    with pytest.raises(HamlearnError, match=f"p{wrong}: `features` is not finite as float16"):
        written(tmp_path / "a.h5", values)
    assert list(tmp_path.iterdir()) == []


def test_few_rows_wait(tmp_path):
    go, asked = threading.Event(), []

    def value():
        assert go.wait(30)
        return 1

    def values():
        for number in range(12):
            asked.append(number)
            yield value

    loop = threading.Thread(target=written, args=(tmp_path / "a.h5", values()))
    loop.start()
    loop.join(0.3)
    held = len(asked)
    go.set()
    loop.join(30)
    assert 1 <= held <= 6
    assert len(asked) == 12
    assert (tmp_path / "a.h5").is_file()


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    def values():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "a.h5", values())
    assert list(tmp_path.iterdir()) == []
