import io
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import hamlearn
from hamlearn import Post, Tagger
from hamlearn.corpus.labels import entities
from hamlearn.errors import HamlearnError
from hamlearn.inference.export import export
from hamlearn.inference.posts import Unreadable
from hamlearn.inference.words import MAX_CHARACTERS
from hamlearn.vision.images import ImageError
from tests.inference.conftest import WEIGHTS

# A system for each kind of input, and one without a CRF.
OTHERS = ("gvatt_bert_crf", "hvpnet", "mgcmt", "umgf", "ita", "cnn_bilstm_crf", "bert")


@pytest.fixture(scope="module")
def seeing(made):
    with hamlearn.load(made.exported["full"], weights=WEIGHTS) as tagger:
        yield tagger


@pytest.fixture(scope="module")
def reading(made):
    with Tagger.load(made.exported["text_only"], device="cpu") as tagger:
        yield tagger


def posts_of(made, images=True):
    return [
        Post(words=post.words, image=made.images / f"{post.image_id}.jpg" if images else None)
        for post in made.posts
    ]


def check_against(predicted, found):
    """Compare with what the workflow's own prediction wrote."""
    some = 0
    for line, tagged in zip(predicted, found, strict=True):
        spans = [
            (" ".join(line["words"][e.start : e.end]), e.type) for e in entities(line["predicted"])
        ]
        assert [(entity.text, entity.type) for entity in tagged.entities] == spans
        assert tagged.text == " ".join(line["words"])
        assert tagged.relevance == pytest.approx(line["relevance"], abs=1e-4)
        assert tagged.has_image == bool(line["has_image"])
        assert all(tagged.text[e.start : e.end] == e.text for e in tagged.entities)
        assert all(0 <= entity.score <= 1 for entity in tagged.entities)
        some += len(spans)
    assert some > 0


def test_pictures_say_what_they_said_in_the_workflow(made, seeing):
    check_against(made.predicted("full"), seeing.tag(posts_of(made)))


def test_feature_files_say_the_same_as_pictures(made):
    files = made.features
    with hamlearn.load(made.exported["full"], features=files) as tagger:
        check_against(made.predicted("full"), tagger.tag(posts_of(made)))
        absent, image = tagger.tag(
            [Post(text="hi", image="absent.jpg"), Post(text="hi", image=Image.new("RGB", (9, 9)))]
        )
        path, words = made.images / f"{made.posts[0].image_id}.jpg", made.posts[0].words
        one, twice = tagger.tag(
            [Post(words=words, image=path), Post(words=words, images=(path.name, path.stem, path))]
        )
    assert twice.relevance == pytest.approx(one.relevance, abs=1e-6)
    assert "no readable image of its name" in absent.note
    assert "an open image has no name" in image.note


def test_text_says_what_it_said_in_the_workflow(made, reading):
    found = reading.tag(posts_of(made))
    check_against(made.predicted("text_only"), found)
    assert all(one.note is None for one in found)  # pictures are not used, and need not be


@pytest.mark.parametrize("system", OTHERS)
def test_every_system_tags_as_it_predicts_a_split(made, system):
    with hamlearn.load(made.run(system), device="cpu", weights=WEIGHTS) as tagger:
        posts = [replace(post, caption=f"a photo of {post.words[0]}") for post in posts_of(made)]
        check_against(made.predicted(system), tagger.tag(posts))
    if tagger.reads_images:
        with hamlearn.load(made.run(system), device="cpu", features=made.features) as tagger:
            check_against(made.predicted(system), tagger.tag(posts))


def test_a_text_beside_a_post_is_read_by_a_system_that_reads_it(made, caplog):
    with hamlearn.load(made.run("ita"), device="cpu", weights=WEIGHTS) as tagger:
        words, text = made.posts[0].words, "a photo of now"
        given = ({"caption": text}, {"texts": {"captions": text}}, {}, {"texts": {"other": text}})
        captioned, by_name, plain, unread = (
            tagger._dataset([tagger._prepare("0", Post(words=words, **one))])[0].window.ids.tolist()
            for one in given
        )
        assert [text for text in caplog.messages if "text captions" in text] == [
            "the model was trained with the text captions, but posts have none"
        ]
        (wrong,) = tagger.tag([Post(words=words, texts={"captions": 3})])
    assert len(captioned) > len(plain)
    assert captioned[: len(plain)] == plain
    assert (captioned, plain) == (by_name, unread)
    assert wrong.error == "texts: found {'captions': 3}, expected text by name"


@pytest.mark.parametrize("system", ["text_only", "bert"])
def test_a_score_is_the_sum_over_the_label_paths_that_spell_the_entity(made, system):
    tagger = Tagger.load(made.run(system), device="cpu")
    parts = [post.words[at : at + 3] for post in made.posts for at in range(len(post.words) - 2)]
    short = next(one for one in tagger.tag([Post(words=words) for words in parts]) if one.entities)
    words = short.words
    data = tagger._dataset([tagger._prepare("0", Post(words=words))])
    with torch.no_grad():
        emissions = tagger.model.network(data.batch([0])).emissions.double()
        grid = torch.cartesian_prod(*[torch.arange(len(tagger.labels))] * len(words))
        crf = tagger.model.network.crf
        if crf is None:
            weights = emissions[0].softmax(-1)[range(len(words)), grid].prod(-1)
        else:
            weights = crf(emissions.expand(len(grid), -1, -1), grid, reduction="none").exp()
    for entity in short.entities:
        total = 0.0
        for path, weight in zip(grid.tolist(), weights.tolist(), strict=True):
            spelled = entities([tagger.labels[number] for number in path])
            same = [(" ".join(words[e.start : e.end]), e.type) for e in spelled]
            total += weight * ((entity.text, entity.type) in same)
        assert entity.score == pytest.approx(total, abs=1e-5)


def test_a_system_of_spans_has_probabilities_and_contributions(made, tmp_path):
    export(made.run("mrc_mner"), tmp_path / "exported")
    with Tagger.load(tmp_path / "exported", device="cpu", features=made.features) as tagger:
        network = tagger.model.network
        with torch.no_grad():
            make = torch.Generator().manual_seed(0)
            network.emit.weight.normal_(generator=make)  # so short a training finds no entities
        posts = posts_of(made)
        found = tagger.tag(posts, explain=True)
        assert sum(len(one.entities) for one in found) > len(found) / 2
        for one, post in zip(found, posts, strict=True):
            data = tagger._dataset(tagger._with_images([tagger._prepare("0", post)]))
            with torch.no_grad():
                scores = network(data.batch([0])).emissions[0].sigmoid()
            starts, ends = [a for _, a, _ in _places(one)], [b for _, _, b in _places(one)]
            for entity in one.entities:
                number = network.types.index(entity.type)
                begin = scores[starts.index(entity.start), number]
                end = scores[ends.index(entity.end), len(network.types) + number]
                assert entity.score == pytest.approx(float(begin * end), abs=1e-5)
            if one.has_image and one.entities:
                assert one.explanation[0].part == "image"
                assert any(part.weight for part in one.explanation[1:])


def _places(one):
    """The words of a tagged post, each with where it begins and ends in the text."""
    places, at = [], 0
    for word in one.words:
        at = one.text.index(word, at)
        places.append((word, at, at + len(word)))
        at += len(word)
    return places


def test_one_post_at_fault_hurts_no_other(reading):
    good = Post(text="see Ann tomorrow", id="good")
    bad = [
        Post(text=""),
        Post(text=" \n\u00a0"),
        Post(),
        Post(text="x" * (MAX_CHARACTERS + 1)),
        Post(text="half \ud83d of it"),
        Post(words=()),
        Post(words=("a", "", "b")),
        Post(words=("a", 3)),
        Post(text=7),
        Unreadable("u", "a.csv:3: not a row"),
    ]
    found = reading.tag([good, *bad, good])
    assert found[0] == found[-1] == reading.tag([good])[0]
    assert [one.error is None for one in found] == [True, *[False] * len(bad), True]
    assert all(one.entities == () for one in found[1:-1])
    assert found[-2].id == "u"
    assert reading.tag([]) == []


def test_the_order_is_that_of_the_posts_whatever_their_length(made, reading):
    posts = [
        Post(words=post.words[: 1 + number % len(post.words)], id=number)
        for number, post in enumerate(made.posts * 3)
    ]
    found = list(reading.stream(iter(posts), batch_size=3, window=7))
    assert [one.id for one in found] == list(range(len(posts)))
    assert [one.words for one in found] == [post.words for post in posts]
    alone = reading.tag(posts[:5], batch_size=1)
    for one, other in zip(found, alone, strict=False):
        assert [e.text for e in one.entities] == [e.text for e in other.entities]
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities])


def test_a_stream_takes_no_more_posts_than_a_window(reading):
    taken = []

    def endless():
        while True:
            taken.append(Post(text=f"number {len(taken)}"))
            yield taken[-1]

    assert len(list(islice(reading.stream(endless(), window=5), 11))) == 11
    assert len(taken) == 15


def test_what_cannot_be_seen_is_noted_and_the_text_decides(made, seeing, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    words = made.posts[0].words
    broken, absent, none = seeing.tag(
        [
            Post(words=words, image=tmp_path / "broken.jpg"),
            Post(words=words, images=(tmp_path / "absent.jpg", str(tmp_path))),
            Post(words=words),
        ]
    )
    assert broken.note.startswith("broken.jpg: ")
    assert absent.note.startswith("absent.jpg: no such file; ")
    assert none.note is None
    for one in (broken, absent, none):
        assert (one.has_image, one.relevance, one.error) == (False, None, None)
        assert one.entities == none.entities


def test_texts_stand_for_posts(reading):
    post, text = Post(text="see Ann tomorrow", id="a"), "at the game with Jordan"
    first, second = reading.tag(post), reading.tag(text)
    assert [len(first), len(second)] == [1, 1]
    assert first[0].words == ("see", "Ann", "tomorrow")
    assert second[0].text == text
    assert reading.tag([text, post, text]) == [*second, *first, *second]
    assert reading.tag(iter((text, post))) == [*second, *first]
    assert list(reading.stream(text)) == second
    assert reading.tag("")[0].error == "text: found no word, expected at least one"
    wrong = reading.tag([text, 7, {"text": text}, None])
    assert [one.error for one in wrong] == [
        None,
        *(f"post: found {kind}, expected Post or str" for kind in ("int", "dict", "NoneType")),
    ]
    for posts in (7, None, b"text", {"text": text}):
        with pytest.raises(HamlearnError, match=r"posts: found \w+, expected posts or texts"):
            reading.tag(posts)


def test_an_image_says_the_same_whatever_it_comes_in(made, seeing, tmp_path):
    words, path = made.posts[0].words, made.images / f"{made.posts[0].image_id}.jpg"
    image = Image.open(path)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "a.png")
    sources = [
        tmp_path / "a.png",
        (tmp_path / "a.png").read_bytes(),
        Image.open(tmp_path / "a.png"),
        np.asarray(image),
        np.asarray(image).astype(np.uint16) * 257,
    ]
    for given in (lambda one: {"image": one}, lambda one: {"images": (one,)}):
        posts = [Post(words=words, **given(source)) for source in sources]
        found = seeing.tag(posts, batch_size=1)
        assert found == [found[0]] * len(sources)
    (twice,) = seeing.tag([Post(words=words, image=sources[0], images=tuple(sources))])
    assert twice == found[0]  # an image counts once, whatever it comes in


def test_an_image_that_cannot_be_used_is_a_note_and_ends_nothing(made, seeing, tmp_path):
    path = made.images / f"{made.posts[0].image_id}.jpg"
    closed = Image.open(path)
    closed.close()
    images = [
        closed,
        Image.open(io.BytesIO(path.read_bytes()[:-300])),
        np.broadcast_to(np.uint8(0), (20_000, 20_000)),
        np.zeros((3, 30, 40)),
        b"no image",
        7,
    ]
    posts = [Post(words=made.posts[0].words, image=image) for image in images]
    good = Post(words=made.posts[0].words, image=path)
    *bad, last, several = seeing.tag(
        [*posts, good, Post(words=good.words, images=(path, closed, b""))]
    )
    for one, said in zip(
        bad,
        ("closed image", "truncated", "20000x20000", "(3, 30, 40)", "text that", "found int"),
        strict=True,
    ):
        assert one.note.startswith("image 1: ")
        assert said in one.note
        assert one.note.endswith("; not used")
        assert (one.has_image, one.error) == (False, None)
    assert (last.note, last.has_image) == (None, True)
    notes = "image 2: Operation on closed image; image 3: zero bytes; not used"
    assert several.note == notes
    assert several.relevance == pytest.approx(last.relevance, abs=1e-6)  # rows of one batch
    for found, expected in zip(several.entities, last.entities, strict=True):
        assert replace(found, score=expected.score) == expected
        assert found.score == pytest.approx(expected.score, abs=1e-6)


def test_an_image_that_takes_too_much_memory_is_a_note(made, seeing, monkeypatch):
    def failing(image):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    words, image = made.posts[0].words, np.full((30, 40, 3), 77, np.uint8)
    detector = seeing.image_encoder._detector
    monkeypatch.setattr(detector, "propose", failing)
    (found,) = seeing.tag(Post(words=words, image=image))
    assert found.note == "image 1: there is too little memory for it; not used"
    monkeypatch.undo()
    assert seeing.tag(Post(words=words, image=image))[0].note is None


def test_several_pictures_are_taken_together(made, seeing, tmp_path):
    words = made.posts[0].words
    paths = [made.images / f"{post.image_id}.jpg" for post in made.posts[:3]]
    one, twice, three, part = seeing.tag(
        [
            Post(words=words, image=paths[0]),
            Post(words=words, images=(paths[0], tmp_path / "absent.jpg")),
            Post(words=words, images=tuple(paths)),
            Post(words=words, image=Image.open(paths[0])),
        ]
    )
    assert twice.relevance == pytest.approx(one.relevance, abs=1e-6)
    assert twice.note == "absent.jpg: no such file; not used"
    assert three.relevance != pytest.approx(one.relevance, abs=1e-6)
    assert part.relevance == pytest.approx(one.relevance, abs=1e-6)
    assert three.has_image


def test_the_package_gives_its_names_without_loading_much():
    code = (
        "import sys, hamlearn; heavy = {'torch', 'nltk', 'pydantic', 'PIL'} & set(sys.modules);"
        "print(heavy, hamlearn.Post(text='a').text, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() a False"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hamlearn.nothing
    assert hamlearn.Tagger is Tagger
    assert issubclass(ImageError, HamlearnError)
