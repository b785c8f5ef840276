import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamlearn import Post, Tagger
from hamlearn.errors import HamlearnError
from hamlearn.inference.image_features import BATCH, CACHED
from hamlearn.vision.images import ImageError
from tests.inference.conftest import WEIGHTS


@pytest.mark.parametrize("system", ["full", "mgcmt", "hvpnet"])
def test_networks_compute_what_the_feature_files_hold(made, system):
    path = str(made.images / f"{made.posts[0].image_id}.jpg")
    with (
        Tagger.load(made.run(system), weights=WEIGHTS, device="cpu") as one,
        Tagger.load(made.run(system), features=made.features, device="cpu") as other,
    ):
        computed, stored = (tagger.image_encoder.encode(path) for tagger in (one, other))
        assert one.image_encoder.classes == other.image_encoder.classes
        inputs = one.model.facts.inputs
    np.testing.assert_allclose(computed.scores, stored.scores, atol=1e-5)
    maps = ("image", "regions", "stages", "crops")
    for name in (*maps, "objects", "classes", "boxes", "relations"):
        found, expected = (getattr(features.visual, name) for features in (computed, stored))
        if expected.size:
            np.testing.assert_allclose(found, expected, atol=2e-2, err_msg=name)
    assert stored.visual.regions.size > 0 or not inputs.regions
    assert stored.visual.stages.size > 0 or not inputs.stages
    assert stored.visual.crops.size > 0 or not inputs.crops


@pytest.mark.parametrize("system", ["full", "mgcmt", "hvpnet"])
def test_images_together_have_the_features_of_each_alone(made, system):
    paths = [made.images / f"{post.image_id}.jpg" for post in made.posts[: BATCH + 3]]
    images = [*paths[:2], b"no image", *paths[2:], paths[0].read_bytes(), None]
    with Tagger.load(made.run(system), weights=WEIGHTS, device="cpu") as tagger:
        encoder = tagger.image_encoder
        found = list(encoder.encode_all(images))
        assert found[-2] is found[0]  # of equal pixels
        for image, together in zip(images, found, strict=True):
            encoder.close()
            if isinstance(together, ImageError):
                with pytest.raises(ImageError, match=re.escape(together.reason)):
                    encoder.encode(image)
                continue
            alone = encoder.encode(image)
            assert alone.key == together.key
            np.testing.assert_allclose(together.scores, alone.scores, atol=1e-5)
            for name in ("image", "regions", "stages", "crops", "objects", "boxes", "relations"):
                one, other = (getattr(each.visual, name) for each in (together, alone))
                np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3, err_msg=name)
    assert [isinstance(one, ImageError) for one in found].count(True) == 2
    assert len({one.key for one in found if not isinstance(one, ImageError)}) == len(paths)


def test_where_memory_is_short_images_are_computed_alone(made, monkeypatch):
    paths = [made.images / f"{post.image_id}.jpg" for post in made.posts[:3]]
    with Tagger.load(made.run("full"), weights=WEIGHTS, device="cpu") as tagger:
        encoder = tagger.image_encoder
        whole, sizes = encoder._image_maps, []

        def short(batch):
            sizes.append(len(batch))
            if len(batch) > 1 or sizes == [3, 1, 1]:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
            return whole(batch)

        monkeypatch.setattr(encoder, "_image_maps", short)
        found = encoder.encode_all(paths)
        one, failed, other = (next(found) for _ in paths)  # as a tagger reads them, not to the end
        assert sizes == [3, 1, 1, 1]
        assert failed.reason == "there is too little memory for it"
        assert encoder.encode(paths[1]).key not in (one.key, other.key)  # tried again


def test_an_image_that_was_overwritten_is_read_again(made, tmp_path):
    paths = [made.images / f"{post.image_id}.jpg" for post in made.posts[:2]]
    image, time = tmp_path / "a.jpg", 1_700_000_000
    with Tagger.load(made.run("full"), weights=WEIGHTS, device="cpu") as tagger:
        encode = tagger.image_encoder.encode
        expected = [encode(path).visual.image.tolist() for path in paths]
        assert expected[0] != expected[1]
        size = max(path.stat().st_size for path in paths)
        for path, features in zip(paths, expected, strict=True):
            image.write_bytes(path.read_bytes().ljust(size, b"\0"))  # of the same size and time
            os.utime(image, (time, time))
            assert encode(image).visual.image.tolist() == features
            assert encode(image) is encode(str(image))
        image.unlink()
        with pytest.raises(ImageError, match="no such file"):
            encode(image)


def test_the_features_of_some_images_are_kept_by_content(made):
    with Tagger.load(made.run("full"), weights=WEIGHTS, device="cpu") as tagger:
        encoder = tagger.image_encoder
        images = [np.full((30, 40, 3), value, np.uint8) for value in range(CACHED + 1)]
        first = encoder.encode(images[0])
        assert encoder.encode(Image.fromarray(images[0])) is first
        assert encoder.encode(images[0].reshape(40, 30, 3)).key != first.key
        for image in images[1:]:
            encoder.encode(image)
        assert len(encoder._kept) == CACHED
        again = encoder.encode(images[0])
    assert again is not first
    assert again.key == first.key
    np.testing.assert_array_equal(again.visual.image, first.visual.image)


def test_networks_of_the_demo_warn_once_of_other_images(made, tmp_path, caplog):
    drawn = made.images / f"{made.posts[0].image_id}.jpg"
    for image in (drawn, Path(shutil.copy(drawn, tmp_path))):
        caplog.clear()
        with Tagger.load(made.run("full"), weights=WEIGHTS, device="cpu") as tagger:
            tagger.tag([Post(text=text, image=image) for text in ("hi", "ho")])
        assert caplog.text.count("know only what the demo drew") == (image != drawn)


def test_weights_must_be_those_of_the_training(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("resnet.safetensors", "detector.safetensors"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    with (tmp_path / "resnet.safetensors").open("ab") as file:
        file.write(b"\0")
    with (
        Tagger.load(made.exported["full"], weights=tmp_path) as tagger,
        pytest.raises(HamlearnError, match=r"resnet\.safetensors: sha256 is \w+, expected \w+"),
    ):
        tagger.tag([Post(text="hi", image=made.images / "a.jpg")])
    monkeypatch.setattr("hamlearn.inference.vision_weights.root", lambda: tmp_path)
    with (
        Tagger.load(made.exported["full"]) as tagger,
        pytest.raises(HamlearnError, match=r"found no weights resnet\.safetensors.*looked for"),
    ):
        _ = tagger.image_encoder


def test_features_must_be_made_as_those_of_the_training(made):
    files = made.features
    wrong = replace(files, images=files.objects)
    with (
        Tagger.load(made.exported["full"], features=wrong) as tagger,
        pytest.raises(HamlearnError, match=r"found 'objects' .*expected images of"),
    ):
        _ = tagger.image_encoder
    tagger = Tagger.load(made.exported["full"], features=files)
    network = tagger.model.facts.networks["objects"]
    changed = network.model_copy(update={"settings": network.settings | {"objects": 7}})
    tagger.model.facts.networks["objects"] = changed
    with pytest.raises(HamlearnError, match=r"objects\.h5: objects: found 6, expected 7 as in"):
        _ = tagger.image_encoder
    with (
        Tagger.load(made.exported["text_only"]) as tagger,
        pytest.raises(HamlearnError, match="text_only reads no images"),
    ):
        _ = tagger.image_encoder


def test_a_model_of_precomputed_image_features_needs_feature_files(made):
    with Tagger.load(made.exported["full"]) as tagger:
        network = tagger.model.facts.networks["images"]
        changed = {"name": "precomputed", "source": None, "settings": {"backend": "npz"}}
        tagger.model.facts.networks["images"] = network.model_copy(update=changed)
        said = (
            r"^backbone: the features .* files of the format npz; expected feature files.*--image-f"
        )
        with pytest.raises(HamlearnError, match=said):
            _ = tagger.image_encoder
