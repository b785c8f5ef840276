import hashlib
import importlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import pytest
from torchvision.models import ResNet152_Weights
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from hamlearn.errors import HamlearnError
from hamlearn.networks import BACKBONES, DETECTORS, DetectorSettings
from hamlearn.vision import published
from hamlearn.vision.base import load_detector
from hamlearn.vision.published import (
    MASK_RCNN,
    MODEL_ZOO,
    choose_backend,
    fetch,
    required_backend,
)


def test_the_urls_of_torchvisions_names_are_its_own():
    for source, theirs in (
        ("torchvision:resnet152", ResNet152_Weights),
        (MASK_RCNN, MaskRCNN_ResNet50_FPN_Weights),
    ):
        for weights in theirs:
            assert published.published(source).named[weights.name] == weights.url
            path = published.cached(weights.url)
            digest = published.known_digest(path)
            assert len(digest) in (8, 64)
            assert f"-{digest[:8]}." in path.name
    files = [url for one in published._PUBLISHED.values() for url in one.named.values()]
    assert published._DIGESTS.keys() <= {published.file_name(url) for url in files}


def test_torchvision_states_its_own_urls():
    found = published.torchvision_urls("resnet50")
    assert found["IMAGENET1K_V2"].endswith("/resnet50-11ad3fa6.pth")
    with pytest.raises(HamlearnError, match="torchvision:resnet51: found no such model"):
        published.torchvision_urls("resnet51")


def test_the_sources_are_those_of_the_tables():
    for table in (BACKBONES, DETECTORS):
        for network in table.values():
            assert published.published(network.source) != published.published(None)


# --- fetching ---------------------------------------------------------------------------------


LARGE = bytes(range(256)) * 4000  # a megabyte
LARGE_DIGEST = hashlib.sha256(LARGE).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves one file; `server.cut` bytes of it at most."""

    def do_GET(self):
        self.server.requests += 1
        if self.path != "/net.pth":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(LARGE)))
        self.end_headers()
        self.wfile.write(LARGE[: self.server.cut])

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.requests, made.cut = 0, None
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{made.server_port}/net.pth"
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "net.pth"


def left(path):
    return {file.name for file in path.parent.iterdir()} - {"net.pth.lock"}


def test_a_file_is_fetched(server, path):
    fetch(server.url, path, LARGE_DIGEST[:8])
    assert path.read_bytes() == LARGE
    assert left(path) == {"net.pth"}


def test_a_fetch_that_is_cut_off_leaves_nothing(server, path):
    server.cut = 300_000
    with pytest.raises(HamlearnError, match=r"net\.pth"):
        fetch(server.url, path, LARGE_DIGEST)
    assert left(path) == set()


def test_a_file_of_another_digest_is_not_kept(server, path):
    with pytest.raises(HamlearnError, match="expected 0000"):
        fetch(server.url, path, "0" * 64)
    assert left(path) == set()


def test_urls_that_do_not_answer_leave_nothing(server, path):
    with pytest.raises(HamlearnError, match="404"):
        fetch(server.url.replace("net", "other"), path, LARGE_DIGEST)
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(HamlearnError, match="refused"):
        fetch(f"http://127.0.0.1:{port}/net.pth", path, LARGE_DIGEST)
    with pytest.raises(HamlearnError):
        fetch(path.as_uri(), path, LARGE_DIGEST)
    assert left(path) == set()


def test_several_at_once_fetch_one_file(server, path):
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(fetch, server.url, path, LARGE_DIGEST) for _ in range(6)]:
            done.result()
    assert path.read_bytes() == LARGE
    assert left(path) == {"net.pth"}
    assert server.requests == 1


FPN, C4 = MODEL_ZOO


# --- backends ---------------------------------------------------------------------------------


def detector_settings(weights="random", backend="auto", name="mask_rcnn"):
    source = DETECTORS[name].source if name in DETECTORS else name
    return DetectorSettings(source=source, weights=weights, backend=backend)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, "detectron2.modeling", raising=False)


@pytest.fixture
def present(monkeypatch):
    for name in ("detectron2", "detectron2.modeling"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


@pytest.fixture
def broken(monkeypatch):
    def fail(name):
        raise AttributeError("module 'PIL.Image' has no attribute 'LINEAR'")

    monkeypatch.setattr(importlib, "import_module", fail)


@pytest.mark.parametrize(
    ("name", "weights", "backend", "fixed"),
    [
        ("faster_rcnn", "vg.pkl", "auto", None),
        ("faster_rcnn", "random", "auto", None),
        ("faster_rcnn", "vg.pkl", "detectron2", "detectron2"),
        ("faster_rcnn", "vg.pkl", "torchvision", "torchvision"),
        ("mask_rcnn", "COCO_V1", "auto", "torchvision"),
        ("mask_rcnn", "random", "auto", "torchvision"),
        ("mask_rcnn", "random", "detectron2", "detectron2"),
        ("mask_rcnn", "some.pth", "auto", "torchvision"),
        ("mask_rcnn", "some.pth", "detectron2", "detectron2"),
        ("mask_rcnn", "some.pkl", "auto", "detectron2"),
        ("mask_rcnn", FPN, "auto", "detectron2"),
        ("mask_rcnn", C4, "detectron2", "detectron2"),
        ("demo", "random", "auto", "torchvision"),
        ("python:mine:load", "mine.pth", "auto", "torchvision"),
        ("python:mine:load", "mine.pth", "detectron2", "detectron2"),
        ("transformers:a/detr", None, "auto", "torchvision"),
    ],
)
def test_what_a_configuration_fixes(name, weights, backend, fixed):
    assert required_backend(name, detector_settings(weights, backend, name)) == fixed


@pytest.mark.parametrize(
    ("weights", "backend", "other"),
    [
        ("COCO_V1", "detectron2", "torchvision"),
        (FPN, "torchvision", "detectron2"),
        ("folder/model_final_a2914c.pkl", "torchvision", "detectron2"),
    ],
)
def test_weights_of_the_other_library_are_refused(weights, backend, other):
    with pytest.raises(HamlearnError) as caught:
        load_detector("mask_rcnn", detector_settings(weights, backend))
    said = str(caught.value)
    assert f"weights {weights!r} do not run on backend {backend}, expected `{other}`" in said
    assert all(word in said for word in ("COCO_V1", FPN, C4))


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn"])
def test_detectron2_by_name_is_an_error_where_it_is_absent(absent, name):
    with pytest.raises(HamlearnError) as caught:
        load_detector(name, detector_settings(backend="detectron2", name=name))
    said = str(caught.value)
    key = f"object_features.detectors.{name}"
    assert said.startswith(f"{key}: detector {name}: `backend` requires detectron2, and")
    for word in ("not installed", "conda-forge", "envs/detectron2.yaml", "--use-conda"):
        assert word in said


def test_weights_that_need_it_are_an_error_where_it_is_absent(absent):
    with pytest.raises(HamlearnError, match=f"weights '{FPN}' requires detectron2"):
        load_detector("mask_rcnn", detector_settings(FPN))


def test_auto_takes_what_is_there_and_says_so(caplog, request):
    caplog.set_level("INFO")
    for state, backend, said in (
        ("absent", "torchvision", "detectron2 is not installed"),
        ("present", "detectron2", "detectron2 imports"),
        ("broken", "torchvision", "detectron2 does not import (module 'PIL.Image' has no"),
    ):
        request.getfixturevalue(state)
        caplog.clear()
        assert choose_backend("faster_rcnn", detector_settings(name="faster_rcnn")) == backend
        assert caplog.messages[0].startswith(f"faster_rcnn: backend {backend}, auto: {said}")


def test_a_broken_detectron2_by_name_is_an_error_with_its_reason(broken):
    with pytest.raises(HamlearnError, match=r"does not import \(module 'PIL.Image'"):
        choose_backend("faster_rcnn", detector_settings(backend="detectron2", name="faster_rcnn"))


def test_torchvision_by_name_never_looks_for_it(broken, caplog):
    fixed = detector_settings(backend="torchvision", name="faster_rcnn")
    assert choose_backend("faster_rcnn", fixed) == "torchvision"
    assert choose_backend("mask_rcnn", detector_settings("COCO_V1")) == "torchvision"
    assert not caplog.messages
