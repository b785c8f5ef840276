import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.errors import HamlearnError
from hamlearn.inference import readers as reading
from hamlearn.inference.posts import Post, Unreadable
from hamlearn.inference.readers import locate_in, read_posts


def by_name(name):
    return name


def read(tmp_path, name, content, form=None, locate=by_name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_posts(path, locate, form))


def test_json_lines(tmp_path):
    lines = [
        {"id": "a", "text": "hi Ann", "image": "a.jpg"},
        {
            "id": 7,
            "words": ["hi", "Bob"],
            "images": ["b.jpg", "c.jpg"],
            "caption": "a dog",
            "texts": {"ocr": "hi"},
        },
        {"text": "\u00e9", "image": None, "other": [1]},
    ]
    content = "\ufeff" + "\n\n".join(map(json.dumps, lines)) + "\r\n"
    assert read(tmp_path, "a.jsonl", content) == [
        Post(text="hi Ann", images=("a.jpg",), id="a"),
        Post(
            words=("hi", "Bob"),
            images=("b.jpg", "c.jpg"),
            caption="a dog",
            id=7,
            texts={"ocr": "hi"},
        ),
        Post(text="\u00e9", id="5"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "not JSON"),
        (b"[1]", "found list, expected an object"),
        (b"{}", "neither `text` nor `words`"),
        (b'{"text": 3}', "text: found 3"),
        (b'{"words": "hi"}', "words: found 'hi'"),
        (b'{"words": ["hi", 3]}', "words: found"),
        (b'{"text": "a", "caption": 3}', "caption: found 3"),
        (b'{"text": "a", "texts": {"ocr": 3}}', "texts: found {'ocr': 3}, expected text by name"),
        (b'{"text": "a", "texts": "b"}', "texts: found 'b', expected text by name"),
        (b'{"text": "a", "id": true}', "id: found True"),
        (b'{"text": "a", "image": 3}', r"image: found \[3\]"),
        (b'{"words": ["a"], "image_path": "a.jpg"}', "found `image_path`, .* expected `image`"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b"[" * 200_000, "not JSON"),
        (b"x" * (reading.MAX_LINE + 5), "longer than 1000000 characters"),
    ],
)
def test_a_bad_line_is_a_record_and_not_the_end(tmp_path, line, said):
    good = b'{"text": "good"}'
    first, bad, last = read(tmp_path, "a.jsonl", b"\n".join([good, line, good]))
    assert (first.text, last.text, last.id) == ("good", "good", "3")
    assert isinstance(bad, Unreadable)
    assert bad.id == "2"
    with pytest.raises(HamlearnError, match=f"a.jsonl:2: .*{said}"):
        raise HamlearnError(bad.error)


def test_tables(tmp_path):
    content = 'id,text,image\na,"he said ""hi""\nto Ann",a.jpg\n,Bob,\nb,too,many,fields\n'
    found = read(tmp_path, "a.csv", content)
    assert found[:2] == [
        Post(text='he said "hi"\nto Ann', images=("a.jpg",), id="a"),
        Post(text="Bob", id="4"),
    ]
    assert found[2] == Unreadable("b", "a.csv:5: found 4 fields, expected 3")
    found = read(tmp_path, "a.csv", 'id,text\np1,"open\n"p2,open\n')
    said = "not a row (a quote opens that is not closed)"
    assert found == [Unreadable("p1", f"a.csv:2: {said}"), Unreadable("3", f"a.csv:3: {said}")]
    found = read(tmp_path, "a.csv", "text,id\r\nhe\0llo,7\n")  # a NUL is a character like others
    assert found == [Post(text="he\0llo", id="7")]
    found = read(tmp_path, "a.tsv", "image\ttext\tcaption\nb.jpg\tsays \"hi\ta dog\n\t5' tall\t\n")
    assert found == [
        Post(text='says "hi', images=("b.jpg",), caption="a dog", id="2"),
        Post(text="5' tall", id="3"),
    ]


def test_faults_of_tables(tmp_path):
    found = read(tmp_path, "a.csv", b'text\n"a"b\ngood\n\xff\n"open\n')
    assert [type(one) for one in found] == [Unreadable, Post, Unreadable, Unreadable]
    assert "not a row" in found[0].error
    assert found[2].error == "a.csv:4: not UTF-8"
    for header in ("", "id,image\n", "text,text\n"):
        with pytest.raises(HamlearnError, match=r"a\.csv:1: found "):
            read(tmp_path, "a.csv", header)
    huge = 'text\n"' + "x" * 200_000 + '"\ngood\n'
    assert read(tmp_path, "a.csv", huge)[-1].text == "good"


def test_conll_with_and_without_labels(tmp_path):
    content = (
        "IMGID:a\nAnn\tB-PER\nis\tO\n\nIMGID:b\nBob here\n\u00a0\nIMGID:c\n\n\nno\nimage\n\n"
        "IMGID:d\nlast"
    )
    expected = [
        Post(words=("Ann", "is"), images=("a",), id="a"),
        Post(words=("Bob", "\u00a0"), images=("b",), id="b"),
        Unreadable("c", "t.txt:8: found no words, expected one per line"),
        Post(words=("no", "image"), id="11"),
        Post(words=("last",), images=("d",), id="d"),
    ]
    assert read(tmp_path, "t.txt", content) == expected  # its first line tells
    assert [one.id for one in read(tmp_path, "t.conll", content)] == ["a", "b", "c", "11", "d"]


def test_a_fault_in_conll_is_that_of_its_post_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_WORDS", 3)
    found = read(tmp_path, "a.conll", b"IMGID:a\n\xff\nx O\n\nIMGID:b\nx\nx\nx\nx\nx\n\nIMGID:c\nx")
    assert found == [
        Unreadable("a", "a.conll:2: not UTF-8"),
        Unreadable("b", "a.conll:9: more than 3 words in one post"),
        Post(words=("x",), images=("c",), id="c"),
    ]


def test_plain_text_has_a_post_for_each_line(tmp_path):
    found = read(tmp_path, "a.txt", "one\n\nthree\n")
    assert found == [Post(text="one", id="1"), Post(text="", id="2"), Post(text="three", id="3")]


def test_the_format_is_told_by_suffix_or_option(tmp_path):
    assert read(tmp_path, "a.data", "hi\n", "text") == [Post(text="hi", id="1")]
    with pytest.raises(HamlearnError, match=r"unknown suffix '\.data'.*`--format`"):
        read(tmp_path, "a.data", "hi\n")
    with pytest.raises(HamlearnError, match="format 'xml': expected one of jsonl"):
        read(tmp_path, "a.data", "hi\n", "xml")
    with pytest.raises(HamlearnError, match="no such file; expected posts"):
        read_posts(tmp_path / "absent.txt", by_name)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name in ("a.jpg", "below/b.PNG", "../secret.jpg"):
        (folder / name).write_bytes(b"x")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "inside.jpg").symlink_to(folder / "a.jpg")
    (folder / "out").symlink_to(tmp_path)
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    return folder


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("a", "a.jpg"),
        ("below/b", "below/b.PNG"),
        ("inside", "inside.jpg"),
        ("absent", "absent"),
        ("absent/x.jpg", "absent/x.jpg"),
    ],
)
def test_pictures_are_found_by_name(pictures, name, file):
    assert locate_in(pictures)(name) == pictures / file


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../secret.jpg", "below/../../secret.jpg", "/etc/passwd", "a\0b"),
        *("link.jpg", "link", "out/secret.jpg", "..\\secret.jpg", "x" * 300),
    ],
)
def test_no_name_leads_out_of_the_folder(pictures, name):
    with pytest.raises(HamlearnError, match=r"^image "):
        locate_in(pictures)(name)


@given(st.text(max_size=20))
def test_any_name_stays_inside_or_is_refused(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    try:
        found = locate_in(folder)(name)
    except HamlearnError:
        return
    assert found.resolve().is_relative_to(folder.resolve())


def test_a_name_that_leaves_is_the_error_of_its_post(tmp_path, pictures):
    lines = '{"text": "a", "image": "../secret.jpg"}\n{"text": "b", "image": "a"}\n'
    bad, good = read(tmp_path, "p.jsonl", lines, locate=locate_in(pictures))
    assert bad.error.startswith("p.jsonl:1: image '../secret.jpg': a path that leaves")
    assert good.images == (pictures / "a.jpg",)


@given(st.binary(max_size=200), st.sampled_from(list(reading.FORMATS)))
def test_any_bytes_are_posts_or_our_error(tmp_path_factory, content, form):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        found = list(read_posts(path, by_name, form))
    except HamlearnError:
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        assert form in ("csv", "tsv") or utf16  # no usable header
        return
    assert all(isinstance(one, Post | Unreadable) for one in found)
    if form == "text":
        end = b"\r" if b"\r" in content.rstrip(b"\r") and b"\n" not in content else b"\n"
        assert len(found) == len(content.removesuffix(end).split(end)) * bool(content)


@pytest.mark.parametrize("form", ["csv", "tsv"])
@pytest.mark.parametrize("size", [200_000, reading.MAX_LINE + 5, 4 * reading.MAX_LINE + 5])
def test_a_long_row_is_one_record_and_shifts_no_id(tmp_path, form, size):
    comma = "," if form == "csv" else "\t"
    rows = [f"text{comma}image", f"a{comma}", f"{'x' * size}{comma}", f"b{comma}", f"c{comma}1.jpg"]
    found = read(tmp_path, f"a.{form}", "\n".join(rows))
    assert [one.id for one in found] == ["2", "3", "4", "5"]
    assert isinstance(found[1], Unreadable)
    assert [one.text for one in found[2:]] == ["b", "c"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b'text,id\rone,1\r"two\nand, more",2\r'),
        ("a.tsv", b"text\tid\rone\t1\rtwo\t2"),
        ("a.jsonl", b'{"text": "one", "id": "1"}\r{"text": "two", "id": "2"}'),
        ("a.txt", b"one\rtwo\r"),
    ],
)
def test_lines_may_end_with_cr_alone(tmp_path, name, content):
    first, second = read(tmp_path, name, content)
    assert (first.text, first.id) == ("one", "1")
    assert (second.text[:3], second.id) == ("two", "2")
    assert read(tmp_path, "a.conll", b"Ann O\rsmiles O\r\rBob O\r") == [
        Post(words=("Ann", "smiles"), id="1"),
        Post(words=("Bob",), id="4"),
    ]


def test_a_cr_inside_a_line_is_a_character(tmp_path):
    assert [one.text for one in read(tmp_path, "a.txt", "one\rmore\ntwo\n")] == ["one\rmore", "two"]
    found = read(tmp_path, "a.csv", "text,id\none\rmore,1\ntwo,2\n")
    assert [one.id for one in found] == ["2", "2"]
    assert "not a row" in found[0].error


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.conll"])
def test_utf16_is_named(tmp_path, name):
    with pytest.raises(HamlearnError, match=r":1: found UTF-16, expected UTF-8"):
        read(tmp_path, name, "text\nhi\n".encode("utf-16"))


def test_an_empty_name_is_no_image(tmp_path):
    lines = '{"text": "a", "image": ""}\n{"text": "a", "image": "", "images": ["b.jpg", ""]}\n'
    first, second = read(tmp_path, "a.jsonl", lines)
    assert (first.images, second.images) == ((), ("b.jpg",))


@pytest.mark.parametrize("docstart", ["-DOCSTART-", "-DOCSTART- O", "-DOCSTART- -X- -X- O"])
def test_a_line_between_documents_is_no_post(tmp_path, docstart):
    content = f"{docstart}\n\nMira NNP B-NP B-PER\n{docstart}\nLea\n\n{docstart}\n"
    found = read(tmp_path, "a.conll", content)
    assert [one.words for one in found] == [("Mira",), ("Lea",)]
