import hashlib
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hamlearn.errors import HamlearnError
from hamlearn.vision.fetching import fetch

CONTENT = bytes(range(256)) * 4000  # a megabyte
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves one file; `server.cut` bytes of an answer at most, `server.ranges` or not."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/net.pth":
            self.send_error(404)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and self.server.ranges:
            if begin >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            begin = 0
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin:][: self.server.cut])

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.cut, made.ranges = [], None, True
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


def test_a_file_is_fetched_whole(server, path):
    fetch(server.url, path, DIGEST[:8])
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_fetch_that_was_cut_off_goes_on(server, path, ranges):
    server.cut = 300_000
    with pytest.raises(HamlearnError, match=r"300000 bytes are kept in .*net\.pth\.part"):
        fetch(server.url, path, DIGEST)
    assert not path.exists()
    server.cut, server.ranges = None, ranges
    fetch(server.url, path, DIGEST)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]
    assert list(path.parent.iterdir()) == [path]


def test_a_part_that_is_whole_already_takes_its_place(server, path):
    path.parent.mkdir()
    (path.parent / "net.pth.part").write_bytes(CONTENT)
    fetch(server.url, path, DIGEST)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("before", [b"", b"something else", CONTENT + b"more"])
def test_another_file_than_expected_is_removed(server, path, before):
    path.parent.mkdir()
    (path.parent / "net.pth.part").write_bytes(before)
    with pytest.raises(HamlearnError, match="expected 0000"):
        fetch(server.url, path, "0" * 64)
    assert list(path.parent.iterdir()) == []


def test_addresses_that_do_not_answer_leave_nothing(server, path):
    with pytest.raises(HamlearnError, match="404"):
        fetch(server.url.replace("net", "other"), path, DIGEST)
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(HamlearnError, match="refused"):
        fetch(f"http://127.0.0.1:{port}/net.pth", path, DIGEST)
    with pytest.raises(HamlearnError, match="expected an address of http"):
        fetch(path.as_uri(), path, DIGEST)
    assert list(path.parent.iterdir()) == []


def test_several_at_once_fetch_one_file(server, path):
    failed = []

    def one():
        try:
            fetch(server.url, path, DIGEST)
        except (HamlearnError, OSError, urllib.error.URLError) as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert server.asked == [None]
