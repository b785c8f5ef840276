import pytest

from hamlearn.inference.posts import Post
from hamlearn.serving.api import OPERATIONS, GivenPost, document, read_request


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
