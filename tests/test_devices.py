import logging
import os
import platform
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hamlearn import devices
from hamlearn.devices import free_device, free_devices, lock_names
from hamlearn.errors import HamlearnError
from hamlearn.io import file_lock

ROOT = Path(__file__).parents[1]

# Locks a name three times, and writes when it locked and released it; or keeps it for ever.
HOLDER = """
import sys, time
from pathlib import Path
from hamlearn.devices import lock_names
folder, times, *names = sys.argv[1:]
for _ in range(int(times)):
    with lock_names(names, 1, Path(folder)) as (index,):
        took = time.monotonic_ns()
        print(names[index], took, end=" ", flush=True)
        time.sleep(0.1 if int(times) > 1 else 600)
        print(time.monotonic_ns(), flush=True)
"""


def holder(folder, times, *names):
    """A process that takes a name, as a job would."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(times), *names],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def names_on_first_line(process, wanted):
    """Wait until a holder has said that it holds the wanted name."""
    assert process.stdout.read(len(wanted)) == wanted


def test_two_processes_never_hold_the_same_name(tmp_path):
    orders = (("a", "b"), ("b", "a"), ("a", "b"))  # as in processes that see the GPUs otherwise
    processes = [holder(tmp_path, 3, *names) for names in orders]
    spans = {"a": [], "b": []}
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        for line in said.splitlines():
            name, took, gave = line.split()
            spans[name].append((int(took), int(gave)))
    assert sum(map(len, spans.values())) == 9
    for held in map(sorted, spans.values()):
        assert held
        for (_, gave), (took, _) in pairwise(held):
            assert gave <= took


def test_a_killed_holder_frees_its_name_and_who_waits_says_so_once(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    process = holder(tmp_path, 1, "a", "b")
    try:
        names_on_first_line(process, "a")
        with lock_names(["a", "b"], 1, tmp_path) as (index,):
            assert index == 1
            assert caplog.text == ""

            looks = []

            def kill_at_the_second_look(seconds):
                looks.append(seconds)
                if len(looks) == 2:
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()

            monkeypatch.setattr(devices.time, "sleep", kill_at_the_second_look)
            with lock_names(["a", "b"], 1, tmp_path) as (index,):
                assert index == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [record.message for record in caplog.records] == [
        "other jobs hold all GPUs: waiting for 1 more"
    ]


def test_a_name_is_free_after_an_error(tmp_path):
    def fail():
        with lock_names(["a"], 1, tmp_path):
            raise RuntimeError("training failed")

    with pytest.raises(RuntimeError, match="training failed"):
        fail()
    with lock_names(["a"], 1, tmp_path) as (index,):
        assert index == 0


def test_locks_are_shared_by_all_users(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    with lock_names(["a"], 1):
        folder = tmp_path / "hamlearn-devices"
        modes = [path.stat().st_mode & 0o777 for path in (folder, folder / "a.lock")]
    assert modes == [0o777, 0o666]


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Two made-up GPUs; what is PyTorch's current one is written down."""
    current = []

    @contextmanager
    def device(index):
        current.append(index)
        yield
        current.append(None)

    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid{index}")
    )
    monkeypatch.setattr(torch.cuda, "device", device)
    return current


def test_each_job_takes_another_gpu_and_makes_it_the_current_one(gpus):
    with free_device() as first:
        assert (first, gpus) == ("cuda:0", [0])
        with free_device() as second:
            assert (second, gpus) == ("cuda:1", [0, 1])
    assert gpus == [0, 1, None, None]


def test_a_gpu_is_the_same_one_under_another_number(gpus, monkeypatch):
    with ExitStack() as stack:
        stack.enter_context(free_device())
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda index: SimpleNamespace(uuid=f"uuid{1 - index}"),  # CUDA_VISIBLE_DEVICES=1,0
        )
        assert stack.enter_context(free_device()) == "cuda:0"


def test_a_job_takes_several_gpus_or_as_many_processes(gpus, monkeypatch):
    with free_devices(2) as found:
        assert (found, gpus) == (["cuda:0", "cuda:1"], [0])
    with pytest.raises(HamlearnError, match=r"training.devices: found 3, expected at most 2"):
        free_devices(3).__enter__()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with free_devices(3) as found:
        assert found == ["cpu"] * 3


def test_two_that_want_several_never_wait_for_each_other(tmp_path, monkeypatch):
    names, every = ["a", "b", "c"], threading.Barrier(2)
    monkeypatch.setattr(devices, "_POLL", 0.001)
    taken, most = set(), []

    def job():
        every.wait()
        for _ in range(20):
            with lock_names(names, 2, tmp_path) as held:
                assert len(held) == 2
                assert not taken & set(held)
                taken.update(held)
                most.append(len(taken))
                threading.Event().wait(0.001)
                taken.difference_update(held)

    jobs = [threading.Thread(target=job, daemon=True) for _ in range(2)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join(60)
    assert most == [2] * 40


def test_who_wants_several_keeps_what_it_has_found_while_it_waits(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    names = ["a", "b", "c"]
    looks = []
    with ExitStack() as others:
        others.enter_context(lock_names(names, 2, tmp_path))

        def look(seconds):
            looks.append(seconds)
            with pytest.raises(HamlearnError, match="locked"):
                file_lock(tmp_path / "c.lock", timeout=0).__enter__()
            others.close()

        monkeypatch.setattr(devices.time, "sleep", look)
        with lock_names(names, 2, tmp_path) as held:
            assert held == [2, 0]
    assert len(looks) == 1
    assert [record.message for record in caplog.records] == [
        "other jobs hold all GPUs: waiting for 1 more"
    ]


def test_a_device_that_is_named_is_not_reserved(gpus):
    with free_device("cuda:1") as first, free_device("cuda:1") as second:
        assert (first, second, gpus) == ("cuda:1", "cuda:1", [])
    with pytest.raises(HamlearnError, match="device 'gpu': expected cpu, cuda"):
        free_device("gpu").__enter__()


def test_without_a_gpu_any_number_of_jobs_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with free_device() as first, free_device() as second:
        assert (first, second) == ("cpu", "cpu")


COUNT = """
import ctypes, resource, sys
from hamlearn.devices import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SIZE = 80 * 2**20

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(SIZE)
    ctypes.memset(block, 1, SIZE)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_block_that_was_freed_is_used_again_without_a_page_fault():
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    pages = 80 * 2**20 // 4096
    assert faults("as it is") > pages // 600  # a huge page is 512 of them
    assert faults("kept") < pages // 600


def test_bf16_is_fast_where_the_processor_multiplies_it():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if platform.machine() != "x86_64" or not flags:
        pytest.skip("no /proc/cpuinfo of an x86-64 processor to compare with")
    assert devices.multiplies_bf16() == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_the_machine_is_named_with_its_cores():
    name = devices.machine_name("cpu")
    assert name.endswith(f", {os.cpu_count()} cores")
    assert len(name.split(",")[0]) > 2
