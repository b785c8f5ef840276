"""A running server, and requests to it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.inference.conftest import ROOT, WEIGHTS, made

__all__ = ["made"]

SET_UP = {"tmp", "log", "examples.jsonl"}


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    """The address of the page of the model that sees, and the number of its process."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "tmp").mkdir()
    first = made.posts[0]
    example = {"text": " ".join(first.words), "image": f"{first.image_id}.jpg"}
    (folder / "examples.jsonl").write_text(json.dumps(example) + "\n")
    examples = ["--examples", "examples.jsonl", "--images", str(made.images)]
    model, weights, log = str(made.exported["full"]), str(WEIGHTS), folder / "log"
    words = ["serve", model, "--weights", weights, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hamlearn", *words, *examples, "--device", "cpu"],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )
    try:
        address = process.stdout.readline().split(" ")[0]
        assert address.startswith("http://127.0.0.1:"), address
        yield address, process.pid
        assert {path.name for path in folder.rglob("*")} <= SET_UP  # nothing was left
        assert "Traceback" not in log.read_text()
        assert "\x1b" not in log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


def request(server, method="GET", path="/", headers=(), body=None):
    connection = http.client.HTTPConnection(urlsplit(server[0]).netloc, timeout=60)
    connection.request(method, path, body, dict(headers))
    reply = connection.getresponse()
    return reply.status, reply.read().decode()
