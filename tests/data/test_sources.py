from dataclasses import replace

import pytest

from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import InputFiles, open_sources
from hamlearn.errors import HamlearnError
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs, inputs_of
from tests.builders import make_posts

ITA = inputs_of("ita")


def test_texts_of_other_posts_are_refused(paths, tokenizer, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("900_1.jpg :a man\n")
    texts = {"captions": captions, "unread": tmp_path / "absent"}
    files = InputFiles(images=paths["images"], objects=paths["objects"], texts=texts)
    options = (ITA, files, tokenizer, TextSettings())
    with open_sources(*options) as sources:  # no posts, nothing to compare with
        assert sources.segments.texts == {"captions": {"900_1.jpg": "a man"}}
    message = r"texts\.captions: .*: found a text for none of 34 images: .* 'train_0', found .*'9"
    with pytest.raises(HamlearnError, match=message), open_sources(*options, splits=[make_posts()]):
        pass
    captions.write_text("900_1.jpg :a man\ntest_0.webp :a dog\n")
    with open_sources(*options, splits=[make_posts()]) as sources:
        data = PostDataset(make_posts(), tokenizer, TextSettings(), sources=sources)
    assert data.counts.texts == {"captions": 1}
    assert [data.has_text(index) for index in (0, 28)] == [{"captions": False}, {"captions": True}]


def test_a_text_may_have_the_id_of_a_post_without_an_image(tokenizer, tmp_path):
    posts = [replace(post, id=f"p{number}") for number, post in enumerate(make_posts())]
    (tmp_path / "a.jsonl").write_text('{"id": "p3", "text": "a man"}\n')
    reads, files = Inputs(reads=("ocr",)), InputFiles(texts={"ocr": tmp_path / "a.jsonl"})
    with open_sources(reads, files, tokenizer, TextSettings(), splits=[posts]) as sources:
        data = PostDataset(posts, tokenizer, TextSettings(), sources=sources)
    assert [number for number in range(len(posts)) if data.has_text(number)["ocr"]] == [3]


def test_features_of_other_images_are_refused(paths, tokenizer):
    posts = [replace(post, image_id=f"x{post.image_id}") for post in make_posts()]
    files = InputFiles(*(paths[name] for name in ("images", "objects", "graphs")))
    options = (inputs_of("full"), files, tokenizer, TextSettings())
    message = (
        r"images.*: ids: found features for none of 34 images: .* 'xtrain_0', found .* 'train_0'"
    )
    with pytest.raises(HamlearnError, match=message), open_sources(*options, splits=[posts]):
        pass


def test_texts_that_a_corpus_lacks_are_not_counted(paths, tokenizer):
    with open_sources(ITA, InputFiles(objects=paths["objects"]), tokenizer, TextSettings()) as it:
        data = PostDataset(make_posts(), tokenizer, TextSettings(), sources=it)
    assert data.counts.texts == data.has_text(0) == {}
