import torch

from tests.model.baselines.published import (
    CLOSE,
    Reference,
    assert_close,
    objects_of,
    tagger_with,
)
from tests.model.tiny import tiny_tagger, usual_batch, with_visual


def test_emissions_and_loss_of_mgcmt_are_those_of_its_authors():
    theirs = Reference("mgcmt")
    weights = theirs.bert() | theirs.crf(crf="crf", spans__crf="aux_crf")
    within = {
        "main": "self_attention_v2",
        "spans.layer": "self_attention",
        "by_region.within": "img2img_attention",
        "by_region.read_within": "img2img_attention_v2",
        "by_object.within": "obj2obj_attention",
        "by_object.read_within": "obj2obj_attention_v2",
    }
    across = {
        "by_region.direct": "txt2img_attention",
        "by_region.to_image": "img2txt_attention",
        "by_region.through": "txt2txt_attention",
        "by_object.direct": "txt2obj_attention",
        "by_object.to_image": "obj2txt_attention",
        "by_object.through": "txt2obj_attention_v2",
    }
    for ours, name in within.items():
        weights |= theirs.self_attention(f"{ours}.layers.0", f"{name}.layer.0")
    for ours, name in across.items():
        weights |= theirs.cross_attention(ours, f"{name}.layer.0")
    weights |= theirs.linear(
        regions="vismap2text",
        read_regions="vismap2text_v2",
        combine="fus3_linear",
        emit="classifier",
        spans__emit="aux_classifier",
    )
    # Their objects have a class and no features.
    weights["visual.classes.weight"] = theirs.weight["object_embeddings.weight"][1:]  # 0: none
    weights["visual.class_projection.weight"] = torch.eye(16)
    for name in ("image", "object"):
        weights[f"visual.{name}.weight"] = torch.zeros(16, 1)
        weights[f"visual.{name}.bias"] = torch.zeros(16)
    weights["fuse.weight"] = theirs.weight["fusion_w"].T
    weights["fuse.bias"] = theirs.weight["fusion_bias"]
    for ours, name, sign in (("by_region", "fus1", 1), ("by_object", "fus2", -1)):
        # The gate of objects is that of A' in their code: 1 - g here, so of the opposite sign.
        own, other = (theirs.weight[f"{name}_w{place}"] for place in (1, 2)[::sign])
        weights[f"{ours}.gate.first.weight"] = sign * own
        weights[f"{ours}.gate.second.weight"] = sign * other
        weights[f"{ours}.gate.first.bias"] = sign * theirs.weight[f"{name}_bias"]
    tagger = tagger_with("mgcmt", weights, regions=9, image=1, object=1, classes=3)
    batch, classes = theirs.batch(), theirs.input["classes"]
    features, batch.visual.image = torch.zeros(*classes.shape, 1), torch.zeros(3, 1)
    batch.visual.objects = objects_of(features, classes, theirs.input["mask"])
    assert_close(tagger(batch).emissions, theirs.output["emissions"], batch.word_mask)
    torch.testing.assert_close(tagger.loss(batch), theirs.output["loss"], **CLOSE)


def test_a_granularity_of_mgcmt_is_its_layers_in_turn():
    tagger, batch = tiny_tagger("mgcmt"), usual_batch()
    part, width = tagger.by_region, tagger.text.width
    torch.manual_seed(0)
    words, seen, read = torch.randn(4, 6, width), *torch.randn(2, 4, 3, width)
    visible = torch.tensor([[True] * 3, [True, False, True], [True] * 3, [False, False, True]])
    found = part(words, batch.word_mask, seen, read, visible)
    for row in range(4):
        w = words[row : row + 1, : int(batch.word_mask[row].sum())]
        v, u = seen[row : row + 1, visible[row]], read[row : row + 1, visible[row]]
        everywhere = torch.ones(v.shape[:2], dtype=torch.bool)
        a = part.direct(w, part.within(v, everywhere))
        b = part.through(w, part.to_image(part.read_within(u, everywhere), w))
        g = part.gate(a, b)
        expected = g * a + (1 - g) * b
        torch.testing.assert_close(found[row, : w.shape[1]], expected[0], atol=1e-5, rtol=1e-5)


def test_mgcmt_reads_a_picture_without_objects_by_its_regions():
    tagger, batch = tiny_tagger("mgcmt"), usual_batch()
    none = with_visual(batch, objects__mask=torch.zeros_like(batch.visual.objects.mask))
    sentence, words = tagger.text(batch)
    context = torch.cat([sentence[:, None], words], 1)
    mask = torch.nn.functional.pad(batch.word_mask, (1, 0), value=True)
    everywhere = torch.ones(4, 12, dtype=torch.bool)
    features = batch.visual.regions
    regions = tagger.regions(features), tagger.read_regions(features)
    by_region = tagger.by_region(context, mask, *regions, everywhere)
    both = torch.cat([by_region, torch.zeros_like(by_region)], dim=-1)
    expected = tagger.combine(both).clamp(min=0)
    found = tagger.see(none.visual.masked(torch.float32), context, mask)
    torch.testing.assert_close(found[[0, 1, 3]], expected[[0, 1, 3]])
    assert not found[2].any()
