"""The web application of a model: the page to try it, and JSON beside it.

Pages of other sites in the same browser can send requests here and must get no answer: the host has
to be a name of this machine, so that no other name can be bound to it, and a request has to come
from the page itself or from no page. Content of posts and images is displayed as text, and scripts,
styles and images from other places are blocked.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from markupsafe import escape
from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hamlearn.errors import HamlearnError
from hamlearn.inference.posts import Post
from hamlearn.inference.tagger import Tagger
from hamlearn.serving.api import (
    MAX_BYTES,
    MAX_IMAGES,
    MAX_SECONDS,
    OPERATIONS,
    Fault,
    Health,
    ModelResponse,
    TagResponse,
    document,
    read_request,
)
from hamlearn.serving.page import HUES, NODES, Answer, Answerer, Example, Upload
from hamlearn.templates import environment

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 32  # open at one time; one request is answered, the others wait
POLL = 1.0  # seconds after which a request that waits asks whether its client is still there
STOP = 30  # seconds that requests have to end when the server is stopped
CLIENT_LEFT = 499  # the status that nobody receives
OPENAPI = "/openapi.json"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would hide the form's own origin too
    "Cache-Control": "no-store",
}


def serve(
    tagger: Tagger,
    port: int,
    announce: Callable[[str], None],
    host: str = LOOPBACK,
    names: Sequence[str] = (),
    examples: Sequence[Post] = (),
) -> None:
    """Serve a model until SIGINT or SIGTERM; requests that are being answered are answered first.

    Args:
        tagger: of the model.
        port: 0 takes a free one.
        announce: is called with the address once the port is open.
        host: name or address to listen on.
        names: further names of this machine that requests may state; `*` allows any.
        examples: posts that the page offers.

    Raises:
        HamlearnError: the port is taken, the host is none of this machine's, or the vision networks
            cannot be loaded.
    """
    is_v6 = ":" in host
    shown_host = f"[{host}]" if is_v6 else host  # as in addresses and the header `Host`
    app = application(tagger, [shown_host, *names], examples)
    try:
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        place = f"port {port}" if host == LOOPBACK else f"--host {host}, port {port}"
        raise HamlearnError(f"{place}: {reason}; expected a free one") from error
    with listener:
        announce(f"http://{shown_host}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            app,
            log_config=None,  # lines are written like those of all commands, without colours
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=STOP,
        )
        # The server raises the signal that ended it once more.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)


def application(
    tagger: Tagger, names: Sequence[str] = (), examples: Sequence[Post] = ()
) -> Starlette:
    """Return the web application of a model.

    Raises:
        HamlearnError: the model reads images, and its networks cannot be loaded.
    """
    answerer, templates = Answerer(tagger), environment("hamlearn.serving")
    shown = [Example.of(post) for post in examples] or Example.built_in()
    turn = asyncio.Lock()

    def render(name: str, text: str = "", answer: Answer | None = None) -> HTMLResponse:
        page = templates.get_template(name).render(
            facts=tagger.model.facts,
            hues=HUES,
            nodes=NODES,
            most=MAX_IMAGES,
            text=text,
            answer=answer,
            examples=shown,
            openapi=OPENAPI,
        )
        return HTMLResponse(page, headers=HEADERS)

    async def index(request: Request) -> Response:
        number = request.query_params.get("example")
        if number is None:
            return render("page.html.jinja")
        if not (number.isascii() and number.isdecimal() and int(number) < len(shown)):
            raise HTTPException(404, "no such example")
        chosen = shown[int(number)]
        try:
            async with its_turn(turn, request):
                answer = await run_in_threadpool(answerer.answer, chosen.text, chosen.uploads())
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        return render("page.html.jinja", chosen.text, answer)

    async def tag(request: Request) -> Response:
        check_origin(request)
        check_charset(request)
        try:
            async with request.form(max_files=MAX_IMAGES, max_fields=2) as form:
                text, files = read_form(form)
                async with its_turn(turn, request):
                    uploads = [Upload(str(file.filename), await file.read()) for file in files]
                    answer = await run_in_threadpool(answerer.answer, text, uploads)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        # The page's script requests the answer alone; without it, the browser shows a new page.
        is_part = request.query_params.get("part") == "answer"
        return render("answer.html.jinja" if is_part else "page.html.jinja", text, answer)

    async def tag_json(request: Request) -> Response:
        check_origin(request)
        check_json(request)
        try:
            given = read_request(await request.body())
            async with its_turn(turn, request):
                posts = [one.post for one in given.posts]
                tagged = await run_in_threadpool(tagger.tag, posts, explain=given.explain)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return _json(TagResponse(posts=tagged).model_dump_json())

    async def model(request: Request) -> Response:
        return _json(ModelResponse.of(tagger.model).model_dump_json())

    async def health(request: Request) -> Response:
        return _json(Health().model_dump_json())

    async def openapi(request: Request) -> Response:
        return JSONResponse(document(), headers=HEADERS)

    calls = {"/v1/tag": tag_json, "/v1/model": model, "/healthz": health}
    own = [LOOPBACK, "localhost", socket.gethostname(), *names]
    return Starlette(
        routes=[
            Route("/", index),
            Route("/tag", tag, methods=["POST"]),
            *(
                Route(path, calls[path], methods=[method.upper()])
                for path, (method, *_) in OPERATIONS.items()
            ),
            Route(OPENAPI, openapi),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=own, www_redirect=False),
            Middleware(limit_request),
        ],
        exception_handlers={HTTPException: _refuse},
    )


def limit_request(app: ASGIApp) -> ASGIApp:
    """Refuse requests of more than MAX_BYTES, whatever their headers state, or MAX_SECONDS."""

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        received, is_whole = 0, False
        end = asyncio.get_running_loop().time() + MAX_SECONDS

        async def limited() -> Message:
            nonlocal received, is_whole
            try:
                async with asyncio.timeout_at(None if is_whole else end):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"not complete after {MAX_SECONDS:.0f} seconds") from error
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > MAX_BYTES:
                raise HTTPException(413, f"more than {MAX_BYTES // 10**6} MB were sent")
            return message

        await app(scope, limited, send)

    return counting


def _json(content: str) -> Response:
    return Response(content, media_type="application/json", headers=HEADERS)


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    if request.url.path in (*OPERATIONS, OPENAPI) or request.url.path.startswith("/v1/"):
        fault = Fault(error=error.detail).model_dump()
        return JSONResponse(fault, status, HEADERS | dict(error.headers or {}))
    text = f'<p class="fault">Refused: {escape(error.detail)}.</p>'
    return HTMLResponse(text, status, HEADERS)


def check_origin(request: Request) -> None:
    """Refuse a request that the page of another site sent."""
    origin = request.headers.get("origin")
    try:
        sender = None if origin is None else urlsplit(origin).netloc
    except ValueError as error:
        raise HTTPException(403, "Origin: found no address") from error
    if sender is not None and sender != request.headers.get("host"):
        raise HTTPException(403, "sent by another page")


def check_charset(request: Request, status: int = 400) -> bytes:
    """Return the type of the content; refuse text in another encoding than that of the page."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise HTTPException(status, f"Content-Type: found charset {charset!r:.40}, expected utf-8")
    return kind


def check_json(request: Request) -> None:
    """Refuse what a form of another page can send."""
    kind = check_charset(request, 415)
    if kind.lower() != b"application/json":
        found = kind.decode("latin-1")
        raise HTTPException(415, f"Content-Type: found {found!r:.60}, expected application/json")


def read_form(form: FormData) -> tuple[str, list[UploadFile]]:
    """Return the text and the files of a form; HTTPException for any other content."""
    for name in form:
        if name not in ("text", "pictures"):
            raise HTTPException(400, f"form: found {name!r:.40}, expected text and pictures")
    texts, files = form.getlist("text"), list[UploadFile]()
    if len(texts) != 1 or not isinstance(texts[0], str):
        found = f"{len(texts)} fields" if len(texts) != 1 else "a file"
        raise HTTPException(400, f"text: found {found}, expected one text")
    for file in form.getlist("pictures"):
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "pictures: found a text, expected files")
        if file.filename or file.size:  # else what browsers send where no file was chosen
            files.append(file)
    return texts[0].replace("\r\n", "\n"), files


@asynccontextmanager
async def its_turn(turn: asyncio.Lock, request: Request) -> AsyncIterator[None]:
    """Wait for the requests before this one; ClientDisconnect if its client left meanwhile."""
    is_own = False
    try:
        while not is_own:
            with suppress(TimeoutError):
                is_own = await asyncio.wait_for(turn.acquire(), POLL)
            if await request.is_disconnected():
                raise ClientDisconnect
        yield
    finally:
        if is_own:
            turn.release()
