import base64
import io
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from hamlearn.corpus.posts import CorpusPost
from hamlearn.experiment_settings import ReportSettings
from hamlearn.features.hdf5 import write_texts
from hamlearn.report.contact import SHOWN, SIDE, contact_sheet, evenly
from hamlearn.report.inputs import CorpusResults, read_detections, read_results
from hamlearn.report.page import write_report
from hamlearn.settings import Settings
from tests.builders import write_graphs
from tests.report.fabricated import Made, make
from tests.report.markup import without_scripts


@pytest.fixture
def seen(tmp_path: Path) -> Made:
    return make(tmp_path / "results", variants=("full",), pictures=True)


def corpus_of(made: Made) -> CorpusResults:
    return read_results(made.settings, made.metrics, made.root)[0]


def sheet(made: Made, settings: Settings | None = None):
    corpus = corpus_of(made)
    found = read_detections(corpus, "demo", made.root)
    return contact_sheet(settings or made.settings, corpus, found)


def page(made: Made, settings: Settings | None = None) -> str:
    write_report(settings or made.settings, made.metrics, made.root, made.out)
    return without_scripts((made.out / "index.html").read_text(encoding="utf-8"))


def objects(made: Made) -> Path:
    return made.root / "features" / "demo" / "objects" / "demo.h5"


def graphs(made: Made) -> Path:
    return made.root / "graphs" / "demo" / "demo.h5"


def change(path: Path, name: str, row: int, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file[name][row] = value


def post(number: int) -> CorpusPost:
    return CorpusPost(str(number), "test", str(number), None, ("a",), ("O",))


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13, 60, 901])
def test_posts_are_evenly_spread(size: int) -> None:
    chosen = [int(one.id) for one in evenly([post(n) for n in range(size)], SHOWN)]
    assert len(chosen) == min(size, SHOWN) == len(set(chosen))
    assert chosen == sorted(chosen)
    if size:
        assert (chosen[0], chosen[-1]) == (0, size - 1)
        assert np.ptp(np.diff(chosen)) <= 1 if size > 1 else True


def test_a_sheet_shows_test_pictures_with_what_the_file_holds(seen: Made) -> None:
    shown = sheet(seen).images
    assert len(shown) == SHOWN
    assert (shown[0].name, shown[-1].name) == ("test_0", "test_59")
    with h5py.File(objects(seen)) as file:
        row = list(file["ids"].asstr()[:]).index("test_0")
        classes, count = file["classes"].asstr()[:], int(file["counts"][row])
        names = [str(classes[label]) for label in file["labels"][row, :count]]
        scores = [f"{score:.2f}" for score in file["scores"][row, :count]]
        corners = file["boxes"][row, :count]
    first = shown[0]
    assert (first.width, first.height) == (SIDE, round(SIDE * 480 / 640))
    assert [box.number for box in first.boxes] == list(range(1, count + 1))
    assert [box.name for box in first.boxes] == names
    assert [box.score for box in first.boxes] == scores
    for box, (left, top, right, bottom) in zip(first.boxes, corners, strict=True):
        assert box.x == pytest.approx(left * first.width, abs=0.06)
        assert box.y + box.height == pytest.approx(bottom * first.height, abs=0.11)
        assert box.centre[0] == pytest.approx((left + right) / 2 * first.width, abs=0.2)
        assert box.centre[1] == pytest.approx((top + bottom) / 2 * first.height, abs=0.2)


def test_thumbnails_are_small_jpegs(seen: Made) -> None:
    for shown in sheet(seen).images:
        kind, data = shown.source.split(",")
        assert kind == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert image.format == "JPEG"
        assert max(image.size) == SIDE


def test_edges_are_those_of_the_graph(seen: Made) -> None:
    with h5py.File(objects(seen)) as file:
        row = list(file["ids"].asstr()[:]).index("test_0")
    for name, value in (
        ("counts", 3),
        ("labels", [0, 1, 2, -1]),
        ("boxes", [(0, 0, 0.8, 0.8), (0.1, 0.1, 0.3, 0.3), (0.6, 0.6, 1, 1), (0, 0, 0, 0)]),
    ):
        change(objects(seen), name, row, value)
    write_graphs(graphs(seen), objects(seen))
    with h5py.File(graphs(seen), "r+") as file:
        relations = np.full((5, 5), -1, np.int8)
        relations[1, 2], relations[2, 1] = 0, 1  # inside, cover
        relations[1, 3], relations[3, 1] = 5, 9  # class3, class7
        relations[3, 2] = 2  # overlap, one way
        relations[0, 1:], relations[1:, 0] = 0, 1
        file["relations"][row] = relations
    edges = {edge.title: edge for edge in sheet(seen).images[0].edges}
    assert set(edges) == {
        "1 person to 2 dog: inside; 2 dog to 1 person: cover",
        "1 person to 3 ball: class3; 3 ball to 1 person: class7",
        "3 ball to 2 dog: overlap",
    }
    assert [edge.is_sector for edge in sheet(seen).images[0].edges] == [True, False, False]
    inside = edges["1 person to 2 dog: inside; 2 dog to 1 person: cover"]
    assert [colour for _, colour in inside.strokes] == ["#0072B2", "#D55E00"]
    sector = edges["1 person to 3 ball: class3; 3 ball to 1 person: class7"]
    assert sector.strokes == ((sector.path, "#8A8A8A"),)
    one_way = edges["3 ball to 2 dog: overlap"]
    assert [colour for _, colour in one_way.strokes] == ["#CC79A7"]
    for stroke in ("#0072B2", "#D55E00", "#8A8A8A", "#CC79A7"):
        assert f'stroke="{stroke}"' in page(seen)


def test_labels_of_the_same_box_lie_apart(seen: Made) -> None:
    row = 24 + 12
    change(objects(seen), "counts", row, 4)
    change(objects(seen), "labels", row, [0, 1, 2, 0])
    change(objects(seen), "boxes", row, [(0.2, 0.2, 0.5, 0.5)] * 4)
    write_graphs(graphs(seen), objects(seen))
    first = sheet(seen).images[0]
    lines = sorted(box.label[1] for box in first.boxes)
    assert min(np.diff(lines)) >= 11
    assert all(0 < line < first.height for line in lines)


def test_numbers_are_those_of_the_file(seen: Made) -> None:
    found = sheet(seen)
    with h5py.File(objects(seen)) as file:
        labels, scores = file["labels"][:], file["scores"][:]
        is_object = (labels >= 0) & (labels < 3)
    assert found.classes is not None
    assert f"{is_object.sum():,} objects in {len(labels):,} pictures" in found.summary
    assert f"{(~is_object.any(axis=1)).sum()} show none" in found.summary
    for row in found.classes.rows:
        here = labels == ["person", "dog", "ball"].index(row.name)
        assert [cell.text for cell in row.cells] == [
            str(here.sum()),
            str(here.any(axis=1).sum()),
            f"{100 * here.any(axis=1).mean():.1f}",
            f"{scores[here].mean():.2f}",
        ]
    totals = [int(row.cells[0].text) for row in found.classes.rows]
    assert totals == sorted(totals, reverse=True)


def test_missing_and_broken_pictures_are_left_out(tmp_path: Path) -> None:
    failures = {"test_0": ("missing", "gone")}
    made = make(tmp_path / "results", variants=("full",), pictures=True, failures=failures)
    (made.root / "pictures" / "test_1.jpg").unlink()
    (made.root / "pictures" / "test_59.jpg").write_bytes(b"no picture")
    names = [shown.name for shown in sheet(made).images]
    assert len(names) == SHOWN - 2
    assert not {"test_0", "test_1", "test_59"} & set(names)


def test_pictures_can_be_left_out(seen: Made) -> None:
    settings = seen.settings.model_copy(update={"report": ReportSettings(pictures=False)})
    (seen.root / "graphs" / "demo" / "demo.h5").unlink()
    text = page(seen, settings)
    assert "data:image" not in text
    assert 'class="shown"' not in text
    assert "The most frequent classes" in text


def test_what_is_found_nowhere_has_no_table(seen: Made) -> None:
    with h5py.File(objects(seen), "r+") as file:
        file["labels"][:] = [3, -1, -1, -1]
        file["counts"][:] = 1
    write_graphs(graphs(seen), objects(seen))
    found = sheet(seen)
    assert found.classes is None
    assert all(not shown.boxes and not shown.edges for shown in found.images)
    assert "no object found" in page(seen)


def test_no_picture_read_at_all(tmp_path: Path) -> None:
    names = [
        f"{split}_{n}"
        for split, size in (("train", 24), ("dev", 12), ("test", 60))
        for n in range(size)
    ]
    failures = dict.fromkeys(names, ("missing", "gone"))
    made = make(tmp_path / "results", variants=("full",), failures=failures)
    found = sheet(made)
    assert (found.images, found.counts, found.classes) == ([], None, None)
    assert "No picture was read." in page(made)


def test_class_names_and_words_are_escaped(tmp_path: Path) -> None:
    hostile = '"><script>alert(1)</script>'
    made = make(tmp_path / "results", variants=("full",), pictures=True, word=hostile)
    with h5py.File(objects(made), "r+") as file:
        del file["classes"]
        write_texts(file, "classes", [hostile] * 3)
    text = page(made)
    assert "<script" not in without_scripts(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_may_show_embedded_pictures_and_loads_none(seen: Made) -> None:
    text = page(seen)
    assert "img-src data:" in text
    sources = re.findall(r'<image[^>]*href="([^"]{0,30})', text)
    assert len(sources) == SHOWN
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert text == page(seen)
