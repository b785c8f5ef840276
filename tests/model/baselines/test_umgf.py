import torch

from hamlearn.model.baselines.umgf import FusionLayer, GatedSum
from tests.model.baselines.published import (
    CLOSE,
    Reference,
    assert_close,
    objects_of,
    tagger_with,
)
from tests.model.tiny import tiny_tagger, usual_batch


def test_emissions_and_loss_of_umgf_are_those_of_its_authors():
    theirs = Reference("umgf")
    weights = theirs.bert() | theirs.crf(crf="crf")
    weights |= theirs.linear(
        words="trans_txt", visual__object="trans_obj.0", objects__2="trans_obj.3", emit="hidden2tag"
    )
    # What the network of all systems adds to the features: nothing here.
    weights["visual.image.weight"], weights["visual.image.bias"] = torch.zeros(8, 1), torch.zeros(8)
    weights["visual.classes.weight"] = torch.zeros(2, 16)
    weights["visual.class_projection.weight"] = torch.zeros(8, 16)
    for layer in (0, 1):
        for ours, name in (("words", "x"), ("objects", "o")):
            half, attention = f"layers.{layer}.{ours}", f"mhatt_{name}.{layer}.linears"
            names = {"attention_norm": f"res4mes_{name}.{layer}.norm"}
            if name == "o":
                names |= {"attention.query": f"{attention}.0", "attention.key": f"{attention}.1"}
            else:
                names["attention.attention.out_proj"] = f"{attention}.3"
                for kind in ("weight", "bias"):
                    parts = [theirs.weight[f"{attention}.{part}.{kind}"] for part in range(3)]
                    weights[f"{half}.attention.attention.in_proj_{kind}"] = torch.cat(parts)
            if name == "x" or layer == 0:
                names |= {
                    "across_norm": f"{name}gate.{layer}.norm",
                    "feed_forward.0": f"ffn_{name}.{layer}.w_1",
                    "feed_forward.2": f"ffn_{name}.{layer}.w_2",
                    "feed_forward_norm": f"res4ffn_{name}.{layer}.norm",
                }
                gate = f"mhatt_{'x2o' if name == 'x' else 'o2x'}.{layer}"
                weights |= theirs.gate(f"{half}.across.gate", gate, swapped=name == "o")
            weights |= theirs.linear(**{f"{half}.{own}": other for own, other in names.items()})
    tagger = tagger_with("umgf", weights, heads=4, image=1, object=6, classes=1)
    batch, features = theirs.batch(), theirs.input["features"]
    there = torch.ones(features.shape[:2], dtype=torch.bool)
    batch.visual.image = torch.zeros(3, 1)
    batch.visual.objects = objects_of(features, torch.zeros(3, 4, dtype=torch.long), there)
    assert_close(tagger(batch).emissions, theirs.output["emissions"], batch.word_mask)
    torch.testing.assert_close(3 * tagger.loss(batch), theirs.output["loss"], **CLOSE)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def gated_sum(part, node, neighbours):
    """M of one node, in a loop over its neighbours."""
    total = torch.zeros_like(node)
    for other in neighbours:
        gate = part.first.weight @ node + part.first.bias + part.second.weight @ other
        total = total + sigmoid(gate) * other
    return total


def test_a_node_takes_of_each_neighbour_what_its_gate_lets_through():
    torch.manual_seed(0)
    part, nodes, neighbours = GatedSum(3), torch.randn(2, 2, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    found = part(nodes, neighbours, mask)
    for row in range(2):
        for place in range(2):
            expected = gated_sum(part.gate, nodes[row, place], neighbours[row][mask[row]])
            torch.testing.assert_close(found[row, place], expected)
    assert not found[1].any()


def test_a_layer_is_attention_within_gates_across_and_a_feed_forward():
    torch.manual_seed(0)
    layer = FusionLayer(4, 2, 0.0, last=False).eval()
    words, vectors = torch.randn(1, 3, 4), torch.randn(1, 2, 4)
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    there = torch.ones(1, 2, dtype=torch.bool)
    found = dict(zip("xo", layer(words, everywhere, vectors, there), strict=True))

    own = layer.words.attention.attention(words, words, words)[0]
    part = layer.objects.attention
    query, key = part.query(vectors)[0], part.key(vectors)[0]
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        scores = (query[:, head] @ key[:, head].T / 2**0.5).softmax(-1)
        heads.append(scores @ vectors[0, :, head])
    c = {
        "x": layer.words.attention_norm(words + own)[0],
        "o": layer.objects.attention_norm(vectors[0] + torch.cat(heads, dim=-1)),
    }
    for one, other, half in (("x", "o", layer.words), ("o", "x", layer.objects)):
        for place, node in enumerate(c[one]):
            m = half.across_norm(node + gated_sum(half.across.gate, node, c[other]))
            expected = half.feed_forward_norm(m + half.feed_forward(m))
            torch.testing.assert_close(found[one][0, place], expected, atol=1e-5, rtol=1e-5)


def test_the_encoders_word_stands_beside_the_graphs():
    tagger, batch = tiny_tagger("umgf"), usual_batch()
    _, words = tagger.text(batch)
    found, width = tagger(batch).emissions, tagger.text.width
    with torch.no_grad():
        tagger.emit.weight[:, width:] = 0
    plain = words @ tagger.emit.weight[:, :width].T + tagger.emit.bias
    torch.testing.assert_close(tagger(batch).emissions, plain)
    assert not torch.allclose(found, plain, atol=1e-3)
