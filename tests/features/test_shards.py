import threading

import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.shards import shard_of, write_shard
from hamlearn.features.store import FeatureFile, attributes_of, image_columns
from hamlearn.vision.images import Decoded, ImageError, Status

IDS = [f"p{number}" for number in range(12)]


def test_shards_are_contiguous_and_cover_everything():
    pictures = {str(number): number for number in range(11)}
    parts = [shard_of(pictures, (number, 4)) for number in range(1, 5)]
    assert [len(part) for part in parts] == [2, 3, 3, 3]
    assert [number for part in parts for number in part.values()] == list(range(11))
    for wrong in ((0, 4), (5, 4)):
        with pytest.raises(HamlearnError, match=f"shard {wrong[0]} of 4"):
            shard_of(pictures, wrong)


def written(out, values, process=None):
    """Write one value per row; functions are called first."""

    def default(batch):
        (item,) = batch
        value = item.value
        return lambda: [{"features": [value() if callable(value) else value]}]

    write_shard(
        out,
        IDS,
        image_columns(1, "float16"),
        attributes_of("images", "a", "b", "c", False, {}),
        (Decoded(number, (3, 2), value) for number, value in enumerate(values)),
        process or default,
        is_strict=False,
        where="cpu",
    )


def test_rows_are_written_in_another_thread_in_their_order(tmp_path):
    threads, order = set(), []

    def process(batch):
        (item,) = batch

        def rows():
            threads.add(threading.current_thread())
            order.append(item.value)
            return [{"features": [item.value]}]

        return rows

    gone = ImageError(Status.MISSING, "gone")
    written(tmp_path / "a.h5", [*range(6), gone, *range(7, 12)], process)
    assert order == [*range(6), *range(7, 12)]
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    with FeatureFile(tmp_path / "a.h5") as file:
        expected = [*range(6), 0, *range(7, 12)]
        np.testing.assert_array_equal(file.rows("features", range(12))[:, 0], expected)
        assert file.reasons == [*[""] * 6, "gone", *[""] * 5]


@pytest.mark.parametrize("wrong", [0, 11])
def test_a_value_that_cannot_be_stored_ends_the_shard(tmp_path, wrong):
    values = [1e6 if number == wrong else 1 for number in range(12)]
    with pytest.raises(HamlearnError, match=f"p{wrong}: `features` is not finite as float16"):
        written(tmp_path / "a.h5", values)
    assert list(tmp_path.iterdir()) == []


def test_few_rows_wait(tmp_path):
    go, taken = threading.Event(), []

    def value():
        assert go.wait(30)
        return 1

    def values():
        for number in range(12):
            taken.append(number)
            yield value

    loop = threading.Thread(target=written, args=(tmp_path / "a.h5", values()))
    loop.start()
    loop.join(0.3)
    held = len(taken)
    go.set()
    loop.join(30)
    assert 1 <= held <= 6
    assert len(taken) == 12
    assert (tmp_path / "a.h5").is_file()


def test_an_interrupted_shard_leaves_nothing(tmp_path):
    def values():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "a.h5", values())
    assert list(tmp_path.iterdir()) == []
