import threading
import time

import pytest
import torch
from PIL import Image

from hamlearn.vision.decoding import decode_images
from hamlearn.vision.images import ImageError, Status


@pytest.fixture
def paths(tmp_path):
    for number in range(12):
        Image.new("RGB", (number + 1, 2)).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(12)]


def test_order_sizes_and_failures(paths):
    paths[3] = None
    paths[5].write_bytes(b"")
    items = list(decode_images(paths, lambda picture: picture.width, 1000, threads=4, ahead=3))
    assert [item.row for item in items] == list(range(12))
    assert [item.value for item in items if item.row not in (3, 5)] == [
        number + 1 for number in range(12) if number not in (3, 5)
    ]
    assert items[7].size == (8, 2)
    assert items[3].size == (0, 0)
    assert isinstance(items[3].value, ImageError)
    assert [items[row].value.status for row in (3, 5)] == [Status.MISSING, Status.UNDECODABLE]


def test_memory_is_bounded(paths):
    made = []
    for number, _ in enumerate(
        decode_images(paths, made.append, 1000, threads=4, ahead=3), start=1
    ):
        time.sleep(0.005)
        assert len(made) <= number + 3


def test_decoding_runs_beside_the_consumer(paths):
    second = threading.Event()

    def prepare(picture):
        if picture.width == 2:
            second.set()

    items = decode_images(paths, prepare, 1000, threads=1, ahead=2)
    next(items)
    assert second.wait(5)


def test_an_error_in_a_thread_is_an_error(paths):
    def prepare(picture):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decode_images(paths, prepare, 1000, threads=2, ahead=2))


def test_threads_that_decode_compute_alone_and_others_as_before(paths):
    before = torch.get_num_threads()
    seen, later = [], []
    torch.set_num_threads(2)
    try:
        items = decode_images(
            paths, lambda picture: seen.append(torch.get_num_threads()), 1000, threads=3, ahead=3
        )
        for _ in items:
            assert torch.get_num_threads() == 2
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 12
    assert later == [2]
