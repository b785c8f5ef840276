import pytest

from hamlearn.corpus.conll import read_conll, read_corpus
from hamlearn.errors import HamlearnError

GOOD = "IMGID:1\nAnna\tB-PER\nsmiles\tO\n\nIMGID:O_2\nOslo B-OTHER\n\n"


def write(folder, **texts):
    for split, text in texts.items():
        (folder / f"{split}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def read(folder, text):
    write(folder, train=text)
    return read_conll(folder / "train.txt")


def test_reads_posts_with_their_lines(tmp_path):
    first, second = read(tmp_path, GOOD)
    assert (first.image_id, first.words, first.labels) == ("1", ("Anna", "smiles"), ("B-PER", "O"))
    assert (second.image_id, second.words, second.labels) == ("O_2", ("Oslo",), ("B-OTHER",))


def test_a_path_may_be_text(tmp_path):
    assert len(read_conll(str(write(tmp_path, train=GOOD) / "train.txt"))) == 2


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.rstrip("\n"),
        "\n\n" + GOOD + "\n \n\t\n",
        GOOD.replace("\n\nIMGID", "\nIMGID"),
        GOOD.replace("\t", " \t "),
        GOOD.replace("IMGID:1", "IMGID: 1 "),
    ],
    ids=["crlf", "bom", "no final newline", "more blank lines", "no blank line", "runs", "spaces"],
)
def test_the_same_posts_in_other_clothes(tmp_path, text):
    plain = read(tmp_path, GOOD)
    assert read(tmp_path, text) == plain


@pytest.mark.parametrize(
    "token",
    [
        "\u00a0",
        "\u3000",
        "\u2028",
        "\u0085",
        "\x0b",
        "\x0c",
        "\x1c",
        "\u200d",
        "\ufffd",
        "a\u00a0b",
    ],
)
def test_odd_white_space_is_a_token(tmp_path, token):
    (entry,) = read(tmp_path, f"IMGID:1\nx\tO\n{token}\tB-PER\ny\tO\n\n")
    assert entry.words == ("x", token, "y")
    assert entry.labels == ("O", "B-PER", "O")


def test_only_other_becomes_misc(tmp_path):
    write(tmp_path, train="IMGID:1\nOTHER\tI-OTHER\nx\tB-OTHERS\n")
    (post,) = read_corpus(tmp_path, splits=["train"])
    assert post.words == ("OTHER", "x")
    assert post.labels == ("I-MISC", "B-OTHERS")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("IMGID:1\nx\tO\ny\tPER\n", 3, "label 'PER': expected O, B-TYPE or I-TYPE"),
        ("IMGID:1\nx\tO\ny\tB-\n", 3, "label 'B-'"),
        (
            "IMGID:1\nx\tO\ny\tS-PER\n",
            3,
            "label 'S-PER': looks like BIOES; expected O, B-TYPE or I-TYPE, or `labels",
        ),
        ("IMGID:1\nx\tO\ny\tU-PER\n", 3, "label 'U-PER': looks like BILOU; expected O"),
        ("IMGID:1\nx\tO\ny\tB-PER,B-ORG\n", 3, "label 'B-PER,B-ORG': several labels, expected one"),
        ("IMGID:1\nx\tO\ny\tB-PER;I-ORG\n", 3, "several labels, expected one"),
        ("IMGID:1\nx\tO\ny\tB-PER|O\n", 3, "several labels, expected one"),
        ("IMGID:1\nx\tO\u00a0\n", 2, "label 'O\\xa0'"),
        (
            "IMGID:1\nx\tO\ny\n",
            3,
            "found 'y', expected one token and one label: the label is",
        ),
        ("IMGID:1\nx NN O\n", 2, "found 'x NN O', expected one token and one label: 3 columns"),
        (
            "IMGID:1\n\tO\n",
            2,
            r"found '\tO', expected one token and one label: the token is",
        ),
        ("IMGID:1\nNew York\tB-LOC\n", 2, r"found 'New York\tB-LOC', expected one token"),
        ("x\tO\n\nIMGID:1\ny\tO\n", 1, "outside a post; expected `IMGID:<id>` first, as on line 3"),
        ("IMGID:1\nx\tO\ny\tB-all\n", 3, "`all` stands for all types together"),
        ("IMGID:1\nx\tO\n\ny\tO\n", 4, "outside a post"),
        ("IMGID:1\nx\tO\n\nIMGID:\ny\tO\n", 4, "IMGID ''; expected the name of an image file"),
        ("IMGID:../x\ny\tO\n", 1, "IMGID '../x'; expected the name of an image file"),
        ("IMGID:/etc/x\ny\tO\n", 1, "IMGID '/etc/x'; expected the name"),
        ("IMGID:..\ny\tO\n", 1, "IMGID '..'; expected the name"),
        ("IMGID:a\\b\ny\tO\n", 1, "expected the name of an image file"),
        (f"IMGID:{'x' * 300}\ny\tO\n", 1, "of 1 to 200 bytes"),
        ("IMGID:1\tO\ny\tO\n", 1, r"IMGID '1\tO'; expected the name"),
        ("IMGID:1\n\nx\tO\n", 1, "post '1' has no words"),
        ("IMGID:1\nIMGID:2\nx\tO\n", 1, "post '1' has no words"),
        ("IMGID:1\nx\tO\n\nIMGID:2\n", 4, "post '2' has no words"),
        ("", 1, "no posts in the file"),
        ("\n \n\n", 1, "no posts in the file"),
        (b"IMGID:1\nx\tO\ncaf\xe9\tO\n", 3, "byte 4 of the line, 0xe9, is not UTF-8"),
        (b"IMGID:1\nx\tO\ncut\xe2\x82\n", 3, "byte 4 of the line, 0xe2, is not UTF-8"),
    ],
)
def test_malformed_text_is_one_error_with_file_and_line(tmp_path, text, line, message):
    with pytest.raises(HamlearnError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'train.txt'}:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(HamlearnError, match="no such file"):
        read_conll(tmp_path / "train.txt")


def test_a_corpus_has_three_splits_and_unique_ids(tmp_path):
    write(tmp_path, train=GOOD, valid="IMGID:1\nx\tO\n", test="IMGID:1\ny\tO\n\nIMGID:3\nz\tO\n")
    posts = read_corpus(tmp_path)
    assert [(post.split, post.id, post.image_id) for post in posts] == [
        ("train", "1", "1"),
        ("train", "O_2", "O_2"),
        ("dev", "1#2", "1"),
        ("test", "1#3", "1"),
        ("test", "3", "3"),
    ]
    assert all(post.image_path is None for post in posts)


def test_the_dev_split_may_be_called_dev_but_not_both(tmp_path):
    write(tmp_path, train=GOOD, dev="IMGID:9\nx\tO\n", test=GOOD)
    assert [post.id for post in read_corpus(tmp_path) if post.split == "dev"] == ["9"]
    write(tmp_path, valid=GOOD)
    with pytest.raises(HamlearnError, match="dev split exists twice"):
        read_corpus(tmp_path)


def test_an_absent_split_or_folder_is_named(tmp_path):
    write(tmp_path, train=GOOD, test=GOOD)
    with pytest.raises(HamlearnError, match=r"dev split is absent; expected valid.txt or dev.txt"):
        read_corpus(tmp_path)
    (tmp_path / "test.txt").unlink()
    with pytest.raises(HamlearnError, match=r"test split is absent; expected test.txt; move posts"):
        read_corpus(tmp_path, splits=("train", "test"))
    with pytest.raises(HamlearnError, match="no such folder"):
        read_corpus(tmp_path / "elsewhere")


def test_an_empty_split_names_its_file(tmp_path):
    write(tmp_path, train=GOOD, valid="\n", test=GOOD)
    with pytest.raises(HamlearnError, match=r"valid\.txt:1: no posts"):
        read_corpus(tmp_path)


def test_pictures_are_found_by_name(tmp_path):
    write(tmp_path, train=GOOD, valid=GOOD, test=GOOD)
    images = tmp_path / "images"
    images.mkdir()
    (images / "O_2.jpg").write_bytes(b"")
    pictures = {post.image_id: post.image_path for post in read_corpus(tmp_path, images)}
    assert pictures == {"1": None, "O_2": str(images / "O_2.jpg")}
    with pytest.raises(HamlearnError, match="no such folder; expected the images"):
        read_corpus(tmp_path, tmp_path / "photos")


SCRIPTS = """IMGID:Bank im Park
Die O
N\u00e4hmaschine B-Produkt

IMGID:\u5317\u4eac \u2116 1.jpg
\u60a3\u8005 O
\u7cd6\u5c3f B-\u75be\u75c5
\u75c5 I-\u75be\u75c5

IMGID:\U0001f984
\u0627\u0644\u0642\u0627\u0647\u0631\u0629\tB-creative-work
\u0926\u093f\u0932\u094d\u0932\u0940\tB-\u0938\u094d\u0925\u093e\u0928
"""


def test_any_script_any_label_any_name(tmp_path):
    german, chinese, others = read(tmp_path, SCRIPTS)
    assert german.image_id == "Bank im Park"
    assert chinese.image_id == "\u5317\u4eac \u2116 1.jpg"
    assert chinese.labels == ("O", "B-\u75be\u75c5", "I-\u75be\u75c5")
    assert others.image_id == "\U0001f984"
    assert others.words[1] == "\u0926\u093f\u0932\u094d\u0932\u0940"
    assert others.labels == ("B-creative-work", "B-\u0938\u094d\u0925\u093e\u0928")


def test_plain_conll_has_posts_that_are_named_by_their_place(tmp_path):
    plain = "\n\nAnna B-PER\nsmiles O\n\n\nOslo B-LOC\n"
    write(tmp_path, train=plain, valid="x O\n", test="IMGID:dev-1\ny O\n")
    images = tmp_path / "images"
    images.mkdir()
    for name in ("train-1.jpg", "dev-1.jpg"):
        (images / name).touch()
    posts = read_corpus(tmp_path, images)
    assert [(post.id, post.image_id, post.words) for post in posts] == [
        ("train-1", "train-1", ("Anna", "smiles")),
        ("train-2", "train-2", ("Oslo",)),
        ("dev-1_", "dev-1_", ("x",)),  # another post has this IMGID
        ("dev-1", "dev-1", ("y",)),
    ]
    assert [post.image_path for post in posts] == [None] * 3 + [str(images / "dev-1.jpg")]
    assert read_corpus(tmp_path, images) == posts


def test_other_stays_other_where_misc_is_another_type(tmp_path):
    write(tmp_path, train="x B-OTHER\n", valid="x I-OTHER\n", test="x B-MISC\n")
    assert [post.labels for post in read_corpus(tmp_path)] == [
        ("B-OTHER",),
        ("I-OTHER",),
        ("B-MISC",),
    ]
    write(tmp_path, test="x B-PER\n")
    assert [post.labels[0] for post in read_corpus(tmp_path)] == ["B-MISC", "I-MISC", "B-PER"]


def write_texts(folder, *image_ids):
    text = "".join(f"IMGID:{name}\nx O\n\n" for name in image_ids)
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text(text if name == "train" else "IMGID:other\nx O\n")
    (folder / "images").mkdir()
    return folder / "images"


def test_a_folder_with_no_image_of_the_corpus_is_refused(tmp_path):
    images = write_texts(tmp_path, "a", "b.jpg")
    message = f"{images}: found an image file of {tmp_path} for none of 3 images: expected names"
    with pytest.raises(HamlearnError, match=f"{message} such as 'a', found nothing"):
        read_corpus(tmp_path, images)
    (images / "7.jpg").touch()
    with pytest.raises(HamlearnError, match=f"{message} such as 'a', found such as '7.jpg'"):
        read_corpus(tmp_path, images)


def test_images_of_a_text_that_names_none_are_refused(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("x O\n")
    (tmp_path / "images").mkdir()
    with pytest.raises(HamlearnError, match="has no line `IMGID:<id>` that names one"):
        read_corpus(tmp_path, tmp_path / "images")


def test_an_image_is_not_taken_for_another_of_the_corpus(tmp_path):
    images = write_texts(tmp_path, "x.jpg", "x.png", "y.jpg", "z", "z.jpg")
    for name in ("x.png", "y.webp", "z.jpg"):
        (images / name).touch()
    found = [post.image_path for post in read_corpus(tmp_path, images)]
    expected = [None, "x.png", "y.webp", "z.jpg", "z.jpg", None, None]
    assert found == [None if name is None else str(images / name) for name in expected]


@pytest.mark.parametrize(
    "docstart",
    ["-DOCSTART-", "-DOCSTART- O", "-DOCSTART-\tO", "-DOCSTART- -X- O", "-DOCSTART- -X- -X- O"],
)
def test_a_line_between_documents_is_no_post(tmp_path, docstart):
    text = f"{docstart}\n\nMira B-PER\nsings O\n\n{docstart}\n\nLea B-PER\n{docstart}\nBob B-PER\n"
    assert [entry.words for entry in read(tmp_path, text)] == [
        ("Mira", "sings"),
        ("Lea",),
        ("Bob",),
    ]


def test_lines_that_end_with_cr_alone_are_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"train\.txt:1: found lines that end with CR alone"):
        read(tmp_path, GOOD.replace("\n", "\r"))


BIOES = "IMGID:1\nNew\tB-LOC\nYork\tE-LOC\nis\tO\n\nIMGID:2\nMira\tS-PER\n"


@pytest.mark.parametrize("text", [BIOES, BIOES.replace("E-", "L-").replace("S-", "U-")])
def test_bioes_is_converted_on_request(tmp_path, text):
    write(tmp_path, train=text, valid=text, test=text)
    posts = read_corpus(tmp_path, notation="bioes")
    assert [post.labels for post in posts[:2]] == [("B-LOC", "I-LOC", "O"), ("B-PER",)]
    with pytest.raises(HamlearnError, match=r"train\.txt:3: label '[EL]-LOC': looks like BI[OL]"):
        read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("IMGID:1\nx\tO\ny\tB-LOC\nz\tO\n", 4, "found 'O' in BIOES, expected I-LOC or E-LOC"),
        ("IMGID:1\nx\tO\n\nIMGID:2\ny\tB-LOC\n", 6, "found the end of the post in BIOES"),
        ("\nx\tO\ny\tI-LOC\n", 3, "found 'I-LOC' in BIOES, expected O, B-TYPE or S-TYPE"),
    ],
)
def test_what_is_no_sequence_of_bioes_has_its_line(tmp_path, text, line, found):
    write(tmp_path, train=text)
    with pytest.raises(HamlearnError) as caught:
        read_conll(tmp_path / "train.txt", "bioes")
    assert str(caught.value).startswith(f"{tmp_path / 'train.txt'}:{line}: {found}")


IOB1 = "Mira I-PER\nB I-PER\nLea B-PER\nin O\nOslo I-LOC\n"


def test_iob1_is_refused_by_name_and_converted_on_request(tmp_path):
    write(tmp_path, train=IOB1, valid=IOB1, test=IOB1)
    with pytest.raises(
        HamlearnError, match=r"IOB1: 6 of 9 entities begin with I-TYPE; .* `labels: io"
    ):
        read_corpus(tmp_path)
    posts = read_corpus(tmp_path, notation="iob1")
    assert {post.labels for post in posts} == {("B-PER", "I-PER", "B-PER", "O", "B-LOC")}


def test_one_file_in_iob1_is_refused_and_a_small_one_with_mistakes_is_not(tmp_path):
    bio = "Mira B-PER\n\n" * 500
    write(tmp_path, train=bio, valid="Oslo I-LOC\n", test=bio + "Mira I-PER\n\n" * 40)
    assert len(read_corpus(tmp_path)) == 1041
    write(tmp_path, valid=IOB1 * 9)
    with pytest.raises(HamlearnError, match=r"valid\.txt: labels look like IOB1: 18 of 27"):
        read_corpus(tmp_path)
