import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from hamlearn.corpus.labels import entities
from hamlearn.evaluation.outcomes import CORRECT
from hamlearn.experiment_settings import ReportSettings
from hamlearn.features.relations import NONE
from hamlearn.report import browser
from hamlearn.report.browser import EDGES, SIDE, as_json, browser_of, most_certain_edges
from hamlearn.report.inputs import ImageObjects, read_detections, read_results
from hamlearn.report.page import write_report
from hamlearn.settings import Settings
from tests.report.fabricated import Made, make


def without(made: Made, **report: bool) -> Settings:
    return made.settings.model_copy(update={"report": ReportSettings(**report)})


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(
        tmp_path_factory.mktemp("seen") / "results",
        variants=("full", "text_only"),
        pictures=True,
        failures={"test_3": ("undecodable", "zero bytes")},
    )


def made_by(made: Made, settings: Settings | None = None):
    (corpus,) = read_results(made.settings, made.metrics, made.root)
    detections = [read_detections(corpus, name, made.root) for name in corpus.detectors]
    found = browser_of(settings or made.settings, corpus, detections)
    return corpus, found, json.loads(found.data)


def test_every_test_post_is_there_with_its_labels(seen: Made) -> None:
    corpus, found, data = made_by(seen)
    assert found.posts == len(corpus.test) == len(data["posts"]) == 60
    for place, (post, entry) in enumerate(zip(corpus.test, data["posts"], strict=True)):
        assert (entry["id"], tuple(entry["words"])) == (post.id, post.words)
        gold = [(s, e, data["types"][t]) for s, e, t, _ in entry["gold"]]
        assert gold == [tuple(entity) for entity in entities(post.labels)]
        assert [cue for *_, cue in entry["gold"]] == list(post.cues)
        for run, (predicted, faults, relevance, _) in zip(corpus.runs, entry["runs"], strict=True):
            spans = [(s, e, data["types"][t]) for s, e, t, _ in predicted]
            assert spans == [tuple(entity) for entity in entities(run.labels[place])]
            assert [outcome == CORRECT for *_, outcome in predicted] == [s in gold for s in spans]
            assert faults == [at for at, entity in enumerate(gold) if entity not in spans]
            scores = run.predictions[place].relevance
            assert (relevance is None) == (scores is None)
            if scores:
                named = dict(zip(data["views"], relevance, strict=True))
                assert named == pytest.approx(scores, abs=1e-4)
    assert [run["name"] for run in data["runs"]] == ["full", "text_only"]
    assert data["posts"][3]["unusable"] == "undecodable: zero bytes"
    assert "unusable" not in data["posts"][4]


def test_precomputed_features_without_an_image_file_are_no_missing_image(seen: Made) -> None:
    corpus, _, _ = made_by(seen)
    without = replace(corpus, scored=[replace(post, image_path=None) for post in corpus.scored])
    posts = json.loads(browser_of(seen.settings, without, []).data)["posts"]
    assert posts[3]["unusable"] == "undecodable: zero bytes"
    assert (posts[4]["features"], posts[4].get("unusable")) == (1, None)
    blind = [run for run in corpus.runs if run.variant == "text_only"]
    posts = json.loads(browser_of(seen.settings, replace(without, runs=blind), []).data)["posts"]
    assert (posts[4].get("features"), posts[4]["unusable"]) == (None, "missing")


def test_boxes_and_relations_are_those_of_the_files(seen: Made) -> None:
    corpus, _, data = made_by(seen)
    objects = data["objects"]["demo"]
    with (
        h5py.File(seen.root / "features/demo/objects/demo.h5") as features,
        h5py.File(seen.root / "graphs/demo/demo.h5") as graphs,
    ):
        ids = list(features["ids"].asstr())
        for post, entry in zip(corpus.test, objects["posts"], strict=True):
            row = ids.index(post.image_id)
            if features["status"][row]:
                assert entry is None
                continue
            labels = features["labels"][row]
            kept = [n for n in range(len(labels)) if 0 <= labels[n] < 3]
            boxes, edges = entry
            assert len(boxes) == len(kept)
            for place, (*corners, name, score) in zip(kept, boxes, strict=True):
                assert np.allclose(corners, 1000 * features["boxes"][row, place], atol=0.51)
                assert objects["classes"][name] == features["classes"].asstr()[labels[place]]
                assert score == pytest.approx(features["scores"][row, place], abs=0.006)
            assert len(edges) <= EDGES
            for i, j, there, back in edges:
                relations = graphs["relations"][row]
                for relation, (a, b) in ((there, (i, j)), (back, (j, i))):
                    stored = relations[kept[a] + 1, kept[b] + 1]
                    assert stored == (NONE if relation is None else relation)
    assert objects["posts"][3] is None


def test_the_most_certain_edges_join_the_objects_with_the_best_scores() -> None:
    relations = np.full((5, 5), 4, dtype=np.int8)
    np.fill_diagonal(relations, NONE)
    relations[0, 1] = relations[1, 0] = NONE
    scores = np.array([0.9, 0.8, 0.5, 0.1, 0.05], dtype=np.float32)
    objects = ImageObjects(["ball"] * 5, scores, np.zeros((5, 4), np.float32), relations)
    edges = most_certain_edges(objects)
    every = [(i, j) for i in range(5) for j in range(i + 1, 5) if (i, j) != (0, 1)]
    by_hand = sorted(every, key=lambda pair: -scores[pair[0]] * scores[pair[1]])[:EDGES]
    assert [(i, j) for i, j, *_ in edges] == by_hand
    relations[:] = NONE
    assert most_certain_edges(objects) == []


def test_thumbnails_come_in_blocks_and_stop_in_time(seen: Made, monkeypatch) -> None:
    monkeypatch.setattr(browser, "BLOCK", 25)
    _, found, _ = made_by(seen)
    blocks = [json.loads(block) for block in found.thumbnails]
    assert [len(block) for block in blocks] == [25, 25, 10]
    assert blocks[0][3] is None  # its picture is broken
    head, body = blocks[0][0].split(",")
    assert head == "data:image/jpeg;base64"
    assert max(Image.open(io.BytesIO(base64.b64decode(body))).size) == SIDE
    assert found.left_out == 0
    monkeypatch.setattr(browser, "MOST", 3 * len(blocks[0][0]))
    _, found, _ = made_by(seen)
    sources = [source for block in found.thumbnails for source in json.loads(block)]
    assert sum(source is not None for source in sources) == 4
    assert found.left_out == 60 - 1 - 4


def test_pictures_and_posts_can_be_left_out(seen: Made, tmp_path: Path) -> None:
    _, found, _ = made_by(seen, without(seen, pictures=False))
    assert found.thumbnails == []
    write_report(without(seen, pictures=False, posts=False), seen.metrics, seen.root, tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'class="posts"' not in page
    assert "Jasmine" not in page


def test_nothing_in_the_data_can_end_its_element() -> None:
    hostile = '</script><script>alert(1)</script><!-- & \u2028 "quoted" \u202e\x1b\x7f\x9b'
    text = as_json([hostile])
    assert not re.search("[<>&\u2028\u2029\x00-\x1f\x7f-\x9f]", text)
    assert json.loads(text) == [hostile]
