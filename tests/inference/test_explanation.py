import json

import pytest
import torch

import hamlearn
from hamlearn import Post
from hamlearn.inference import explanation, prediction
from hamlearn.inference.predict_file import predict_file
from tests.inference.conftest import WEIGHTS


def score_of(tagger, batch, targets, outside):
    with torch.inference_mode():
        scores = tagger._network(batch).emissions.log_softmax(-1)
    total = 0.0
    for row, path in enumerate(targets):
        for word, label in enumerate(path):
            if label != outside:
                total += scores[row, word, label].item()
    return total


def slow_contributions(tagger, data, row, path, scale):
    """Return the derivative of the score by the size of each part, by finite differences."""
    outside, step, found = tagger.labels.index("O"), 1e-2, []
    for part in range(scale(None, 0, 0)):
        ends = []
        for sign in (1, -1):
            batch = data.batch([row])
            with scale(batch, part, 1 + sign * step):
                ends.append(score_of(tagger, batch, [path], outside))
        found.append((ends[0] - ends[1]) / (2 * step))
    return found


class ScaledNodes:
    """Multiplies one vector of a model's VisualEmbedding."""

    def __init__(self, network, count):
        self.network, self.count = network, count

    def __call__(self, batch, part, factor):
        if batch is None:
            return self.count

        def change(module, given, vectors):
            vectors = vectors.clone()
            vectors[:, part] *= factor
            return vectors

        return self.network.visual.register_forward_hook(change)  # a context that removes it


class ScaledRegions:
    """Multiplies one place of the map."""

    def __call__(self, batch, part, factor):
        if batch is None:
            return 49
        batch.visual.regions[:, part] *= factor
        return torch.inference_mode()


class ScaledCrops:
    """Multiplies the stages of the image, or of one crop."""

    def __init__(self, count):
        self.count = count

    def __call__(self, batch, part, factor):
        if batch is None:
            return self.count
        own = batch.visual.stages if part == 0 else batch.visual.crops[:, part - 1]
        own *= factor
        return torch.inference_mode()


def dataset_of(tagger, posts):
    prepared = [tagger._prepare(str(n), post) for n, post in enumerate(posts)]
    return tagger._dataset(tagger._with_images(prepared))


@pytest.mark.parametrize("system", ["full", "mgcmt", "gvatt_bert_crf", "hvpnet"])
def test_contributions_are_derivatives_by_the_size_of_each_part(made, system):
    with hamlearn.load(made.run(system), weights=WEIGHTS, device="cpu") as tagger:
        posts = [Post(words=p.words, image=made.images / f"{p.image_id}.jpg") for p in made.posts]
        tagged = tagger.tag(posts, explain=True)
        data, compared = dataset_of(tagger, posts), 0
        for row, one in enumerate(tagged):
            if not one.entities:
                assert one.explanation is None
                continue
            with torch.inference_mode():
                batch = data.batch([row])
                emissions = tagger._network(batch).emissions
                (path,) = tagger._network.paths(emissions, batch.word_mask)
            weights = [part.weight for part in one.explanation]
            scale = ScaledRegions()
            if system == "hvpnet":
                scale = ScaledCrops(len(weights))
            elif system != "gvatt_bert_crf":
                scale = ScaledNodes(tagger._network, len(weights))
            slow = slow_contributions(tagger, data, row, path, scale)
            assert weights == pytest.approx(slow, abs=2e-3, rel=2e-2)
            compared += any(abs(weight) > 1e-3 for weight in weights)
        assert compared > 0


def test_parts_are_the_image_and_its_objects_with_their_boxes(made):
    with hamlearn.load(made.exported["full"], weights=WEIGHTS) as tagger:
        posts = [Post(words=p.words, image=made.images / f"{p.image_id}.jpg") for p in made.posts]
        found = [one for one in tagger.tag(posts, explain=True) if one.explanation]
        assert found
        for one in found:
            image, *objects = one.explanation
            assert (image.part, image.box) == ("image", None)
            assert all(part.part in [*tagger.model.facts.classes, "image"] for part in objects)
            assert all(len(part.box) == 4 and max(part.box) <= 1 for part in objects)
        assert all(one.explanation is None for one in tagger.tag(posts))
        (text,) = tagger.tag(Post(words=made.posts[0].words), explain=True)
        assert text.explanation is None


def test_a_line_of_json_has_the_contributions_if_asked_for(made, tmp_path):
    posts = tmp_path / "posts.jsonl"
    lines = [{"words": post.words, "image": f"{post.image_id}.jpg"} for post in made.posts]
    posts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {"images": made.images, "weights": WEIGHTS, "device": "cpu"}
    for explain in (False, True):
        out = tmp_path / f"{explain}.jsonl"
        predict_file(made.exported["full"], posts, out, explain=explain, **given)
        read = [json.loads(line) for line in out.read_text().splitlines()]
        assert any("explanation" in line for line in read) == explain
    parts = next(line["explanation"] for line in read if "explanation" in line)
    assert parts[0].keys() == {"part", "box", "weight"}


def test_a_split_has_the_contributions_whichever_posts_are_explained_together(
    made, tmp_path, monkeypatch
):
    together = made.predicted("full")
    monkeypatch.setattr(prediction, "EXPLAINED", 3)
    monkeypatch.setattr(explanation, "_ROWS", 2)
    sizes, explain = [], explanation.explain

    def counted(network, data, paths, *rest):
        sizes.append(len(paths))
        return explain(network, data, paths, *rest)

    monkeypatch.setattr(explanation, "explain", counted)
    posts = made.folder / "prepared" / "posts.jsonl"
    prediction.predict(made.run("full"), posts, ["test"], tmp_path, made.features)
    apart = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    assert max(sizes) == 3  # no more are in memory
    assert sum(sizes) == len(together)
    assert sum(one["contributions"] is not None for one in together) > 3
    for one, other in zip(together, apart, strict=True):
        assert one["contributions"] is None or other["contributions"] == pytest.approx(
            one["contributions"], abs=2e-4
        )
        assert one["predicted"] == other["predicted"]
