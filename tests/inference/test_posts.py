import pytest

from hamlearn.inference.posts import Post


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ()),
        ({"image": "a"}, ("a",)),
        ({"images": ("b", "c")}, ("b", "c")),
        ({"image": "a", "images": ["b"]}, ("a", "b")),
        ({"images": "a.jpg"}, ("a.jpg",)),  # a name is one image, not one per letter
    ],
)
def test_the_first_image_is_image_and_the_others_follow(given, expected):
    assert Post(text="hi", **given).all_images == expected
