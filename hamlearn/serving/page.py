"""The page as a web application, for this machine alone.

A page of another site that the same browser shows can send requests here. It is answered nothing:
the host must be this machine's name, so that no other name can be bound to it, and a form must
come from the page itself. What posts and pictures hold is shown as text, and no script, style or
picture from anywhere else is allowed.
"""

from pathlib import Path
from urllib.parse import urlsplit

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

from hamlearn.inference.tagger import Tagger
from hamlearn.serving.answers import Answer, Answerer, Upload
from hamlearn.templates import environment

HOSTS = ["127.0.0.1", "localhost"]
MOST_PICTURES = 8
MOST_BYTES = 32_000_000  # of a request
HUES = 8  # colours that the style sheet has
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without any, the form's own origin would be hidden too
    "Cache-Control": "no-store",
}


def application(tagger: Tagger) -> Starlette:
    """Return the page for a model.

    Raises:
        HamlearnError: the model looks at pictures, and its networks cannot be loaded.
    """
    answerer = Answerer(tagger)
    templates = environment("hamlearn.serving")

    def shown(name: str, text: str = "", answer: Answer | None = None) -> HTMLResponse:
        facts = tagger.model.facts
        return HTMLResponse(
            templates.get_template(name).render(
                facts=facts,
                types=answerer.types,
                hues=HUES,
                most=MOST_PICTURES,
                text=text,
                answer=answer,
            ),
            headers=HEADERS,
        )

    async def page(request: Request) -> HTMLResponse:
        return shown("page.html.jinja")

    async def tag(request: Request) -> HTMLResponse:
        _check_origin(request)
        async with request.form(max_files=MOST_PICTURES, max_fields=2) as form:
            text = str(form.get("text", "")).replace("\r\n", "\n")
            uploads = [
                Upload(str(one.filename), await one.read())
                for one in form.getlist("pictures")
                if isinstance(one, UploadFile) and one.filename
            ]
        answer = await run_in_threadpool(answerer.answer, text, uploads)
        # The script of the page asks for the answer alone; without it, the browser shows a page.
        is_part = request.query_params.get("part") == "answer"
        return shown("answer.html.jinja" if is_part else "page.html.jinja", text, answer)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/tag", tag, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(Limited)],
        exception_handlers={HTTPException: _refused},
    )


class Limited:
    """Lets no request be longer than MOST_BYTES, whatever it says of itself."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BYTES:
                raise HTTPException(413, f"more than {MOST_BYTES // 10**6} MB were sent")
            return message

        await self._app(scope, counted, send)


def _check_origin(request: Request) -> None:
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "sent by another page")


async def _refused(request: Request, error: Exception) -> HTMLResponse:
    if not isinstance(error, HTTPException):
        raise error
    return HTMLResponse(
        f'<p class="fault">Refused: {escape(error.detail)}.</p>',
        status_code=error.status_code,
        headers=HEADERS,
    )
