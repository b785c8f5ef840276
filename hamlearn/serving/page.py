"""The page to try a model: a web application on the loopback address.

Pages of other sites in the same browser can send requests here and must get no answer: the host has
to be a name of this machine, so that no other name can be bound to it, and a form has to come from
the page itself. Content of posts and images is displayed as text, and scripts, styles and images
from other places are blocked.
"""

import asyncio
import base64
import io
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import uvicorn
from markupsafe import escape
from PIL import Image
from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hamlearn.errors import HamlearnError
from hamlearn.inference.image_sets import ImageFeatures
from hamlearn.inference.posts import Entity, Post, Tagged
from hamlearn.inference.tagger import Tagger
from hamlearn.templates import environment
from hamlearn.vision.images import ImageError, open_image

LOOPBACK = "127.0.0.1"
MAX_IMAGES = 8
MAX_BYTES = 32_000_000  # of a request
MAX_CONNECTIONS = 32  # open at one time; one request is answered, the others wait
POLL = 1.0  # seconds after which a request that waits asks whether its client is still there
CLIENT_LEFT = 499  # the status that nobody receives
SIDE = 400  # pixels of the longer side of an image on the page
MAX_PIXELS = 40_000_000  # a larger image is not decoded
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
    """Serve the page of a model until interrupted; port 0 takes a free one.

    `announce` is called with the address once the port is open.

    Raises:
        HamlearnError: the port is taken, or the vision networks cannot be loaded.
    """
    app = application(tagger)
    try:
        listener = socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise HamlearnError(f"port {port}: {error.strerror}; expected a free one") from error
    with listener:
        announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            app,
            log_config=None,  # lines are written like those of all commands, without colours
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def application(tagger: Tagger) -> Starlette:
    """Return the web application of a model.

    Raises:
        HamlearnError: the model reads images, and its networks cannot be loaded.
    """
    answerer, templates = Answerer(tagger), environment("hamlearn.serving")
    turn = asyncio.Lock()

    def render(name: str, text: str = "", answer: Answer | None = None) -> HTMLResponse:
        page = templates.get_template(name).render(
            facts=tagger.model.facts, hues=HUES, most=MAX_IMAGES, text=text, answer=answer
        )
        return HTMLResponse(page, headers=HEADERS)

    async def index(request: Request) -> HTMLResponse:
        return render("page.html.jinja")

    async def tag(request: Request) -> HTMLResponse:
        check_origin(request)
        check_charset(request)
        try:
            async with request.form(max_files=MAX_IMAGES, max_fields=2) as form:
                text, files = read_form(form)
                async with its_turn(turn, request):
                    uploads = [Upload(str(file.filename), await file.read()) for file in files]
                    answer = await run_in_threadpool(answerer.answer, text, uploads)
        except ClientDisconnect:
            return HTMLResponse(status_code=CLIENT_LEFT)
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
            Middleware(limit_size),
        ],
        exception_handlers={HTTPException: _refuse},
    )


def limit_size(app: ASGIApp) -> ASGIApp:
    """Refuse requests of more than MAX_BYTES, whatever their headers state."""

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BYTES:
                raise HTTPException(413, f"more than {MAX_BYTES // 10**6} MB were sent")
            return message

        await app(scope, limited, send)

    return counting


async def _refuse(request: Request, error: Exception) -> HTMLResponse:
    if not isinstance(error, HTTPException):
        raise error
    return HTMLResponse(
        f'<p class="fault">Refused: {escape(error.detail)}.</p>',
        status_code=error.status_code,
        headers=HEADERS,
    )


def check_origin(request: Request) -> None:
    """Refuse a request that the page of another site sent."""
    origin = request.headers.get("origin")
    try:
        sender = None if origin is None else urlsplit(origin).netloc
    except ValueError as error:
        raise HTTPException(400, "Origin: found no address") from error
    if sender is not None and sender != request.headers.get("host"):
        raise HTTPException(403, "sent by another page")


def check_charset(request: Request) -> None:
    """Refuse a form whose text is in another encoding than that of the page."""
    _, options = parse_options_header(request.headers.get("content-type"))
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise HTTPException(400, f"Content-Type: found charset {charset!r:.40}, expected utf-8")


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


# --- answers -----------------------------------------------------------------------------------


class Upload(NamedTuple):
    """An image as it was sent."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text."""

    text: str
    entity: Entity | None = None  # that the piece is; None between entities
    hue: int = 0  # index of the entity's type


@dataclass(frozen=True, slots=True)
class Box:
    """A detected object, in pixels of the displayed image."""

    x: float
    y: float
    width: float
    height: float
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class DisplayedImage:
    """An image on the page."""

    name: str  # as it was sent
    source: str = ""  # JPEG as a data URL; empty if the image cannot be read
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()  # in descending order of score
    fault: str = ""  # why the image cannot be read


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything displayed for a post."""

    tagged: Tagged
    pieces: list[Piece]
    images: list[DisplayedImage]


class Answerer:
    """Answers requests, one at a time."""

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger
        self.types = tagger.model.facts.types
        if tagger.reads_images:
            _ = tagger.image_encoder  # so that absent weights are reported here

    def answer(self, text: str, uploads: Sequence[Upload]) -> Answer:
        """Tag a post."""
        images = [self._display(upload) for upload in uploads]
        pairs = zip(uploads, images, strict=True)
        readable = tuple(upload.content for upload, image in pairs if not image.fault)
        (tagged,) = self.tagger.tag(Post(text=text, images=readable))
        return Answer(tagged, split_at_entities(text, tagged.entities, self.types), images)

    def _display(self, upload: Upload) -> DisplayedImage:
        name = upload.name
        try:
            image = open_image(upload.content, MAX_PIXELS)
            reads_images = self.tagger.reads_images
            found = self.tagger.image_encoder.encode(upload.content) if reads_images else None
        except ImageError as error:
            return DisplayedImage(name, fault=error.reason)
        width, height = (max(1, round(side * SIDE / max(image.size))) for side in image.size)
        small, buffer = image.resize((width, height)), io.BytesIO()
        small.save(buffer, "JPEG", quality=85)
        source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        boxes = () if found is None else tuple(self._boxes(found, small))
        return DisplayedImage(name, source, small.width, small.height, boxes)

    def _boxes(self, found: ImageFeatures, image: Image.Image) -> Iterator[Box]:
        names, visual = self.tagger.image_encoder.classes, found.visual
        for box, number, score in zip(visual.boxes, visual.classes, found.scores, strict=True):
            if number < len(names):  # not the whole image where nothing was detected
                left, top, right, bottom = map(float, box * [*image.size, *image.size])
                yield Box(left, top, right - left, bottom - top, names[number], float(score))


def split_at_entities(text: str, entities: Sequence[Entity], types: Sequence[str]) -> list[Piece]:
    """Return the whole text in pieces, from left to right, split at its entities."""
    pieces, end = [], 0
    for entity in entities:
        pieces.append(Piece(text[end : entity.start]))
        pieces.append(Piece(text[entity.start : entity.end], entity, types.index(entity.type)))
        end = entity.end
    return [piece for piece in (*pieces, Piece(text[end:])) if piece.text]
