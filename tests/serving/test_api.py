import base64
import json
from dataclasses import asdict

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hamlearn
from hamlearn.inference.model_folder import load_model
from hamlearn.inference.posts import Post
from hamlearn.serving.api import (
    MAX_BYTES,
    MAX_POSTS,
    OPERATIONS,
    GivenPost,
    document,
    read_request,
)
from tests.inference.conftest import WEIGHTS
from tests.serving.conftest import request


def test_a_request_is_read_as_posts():
    request = read_request(b'{"posts": [{"text": "a", "images": ["AAE="], "texts": {"k": "v"}}]}')
    assert request.explain is False
    assert request.posts[0].post == Post(text="a", images=(b"\0\1",), texts={"k": "v"})
    assert GivenPost(words=["a"], id=3).post == Post(words=("a",), id=3)
    with pytest.raises(ValueError, match=r"explain: found 'maybe', expected"):
        read_request(b'{"posts": [{}], "explain": "maybe"}')


def test_the_document_has_every_operation_and_resolves():
    made = document()
    assert made["paths"].keys() == OPERATIONS.keys()
    text = str(made)
    for name in made["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text


JSON = {"Content-Type": "application/json"}
DOCUMENT = document()


def asked(server, path, body=None, method=None, headers=JSON):
    """The status and the body of an answer, which must be what the document says of it."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    method = method or ("POST" if content is not None else "GET")
    status, said = request(server, method, path, headers, content)
    answers = DOCUMENT["paths"][path][method.lower()]["responses"]
    schema = answers[str(status)]["content"]["application/json"]["schema"]
    found = json.loads(said)
    jsonschema.validate(
        found,
        schema | {"components": DOCUMENT["components"]},
        jsonschema.Draft202012Validator,
    )
    return status, found


def test_the_document_is_served_and_its_answers_are_as_it_says(server, made):
    assert json.loads(request(server, path="/openapi.json")[1]) == DOCUMENT
    for model in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(model)
    assert asked(server, "/healthz") == (200, {"status": "ok"})
    status, model = asked(server, "/v1/model")
    facts = load_model(made.exported["full"]).facts
    assert (status, model["system"], model["types"]) == (200, "full", facts.types)
    assert model["networks"]["images"]["sha256"] == facts.networks["images"].sha256


@pytest.mark.parametrize("explain", [False, True])
def test_posts_in_json_are_tagged_as_in_python(server, made, explain):
    images = [(made.images / f"{post.image_id}.jpg").read_bytes() for post in made.posts[:3]]
    posts = [
        {"id": "a", "text": " ".join(made.posts[0].words), "images": [b64(images[0])]},
        {"id": 2, "words": list(made.posts[1].words), "images": [b64(one) for one in images[1:]]},
        {"text": "no picture, Mira"},
        {"text": "a broken one", "images": [b64(b"no image")]},
        {"text": "  "},
    ]
    status, found = asked(server, "/v1/tag", {"posts": posts, "explain": explain})
    with hamlearn.load(made.exported["full"], "cpu", weights=WEIGHTS) as tagger:
        expected = tagger.tag(
            [
                hamlearn.Post(text=posts[0]["text"], images=tuple(images[:1]), id="a"),
                hamlearn.Post(words=made.posts[1].words, images=tuple(images[1:]), id=2),
                "no picture, Mira",
                hamlearn.Post(text="a broken one", images=(b"no image",)),
                "  ",
            ],
            explain=explain,
        )
    assert status == 200
    # JSON has lists for tuples, and every digit of a number
    assert found["posts"] == json.loads(json.dumps([asdict(one) for one in expected]))
    assert (found["posts"][0]["explanation"] is None) != explain
    assert found["posts"][4]["error"] == "text: found no word, expected at least one"


def b64(content):
    return base64.b64encode(content).decode()


POST = {"text": "hi"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        ({"posts": [POST | {"imags": []}]}, {}, 422, "posts.0.imags: found an unknown key"),
        ({"posts": []}, {}, 422, "posts: found []"),
        ({"posts": [POST] * (MAX_POSTS + 1)}, {}, 422, "posts: found"),
        ({"posts": [POST | {"images": ["AA=="] * 9}]}, {}, 422, "posts.0.images: found"),
        ({"posts": [POST | {"images": ["%"]}]}, {}, 422, "posts.0.images.0: found"),
        ({"posts": [{"text": 1}]}, {}, 422, "posts.0.text: found 1"),
        (b"no json", {}, 422, "JSON"),
        (b"", {}, 422, "JSON"),
        (b"[" * 100_000, {}, 422, "JSON"),
        (b'{"posts": [{"text": "\\ud800"}]}', {}, 422, "JSON"),
        (bytes(MAX_BYTES + 1), {}, 413, "more than 32 MB"),
        ({"posts": [POST]}, {"Content-Type": "text/plain"}, 415, "found 'text/plain', expected"),
        ({"posts": [POST]}, {"Content-Type": "application/json; charset=utf-16"}, 415, "utf-8"),
        ({"posts": [POST]}, {"Origin": "http://evil.example"}, 403, "sent by another page"),
    ],
)
def test_a_request_in_json_that_is_refused_is_one_sentence(server, body, headers, status, said):
    found = asked(server, "/v1/tag", body, headers=JSON | headers)
    assert (found[0], said in found[1]["error"]) == (status, True), found


def test_other_methods_and_paths_are_refused_in_json(server):
    for method, path, status in (("GET", "/v1/tag", 405), ("GET", "/v1/other", 404)):
        found, said = request(server, method, path)
        assert (found, [*json.loads(said)]) == (status, ["error"])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
POSTS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-(2**60), 2**60) | st.text(max_size=9) | ANYTHING,
        "text": st.text(max_size=30) | ANYTHING,
        "words": st.lists(st.text(max_size=9), max_size=4) | ANYTHING,
        "images": st.lists(st.binary(max_size=20).map(b64), max_size=2) | ANYTHING,
        "texts": st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=2),
    },
)


@given(st.fixed_dictionaries({"posts": st.lists(POSTS, max_size=3) | ANYTHING}) | ANYTHING)
@settings(max_examples=60)
def test_whatever_is_sent_the_answer_is_as_documented(server, body):
    status, _ = asked(server, "/v1/tag", json.dumps(body).encode())
    assert status in (200, 422)
