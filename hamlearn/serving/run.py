"""Serves the page on the loopback address until it is interrupted."""

import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from hamlearn.errors import HamlearnError
from hamlearn.inference.tagger import Tagger
from hamlearn.serving.page import application

LOOPBACK = "127.0.0.1"


def serve(tagger: Tagger, port: int, say: Callable[[str], None]) -> None:
    """Serve the page of a model; returns when it is interrupted.

    Args:
        tagger: with its model.
        port: 0 takes a free one.
        say: is told the address, once it answers.

    Raises:
        HamlearnError: the port is taken, or the vision networks cannot be loaded.
    """
    app = application(tagger)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen()
        except OSError as error:
            raise HamlearnError(f"port {port}: {error.strerror}; expected a free one") from error
        say(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
