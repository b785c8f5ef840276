import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from examples import caption_features
from hamlearn.corpus.texts import read_texts, text_of
from hamlearn.errors import HamlearnError
from tests.builders import write_corpus


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_lines_are_read_by_image(tmp_path):
    path = write(
        tmp_path,
        "captions.txt",
        "\ufeff12.jpg :a dog: on ice\na\\16_05_01.JPG :two people\n\nO_1 :x\n12.jpg :again\n"
        "x.png :exact\nx.jpg :first\n7.webp :web\n",
    )
    texts = read_texts(path)
    expected = {
        "12": "a dog: on ice",
        "16_05_01": "two people",
        "O_1": "x",
        "12.gif": "a dog: on ice",
    }
    expected |= {"O_1.jpg": "x", "x.png": "exact", "x.jpg": "first", "x": "first", "7": "web"}
    assert {name: texts[name] for name in expected} == expected
    assert "16" not in texts


FORMS = {
    "a.txt": "1.jpg :a dog\n\n2.jpg :\n3 : two  words \n1.jpg :again\n",
    "blocks.txt": "imgid:1###a\n\n dog\r\nIMGID:2###\nimgid:3###two  words\nimgid:1###again\n",
    "a.jsonl": '\ufeff{"id": 1, "text": "a dog"}\n\n{"id": "2", "text": ""}\n'
    '{"id": "3", "text": " two  words", "by": "me"}\n{"id": "1.jpg", "text": "again"}\n',
    "a.csv": 'text,id,by\n"a\ndog",1,\n\n,2,x\n"two  words",3,"y, z"\nagain,1,\n',
    "a.tsv": "id\ttext\n1\ta dog\n2\t\n3\ttwo  words\n1\tagain\n",
    "table.txt": "id\ttext\n1\ta dog\n2\t\n3\ttwo  words\n",
    "json.txt": '{"id": "1", "text": "a dog"}\n{"id": "2", "text": ""}\n'
    '{"id": "3", "text": "two  words"}\n',
    "crlf.csv": "id,text\r\n1,a dog\r\n2,\r\n3,two  words\r\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_texts(tmp_path, name):
    texts = read_texts(write(tmp_path, name, FORMS[name]))
    found = {id_: texts.get(id_, "absent") for id_ in ("1", "2", "3", "4")}
    found["1"] = found["1"].replace("\n", " ")
    assert found == {"1": "a dog", "2": "", "3": "two  words", "4": "absent"}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "1.jpg :fine\n12.jpg a dog\n", r"a\.txt:2: found '12.jpg a dog', expected `ID"),
        ("a.txt", "1.jpg :fine\n :a dog\n", r":2: found"),
        ("a.txt", "1.jpg :fine\na/ :a dog\n", r":2: found"),
        ("a.txt", b"1.jpg :fine\n2.jpg :\xff\n", r":2: not UTF-8"),
        ("a.txt", "imgid:1###fine\nmore\nimgid:2 x\n", r":3: found 'imgid:2 x', expected `imgid:"),
        ("a.txt", "imgid:1###fine\nimgid: ###x\n", r":2: found no id"),
        ("a.jsonl", '{"id": "1", "text": ""}\n\n{"id"\n', r"a\.jsonl:3: found no JSON"),
        ("a.jsonl", '["1"]\n', r":1: found \['1'\], expected an object with `id` and `text`"),
        ("a.jsonl", '{"id": true, "text": ""}\n', r":1: found id: True, expected text or integer"),
        ("a.jsonl", '{"id": 1, "text": 2}\n', r":1: found text: 2, expected text"),
        ("a.jsonl", '{"id": "", "text": "x"}\n', r":1: found no id"),
        ("a.csv", "id,caption\n", r":1: found the columns 'id, caption', expected a header with"),
        ("a.csv", "id,text,text\n", r":1: found the columns"),
        ("a.csv", "id,text\n1,a\n\n2,b,c\n", r"a\.csv:4: found 3 fields, expected 2"),
        ("a.csv", 'id,text\n1,"a\n2,b\n', r"a\.csv:2: found no row \(unexpected end of data\)"),
        ("a.tsv", "id\ttext\n1\n", r"a\.tsv:2: found 1 fields, expected 2"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, name, text, said):
    with pytest.raises(HamlearnError, match=rf"^texts\.ocr: .*{said}"):
        read_texts(write(tmp_path, name, text), "texts.ocr")


def test_an_absent_file_is_named_and_an_empty_one_has_no_texts(tmp_path):
    with pytest.raises(HamlearnError, match=r"absent\.txt: no such file, expected JSON lines"):
        read_texts(tmp_path / "absent.txt")
    assert len(read_texts(write(tmp_path, "a.txt", "\n \n"))) == 0


def test_the_text_of_a_post_counts_before_that_of_its_image(tmp_path):
    rows = [
        {"id": "7.jpg", "text": "image"},
        {"id": "7#2", "text": "post"},
        {"id": "8", "text": ""},
    ]
    texts = read_texts(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    posts = [("7", "7"), ("7#2", "7"), ("7#3", "7"), ("8", "8"), ("9", "9")]
    found = [text_of(texts, SimpleNamespace(id=id_, image_id=image)) for id_, image in posts]
    assert found == ["image", "post", "image", "", ""]


@pytest.mark.parametrize("line", [{"id": "1", "text": "\ud800"}, {"id": "\ud800", "text": "a"}])
def test_an_unpaired_surrogate_which_no_tokenizer_accepts_is_refused(tmp_path, line):
    path = write(tmp_path, "a.jsonl", json.dumps(line) + "\n")
    with pytest.raises(HamlearnError, match=r"a\.jsonl:1: found an unpaired surrogate"):
        read_texts(path)


def test_a_long_field_of_a_table_is_refused_by_its_length(tmp_path):
    path = write(tmp_path, "a.csv", "id,text\n1," + "a" * 140_000 + "\n")
    with pytest.raises(HamlearnError, match=r"a\.csv:2: .*fields of at most 131072 characters"):
        read_texts(path)


def test_texts_become_features_of_images_and_of_their_sentences(tmp_path):
    encoder = write_corpus(tmp_path)["encoder"]
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_config(AutoConfig.from_pretrained(encoder)).eval()
    model.save_pretrained(encoder)
    path = write(tmp_path, "a.txt", "1.jpg :a dog. Two people!\n2.jpg :ice\n")
    assert caption_features.write_features(path, encoder, tmp_path / "out") == 2

    def vector(text):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = hidden.mean(0)
        return (mean / mean.norm() * len(mean) ** 0.5).numpy()

    with np.load(tmp_path / "out.npz") as images:
        assert images["ids"].tolist() == ["1", "2"]
        for found, text in zip(images["features"], ["a dog. Two people!", "ice"], strict=True):
            np.testing.assert_allclose(found, vector(text), rtol=1e-4, atol=1e-5)
    with np.load(tmp_path / "out" / "1.npz") as objects:
        assert objects["names"].tolist() == ["sentence"] * 2
        assert objects["boxes"].tolist() == [[0, 0, 100, 100]] * 2
        for found, text in zip(objects["features"], ["a dog.", "Two people!"], strict=True):
            np.testing.assert_allclose(found, vector(text), rtol=1e-4, atol=1e-5)
