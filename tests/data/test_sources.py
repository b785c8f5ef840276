from dataclasses import replace

import pytest

from hamlearn.data.dataset import PostDataset
from hamlearn.data.sources import ImageText, InputFiles, Sources, open_sources, read_captions
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import tokenize
from hamlearn.errors import HamlearnError
from hamlearn.settings import TextSettings
from hamlearn.systems import Inputs, inputs_of
from tests.builders import CLASSES, make_posts

ITA = inputs_of("ita")


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_captions_are_read_by_image(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text(
        "\ufeff12.jpg :a dog: on ice\na\\16_05_01.JPG :two people\n\nO_1 :x\n12.jpg :again\n"
        "x.png :exact\nx.jpg :first\n7.webp :web\n"
    )
    captions = read_captions(path)
    expected = {
        "12": "a dog: on ice",
        "16_05_01": "two people",
        "O_1": "x",
        "12.gif": "a dog: on ice",
    }
    expected |= {"O_1.jpg": "x", "x.png": "exact", "x.jpg": "first", "x": "first", "7": "web"}
    assert {name: captions[name] for name in expected} == expected
    assert "16" not in captions


@pytest.mark.parametrize("text", ["12.jpg a dog\n", " :a dog\n", "a/ :a dog\n"])
def test_a_line_that_is_no_caption_is_named(tmp_path, text):
    (tmp_path / "captions.txt").write_text("1.jpg :fine\n" + text)
    with pytest.raises(HamlearnError, match=r"captions\.txt:2: found"):
        read_captions(tmp_path / "captions.txt")
    with pytest.raises(HamlearnError, match="no such file"):
        read_captions(tmp_path / "absent.txt")


def test_text_stands_behind_the_post_and_belongs_to_no_word(paths, tokenizer):
    posts = make_posts()
    with VisualReader(objects=paths["objects"], inputs=Inputs(names=True)) as pictures:
        text = ImageText(tokenizer, 60, pictures, {posts[0].image_id: "now great"})
        settings = TextSettings(max_subtokens=60)
        data = PostDataset(posts, tokenizer, settings, sources=Sources(pictures, text))
        plain = [row for (row,) in tokenize([post.words for post in posts], tokenizer, 60)]
        seen = set()
        for index, post in enumerate(posts):
            own, alone = data[index].window, plain[index]
            length = len(alone.ids)
            assert own.ids[:length].tolist() == alone.ids.tolist()
            assert own.word_ids[:length].tolist() == alone.word_ids.tolist()
            assert set(own.word_ids[length:].tolist()) <= {-1}
            assert own.words == alone.words
            expected = []
            row = pictures.objects.row_of[post.image_id]
            count = pictures.objects.rows("counts", [row])[0]
            labels = pictures.objects.rows("labels", [row])[0, :count]
            names = [CLASSES[label] for label in labels if label < len(CLASSES)]
            if names:
                expected += [*ids_of(tokenizer, " ".join(names)), tokenizer.sep_token_id]
            if index == 0:
                expected += [*ids_of(tokenizer, "now great"), tokenizer.sep_token_id]
            assert own.ids[length:].tolist() == expected
            seen.add(bool(expected))
        assert seen == {True, False}
        batch = data.batch([0, 1])
        assert batch.visual.has_image.tolist() == [True, False]
        assert batch.visual.objects is None


def test_the_post_comes_first_where_there_is_little_room(tokenizer):
    post = make_posts()[0]
    ((alone,),) = tokenize([post.words], tokenizer, 128)
    for room in range(6):
        text = ImageText(
            tokenizer, len(alone.ids) + room, None, {post.image_id: "now in for with so"}
        )
        found = text.append_to(alone, post.image_id)
        assert len(found.ids) <= len(alone.ids) + room
        assert found.ids[: len(alone.ids)].tolist() == alone.ids.tolist()
        assert (len(found.ids) > len(alone.ids)) == (room >= 2)
        assert found.ids[-1] == tokenizer.sep_token_id


def test_captions_of_other_images_are_refused(paths, tokenizer, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("900_1.jpg :a man\n")
    files = InputFiles(images=paths["images"], objects=paths["objects"], captions=captions)
    options = (ITA, files, tokenizer, TextSettings())
    with open_sources(*options) as sources:  # no posts, nothing to compare with
        assert sources.image_text.captions == {"900_1.jpg": "a man"}
    message = (
        "captions: .*: found a caption for none of 34 images: expected .* 'train_0', found .*'9"
    )
    with pytest.raises(HamlearnError, match=message), open_sources(*options, splits=[make_posts()]):
        pass
    captions.write_text("900_1.jpg :a man\ntest_0.webp :a dog\n")
    with open_sources(*options, splits=[make_posts()]) as sources:
        data = PostDataset(make_posts(), tokenizer, TextSettings(), sources=sources)
    assert data.counts.captions == 1
    assert [data.has_caption(index) for index in (0, 28)] == [False, True]


def test_features_of_other_images_are_refused(paths, tokenizer):
    posts = [replace(post, image_id=f"x{post.image_id}") for post in make_posts()]
    files = InputFiles(*(paths[name] for name in ("images", "objects", "graphs")))
    options = (inputs_of("full"), files, tokenizer, TextSettings())
    message = (
        r"images.*: ids: found features for none of 34 images: .* 'xtrain_0', found .* 'train_0'"
    )
    with pytest.raises(HamlearnError, match=message), open_sources(*options, splits=[posts]):
        pass


def test_captions_that_are_not_read_are_not_counted(paths, tokenizer):
    with open_sources(ITA, InputFiles(objects=paths["objects"]), tokenizer, TextSettings()) as it:
        data = PostDataset(make_posts(), tokenizer, TextSettings(), sources=it)
    assert data.counts.captions is data.has_caption(0) is None
