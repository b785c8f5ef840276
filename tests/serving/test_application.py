"""The application, served as its users serve it, in a real browser and by other programs."""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import uvicorn
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from typer.testing import CliRunner

import hamlearn
from hamlearn.cli import app
from hamlearn.errors import HamlearnError
from hamlearn.serving.api import MAX_BYTES, MAX_IMAGES, MAX_POSTS
from hamlearn.serving.application import application, serve
from hamlearn.serving.page import Answerer
from tests.chromium import ABSENT, REASON, complaints, opened, resize
from tests.inference.conftest import WEIGHTS
from tests.serving.conftest import request

HOSTILE = "<img src=x onerror=\"document.title='taken'\"> <b>bold</b>"
NAMES = ["first.jpg", "<i>second.jpg"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if ABSENT:
        pytest.skip(REASON)
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(driver, server):
    resize(driver, 1000, 900)
    driver.get(server[0])
    yield driver
    assert complaints(driver) == []
    assert driver.title == "hamlearn: entities of a post"  # no word of a post ran as a script


def ask(page, text, *pictures):
    """Fill in the form, send it, and return the answer's element."""
    area = page.find_element(By.ID, "text")
    area.clear()
    area.send_keys(text)
    if pictures:
        page.find_element(By.ID, "pictures").send_keys("\n".join(map(str, pictures)))
    page.execute_script("document.querySelector('#answer').textContent = ''")
    page.find_element(By.TAG_NAME, "button").click()
    answer = page.find_element(By.ID, "answer")
    WebDriverWait(page, 60).until(lambda _: answer.find_elements(By.CSS_SELECTOR, "*"))
    return answer


def test_a_post_and_its_pictures_come_back_with_spans_boxes_and_relevance(
    page, made, tmp_path, server
):
    post = next(post for post in made.posts if any(label != "O" for label in post.labels))
    text = " ".join(post.words)
    files = [tmp_path / name for name in NAMES]
    for file, other in zip(files, made.posts, strict=False):
        shutil.copy(made.images / f"{other.image_id}.jpg", file)
    with hamlearn.load(made.exported["full"], "cpu", weights=WEIGHTS) as tagger:
        (expected,) = tagger.tag(
            [hamlearn.Post(text=text, images=tuple(map(str, files)))], explain=True
        )
        (alone,) = tagger.tag(text)
        seen = [tagger.image_encoder.encode(str(file)) for file in files]
        classes = tagger.image_encoder.classes
    answer = ask(page, text, *files)
    with_images, without = answer.find_elements(By.TAG_NAME, "section")
    marks = [mark.text for mark in with_images.find_elements(By.TAG_NAME, "mark")]
    assert marks == [f"{e.text} {e.type} {e.score:.2f}" for e in expected.entities]
    assert marks
    assert answer.find_element(By.CLASS_NAME, "post").text.split()[0] == post.words[0]
    assert [mark.text for mark in without.find_elements(By.TAG_NAME, "mark")] == [
        f"{e.text} {e.type} {e.score:.2f}" for e in alone.entities
    ]
    relevance = [value.text for value in answer.find_elements(By.CSS_SELECTOR, ".relevance dd")]
    assert relevance == [f"{value:.3f}" for value in expected.relevance.values()]
    views = [name.text for name in answer.find_elements(By.CSS_SELECTOR, ".relevance dt")]
    assert views == [f"{view} view" for view in expected.relevance]
    strongest = sorted((part.weight for part in expected.explanation), key=abs, reverse=True)[:5]
    weights = [value.text for value in answer.find_elements(By.CSS_SELECTOR, ".strongest dd")]
    assert weights == [f"{weight:+.3f}" for weight in strongest]
    assert len(answer.find_elements(By.CSS_SELECTOR, "figure.graph")) == sum(
        bool((found.visual.relations[1:, 1:] >= 0).any()) for found in seen
    )
    figures = answer.find_elements(By.CSS_SELECTOR, "figure:not(.graph)")
    for name, found, figure in zip(NAMES, seen, figures, strict=True):
        caption = figure.find_element(By.TAG_NAME, "figcaption").text
        assert caption.startswith(f"{name}: ")
        objects = [
            (classes[number], score)
            for number, score in zip(found.visual.classes, found.scores, strict=True)
            if number < len(classes)
        ]
        assert len(figure.find_elements(By.CSS_SELECTOR, "rect:not(.under)")) == len(objects)
        assert all(f"{label} {score:.2f}" in caption for label, score in objects)
        assert figure.find_element(By.TAG_NAME, "img").get_property("naturalWidth") > 0
    asked = page.execute_script("return performance.getEntries().map(entry => entry.name)")
    ours = [name for name in asked if name.startswith("http")]
    assert len(ours) >= 4  # page, style, script, answer
    assert all(name.startswith(server[0]) for name in ours)


def test_a_hostile_post_and_what_is_no_picture_stay_text(page, tmp_path):
    broken = tmp_path / "<u>broken.jpg"
    broken.write_text("no picture")
    answer = ask(page, HOSTILE, broken)
    words = "const post = arguments[0].querySelector('.post').cloneNode(true);"
    without = "post.querySelectorAll('small').forEach(one => one.remove()); return post.textContent"
    assert page.execute_script(words + without, answer) == HOSTILE
    assert not answer.find_elements(By.CSS_SELECTOR, "img, b, u")
    assert "<u>broken.jpg: found text that begins" in answer.text
    answer = ask(page, "   ")
    assert "found no word" in answer.text


def test_it_can_be_read_on_a_phone_and_used_without_its_script(page, made, tmp_path):
    resize(page, 400, 800)
    picture = made.images / f"{made.posts[0].image_id}.jpg"
    page.find_element(By.ID, "text").send_keys(" ".join(made.posts[0].words))
    page.find_element(By.ID, "pictures").send_keys(str(picture))
    page.execute_script("document.querySelector('form').submit()")  # as a browser does by itself
    WebDriverWait(page, 60).until(lambda _: page.find_elements(By.TAG_NAME, "figure"))
    assert page.find_element(By.ID, "text").get_property("value") == " ".join(made.posts[0].words)
    widths = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert widths == [400, 400]
    assert page.save_screenshot(str(tmp_path / "page.png"))
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_an_example_is_one_click_and_the_json_is_linked(page, made, server):
    page.find_element(By.CSS_SELECTOR, "nav a").click()
    WebDriverWait(page, 60).until(lambda _: page.find_elements(By.TAG_NAME, "figure"))
    assert page.find_element(By.ID, "text").get_property("value") == " ".join(made.posts[0].words)
    assert page.find_element(By.TAG_NAME, "figcaption").text.startswith(made.posts[0].image_id)
    page.find_element(By.CSS_SELECTOR, "footer a").click()
    assert json.loads(page.find_element(By.TAG_NAME, "body").text)["openapi"] == "3.1.0"
    page.get(server[0])
    for number in ("1", "-1", "x", "\u00b2"):
        assert request(server, path=f"/?example={quote(number)}")[0] == 404


def form(*parts):
    """A form of these pictures and a post, as a browser would send it."""
    named = [("text", None, b"hi"), *(("pictures", "a.jpg", part) for part in parts)]
    body = b""
    for name, file, content in named:
        of_file = f'; filename="{file}"' if file else ""
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"{of_file}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return {"Content-Type": "multipart/form-data; boundary=x"}, body + b"--x--\r\n"


def test_other_hosts_other_pages_and_floods_are_refused(server):
    assert request(server)[0] == 200
    assert request(server, headers={"Host": "evil.example"})[0] == 400
    kind, body = form()
    assert request(server, "POST", "/tag", kind, body)[0] == 200
    elsewhere = {**kind, "Origin": "http://evil.example"}
    assert request(server, "POST", "/tag", elsewhere, body)[0] == 403
    assert request(server, "POST", "/tag", *form(*[b"x"] * (MAX_IMAGES + 1)))[0] == 400
    status, said = request(server, "POST", "/tag", *form(bytes(MAX_BYTES)))
    assert (status, "more than 32 MB" in said) == (413, True)
    assert request(server, path="/static/../page.py")[0] == 404


UTF_8 = "multipart/form-data; boundary=x"
PARTS = {
    "a file as text": ('name="text"; filename="a"', "text: found a file, expected one text"),
    "text as a file": ('name="pictures"', "pictures: found a text, expected files"),
    "another field": (
        'name="pictures\x1b[31m"',
        "form: found &#39;pictures\\x1b[31m&#39;",
    ),
    "no name": ("a=b", "&#34;name&#34; must be provided"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_form_of_other_parts_is_refused(server, name):
    part, said = PARTS[name]
    body = f"--x\r\nContent-Disposition: form-data; {part}\r\n\r\nhi\r\n--x--\r\n".encode()
    if name != "a file as text":
        body = form()[1].removesuffix(b"--x--\r\n") + body
    status, found = request(server, "POST", "/tag", {"Content-Type": UTF_8}, body)
    assert (status, said in found) == (400, True), found


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"Origin": "http://["}, None, "Origin: found no address"),
        ({"Origin": "null"}, None, "sent by another page"),
        ({"Content-Type": f"{UTF_8}; charset=utf-16"}, None, "expected utf-8"),
        ({"Content-Type": f"{UTF_8}; charset=idna"}, None, "expected utf-8"),
        ({"Content-Type": f"{UTF_8}; charset=\x1b[31m"}, None, "found charset"),
        ({"Content-Type": "multipart/form-data"}, None, "Missing boundary"),
        ({"Content-Type": "multipart/form-data; boundary="}, None, "Refused"),
        ({"Content-Type": "text/plain"}, b"text=hi", "text: found 0 fields, expected one text"),
        ({}, b'{"text": "hi"}', "text: found 0 fields"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"text=a&text=b", "2 fields"),
        ({"Content-Type": UTF_8}, b"no form", "Refused"),
        ({"Content-Type": UTF_8}, b"", "Refused"),
    ],
)
def test_a_request_that_is_no_form_of_this_page_is_refused(server, headers, body, said):
    if body is None:
        kind, body = form()
        headers = {**kind, **headers}
    status, found = request(server, "POST", "/tag", headers, body)
    assert (status in (400, 403), said in found) == (True, True), (status, found)


def test_a_form_in_utf_8_by_another_name_is_read(server):
    for name in ("UTF-8", "utf8"):
        kind = {"Content-Type": f"{UTF_8}; charset={name}"}
        assert request(server, "POST", "/tag", kind, form()[1])[0] == 200
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert request(server, "POST", "/tag", kind, b"text=%ED%A0%80+hi%00")[0] == 200


def test_a_strip_is_displayed_and_a_bomb_is_refused(server):
    strip, scans = BytesIO(), BytesIO()
    Image.new("RGB", (1, 60_000), "teal").save(strip, "PNG")
    Image.new("L", (2000, 2000), 128).save(scans, "JPEG", progressive=True)
    content = scans.getvalue()
    bomb = content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 4000 + b"\xff\xd9"
    status, found = request(server, "POST", "/tag", *form(strip.getvalue(), bomb))
    assert status == 200
    assert 'width="1" height="400"' in found
    assert "found more than" in found


def deleted(process):
    """The files that a process holds open although they have no name any more."""
    links = []
    for path in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(path))
    return [link for link in links if "deleted" in link]


def test_what_a_client_sent_that_left_is_freed(server):
    address, process = server
    host, port = urlsplit(address).netloc.split(":")
    kind, body = form(bytes(4_000_000))
    head = f"POST /tag HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {kind['Content-Type']}\r\n\r\n"
    for _ in range(5):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + body[:3_000_000])
    assert request(server)[0] == 200
    deadline = time.monotonic() + 60
    while deleted(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert deleted(process) == []


class Asked:
    """A request to an application, from a client that may leave while it waits."""

    def __init__(self, content):
        kind, self.body = form(content)
        self.left, self.sent, self.was_read = asyncio.Event(), [], False
        headers = [(b"host", b"localhost"), (b"content-type", kind["Content-Type"].encode())]
        self.scope = {"type": "http", "method": "POST", "path": "/tag", "headers": headers}
        self.scope |= {"query_string": b"part=answer", "root_path": "", "scheme": "http"}

    async def receive(self):
        if not self.was_read:
            self.was_read = True
            return {"type": "http.request", "body": self.body}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)


def test_requests_wait_for_their_turn_and_those_of_clients_that_left_are_dropped(made, monkeypatch):
    go, answered, spooled = threading.Event(), [], []
    answer = Answerer.answer

    def slow(self, text, uploads):
        answered.append(uploads[0].content)
        assert go.wait(30)
        return answer(self, text, uploads)

    class Spooled(tempfile.SpooledTemporaryFile):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            spooled.append(self)

    async def all_of_them(app):
        asked = [Asked(content) for content in (b"first", b"left", b"last")]
        tasks = [asyncio.create_task(app(one.scope, one.receive, one.send)) for one in asked]
        while len(spooled) < 3 or not answered:
            await asyncio.sleep(0.01)
        asked[1].left.set()
        await asyncio.wait_for(tasks[1], 10)
        assert spooled[1].closed
        assert not spooled[2].closed
        assert answered == [b"first"]
        go.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        return [one.sent[0]["status"] for one in asked]

    monkeypatch.setattr(Answerer, "answer", slow)
    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", Spooled)
    monkeypatch.setattr("hamlearn.serving.application.POLL", 0.05)
    with hamlearn.load(made.exported["text_only"], "cpu") as tagger:
        assert asyncio.run(all_of_them(application(tagger))) == [200, 499, 200]
    assert answered == [b"first", b"last"]
    assert all(one.closed for one in spooled)


def test_a_port_that_is_taken_is_named(made):
    with (
        hamlearn.load(made.exported["text_only"], "cpu") as tagger,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port = taken.getsockname()[1]
        with pytest.raises(HamlearnError, match=f"port {port}: .*expected a free one"):
            serve(tagger, port, print)


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_without_its_packages_the_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    done = CliRunner().invoke(app, ["serve", "model"])
    assert isinstance(done.exception, HamlearnError)
    assert f"found no package {package}" in str(done.exception)
    assert 'pip install "hamlearn[serve]"' in str(done.exception)


def test_the_page_reads_nothing_from_elsewhere():
    folder = Path(hamlearn.__file__).parent / "serving"
    for path in (*folder.glob("static/*"), *folder.glob("templates/*")):
        text = path.read_text(encoding="utf-8")
        assert "http" not in text
        assert "@import" not in text


def test_what_is_sent_too_slowly_is_refused(made, monkeypatch):
    monkeypatch.setattr("hamlearn.serving.application.MAX_SECONDS", 0.2)

    async def never():
        await asyncio.sleep(60)

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/tag", "headers": headers}
    scope |= {"query_string": b"", "root_path": "", "scheme": "http"}
    with hamlearn.load(made.exported["text_only"], "cpu") as tagger:
        asyncio.run(application(tagger)(scope, never, send))
    assert sent[0]["status"] == 408
    assert b"not complete after" in sent[1]["body"]


def test_the_request_that_is_answered_is_answered_before_the_server_stops(made, tmp_path):
    words = ["serve", str(made.exported["text_only"]), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hamlearn", *words, "--device", "cpu", "--host", "localhost"],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "log").open("w"),
        text=True,
    )
    try:
        address = process.stdout.readline().split(" ")[0]
        body = json.dumps({"posts": [{"text": "a b c d e " * 200}] * MAX_POSTS}).encode()
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        connection.request("POST", "/v1/tag", body, {"Content-Type": "application/json"})
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        reply = connection.getresponse()
        assert (reply.status, len(json.loads(reply.read())["posts"])) == (200, MAX_POSTS)
        assert process.wait(timeout=60) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_the_names_that_requests_may_state_are_those_of_the_machine_and_given_ones(made):
    async def status_for(app, host):
        sent = []

        async def receive():
            return {"type": "http.request"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/healthz"}
        scope |= {"headers": [(b"host", host)], "query_string": b"", "root_path": ""}
        await app(scope, receive, send)
        return sent[0]["status"]

    with hamlearn.load(made.exported["text_only"], "cpu") as tagger:
        app = application(tagger, ["0.0.0.0", "tagger.example", "[::1]"])
        known = (b"tagger.example:80", b"localhost", b"[::1]:80", b"[::1]")
        for host, status in (*((name, 200) for name in known), (b"evil", 400), (b"[::2]:80", 400)):
            assert asyncio.run(status_for(app, host)) == status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_address_is_that_of_the_host(made, monkeypatch, host):
    listening, announced = [], []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: listening.extend(sockets))
    with hamlearn.load(made.exported["text_only"], "cpu") as tagger:
        try:
            serve(tagger, 0, announced.append, host)
        except HamlearnError as error:
            if host != "::1":
                raise
            pytest.skip(f"this machine has no IPv6: {error}")
    assert urlsplit(*announced).hostname == host
    assert len(listening) == 1
