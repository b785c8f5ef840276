"""The page to try a model: a web application on the loopback address.

Pages of other sites in the same browser can send requests here and must get no answer: the host has
to be a name of this machine, so that no other name can be bound to it, and a form has to come from
the page itself. Content of posts and images is displayed as text, and scripts, styles and images
from other places are blocked.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from markupsafe import escape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hamlearn.errors import HamlearnError
from hamlearn.inference.tagger import Tagger
from hamlearn.serving.answers import Answer, Answerer, Upload
from hamlearn.templates import environment

LOOPBACK = "127.0.0.1"
MAX_IMAGES = 8
MAX_BYTES = 32_000_000  # of a request
HUES = 8  # colours in the style sheet
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would hide the form's own origin too
    "Cache-Control": "no-store",
}


def serve(tagger: Tagger, port: int, announce: Callable[[str], None]) -> None:
    """Serve the page of a model until interrupted.

    Args:
        tagger: with its model.
        port: 0 takes a free one.
        announce: called with the address once the port is open.

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
        announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def application(tagger: Tagger) -> Starlette:
    """Return the web application of a model.

    Raises:
        HamlearnError: the model reads images, and its networks cannot be loaded.
    """
    answerer, templates = Answerer(tagger), environment("hamlearn.serving")

    def render(name: str, text: str = "", answer: Answer | None = None) -> HTMLResponse:
        page = templates.get_template(name).render(
            facts=tagger.model.facts, hues=HUES, most=MAX_IMAGES, text=text, answer=answer
        )
        return HTMLResponse(page, headers=HEADERS)

    async def index(request: Request) -> HTMLResponse:
        return render("page.html.jinja")

    async def tag(request: Request) -> HTMLResponse:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise HTTPException(403, "sent by another page")
        async with request.form(max_files=MAX_IMAGES, max_fields=2) as form:
            text = str(form.get("text", "")).replace("\r\n", "\n")
            uploads = [
                Upload(str(one.filename), await one.read())
                for one in form.getlist("pictures")
                if isinstance(one, UploadFile) and one.filename
            ]
        answer = await run_in_threadpool(answerer.answer, text, uploads)
        # The page's script requests the answer alone; without it, the browser shows a new page.
        is_part = request.query_params.get("part") == "answer"
        return render("answer.html.jinja" if is_part else "page.html.jinja", text, answer)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/tag", tag, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"]),
            Middleware(SizeLimit),
        ],
        exception_handlers={HTTPException: _refuse},
    )


class SizeLimit:
    """Middleware that refuses requests of more than MAX_BYTES, whatever their headers state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a counting `receive`."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BYTES:
                raise HTTPException(413, f"more than {MAX_BYTES // 10**6} MB were sent")
            return message

        await self._app(scope, limited, send)


async def _refuse(request: Request, error: Exception) -> HTMLResponse:
    if not isinstance(error, HTTPException):
        raise error
    return HTMLResponse(
        f'<p class="fault">Refused: {escape(error.detail)}.</p>',
        status_code=error.status_code,
        headers=HEADERS,
    )
