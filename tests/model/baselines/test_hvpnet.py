import math
from dataclasses import replace

import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from hamlearn.errors import HamlearnError
from hamlearn.model.baselines import hvpnet
from hamlearn.model.baselines.hvpnet import DynamicGates
from hamlearn.model.build import build_model
from hamlearn.settings import ModelSettings, TextSettings
from tests.model.baselines.published import CLOSE, Reference, assert_close, tagger_with
from tests.model.tiny import SIZES, STAGES, WIDTH, random_batch, text_of, tiny_tagger, usual_batch

SMALL = {"vocab_size": 60, "num_hidden_layers": 2, "max_position_embeddings": 40}


def leaky(x):
    return x if x > 0 else 0.01 * x


def test_emissions_and_loss_of_hvpnet_are_those_of_its_authors(monkeypatch):
    theirs = Reference("hvpnet")
    weights = theirs.bert() | theirs.crf(crf="crf")
    weights |= theirs.linear(prefix__maps__0="encoder_conv.0", prefix__maps__2="encoder_conv.2")
    weights |= theirs.linear(prefix__gates__gates__0="gates.0", prefix__gates__gates__1="gates.1")
    weights |= theirs.linear(emit="fc")
    monkeypatch.setattr(hvpnet, "HIDDEN", 20)
    tagger = tagger_with("hvpnet", weights, layers=2, stages=STAGES)
    batch, pyramids = theirs.batch(), theirs.input["pyramids"]  # the image's and three objects'
    batch.visual.stages, batch.visual.crops = pyramids[:, 0], pyramids[:, 1:]
    assert_close(tagger(batch).emissions, theirs.output["emissions"], batch.word_mask)
    torch.testing.assert_close(tagger.loss(batch), theirs.output["loss"], **CLOSE)


def test_a_gate_weighs_the_levels_by_their_mean():
    torch.manual_seed(0)
    gates, levels = DynamicGates(2, 3, 8), torch.randn(3, 2, 4)  # three levels, two places
    found = gates(levels)
    mean = torch.cat([sum(levels[i, p] for i in range(3)) / 3 for p in range(2)])
    for layer, gate in enumerate(gates.gates):
        scores = [leaky((gate.weight[i] @ mean + gate.bias[i]).item()) for i in range(3)]
        total = sum(math.exp(score) for score in scores)
        for place in range(2):
            expected = sum(math.exp(scores[i]) / total * levels[i, place] for i in range(3))
            torch.testing.assert_close(found[layer][place], expected)


def prefix_by_hand(tagger, batch, row):
    """Keys and values before the text of a post, (heads, 16, D / heads)."""
    part, heads, rows = tagger.prefix, 2, []
    for pyramid in (batch.visual.stages[row], *batch.visual.crops[row]):
        numbers = [pyramid[place, channel] for channel in range(17) for place in range(4)]
        mapped = part.maps(torch.stack(numbers).view(4, 17))
        levels = torch.stack([mapped[:, 2 * WIDTH * i : 2 * WIDTH * (i + 1)] for i in range(4)])
        rows.append(part.gates(levels)[0])
    prefix = torch.cat(rows)  # (16, 2D)
    return [
        half.flatten().view(heads, 16, WIDTH // heads)
        for half in (prefix[:, :WIDTH], prefix[:, WIDTH:])
    ]


def test_words_attend_to_the_prefix_as_loops_do():
    tagger = tiny_tagger("hvpnet")
    batch = random_batch([[1, 2, 1], [2, 1]], [5, 2])
    own = tagger.text.encoder.encoder.layer[0].attention.self
    seen = {}
    own.register_forward_hook(lambda module, given, out: seen.update(x=given[0], out=out[0]))
    tagger(batch)
    size = WIDTH // 2
    for row in range(2):
        length = int(batch.attention_mask[row].sum())
        words = seen["x"][row, :length]
        prefix_keys, prefix_values = prefix_by_hand(tagger, batch, row)
        for head in range(2):
            cut = slice(head * size, (head + 1) * size)
            keys = torch.cat([prefix_keys[head], own.key(words)[:, cut]])
            values = torch.cat([prefix_values[head], own.value(words)[:, cut]])
            for place in range(length):
                query = own.query(words[place])[cut]
                scores = [torch.exp(query @ key / math.sqrt(size)) for key in keys]
                total = sum(scores)
                expected = sum(
                    score / total * value for score, value in zip(scores, values, strict=True)
                )
                torch.testing.assert_close(
                    seen["out"][row, place, cut], expected, atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_relative_of_bert_keeps_the_positions_of_its_text(attention):
    torch.manual_seed(0)
    shape = {"hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 32}
    config = RobertaConfig(**SMALL, **shape, attn_implementation=attention)
    encoder = RobertaModel(config, add_pooling_layer=False)
    tagger = build_model(encoder, "hvpnet", SIZES, TextSettings(), ModelSettings()).eval()
    batch = usual_batch()
    batch = replace(batch, input_ids=torch.where(batch.input_ids == 0, 1, batch.input_ids))
    text = tagger(text_of(batch)).emissions
    found = tagger(batch).emissions
    torch.testing.assert_close(found[2], text[2], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found[0], text[0], atol=1e-4)


def test_an_encoder_that_takes_no_prefix_is_refused():
    config = DistilBertConfig(vocab_size=60, dim=WIDTH, n_layers=1, n_heads=2, hidden_dim=32)
    with pytest.raises(HamlearnError, match=r"found DistilBertModel.*expected an encoder like"):
        build_model(DistilBertModel(config), "hvpnet", SIZES, TextSettings(), ModelSettings())


@pytest.mark.parametrize("stages", [(3,), (2, 3, 5, 7, 11, 13)])
def test_a_network_may_have_any_number_of_stages(stages):
    sizes = SIZES.model_copy(update={"stages": stages})
    tagger, batch = tiny_tagger("hvpnet", sizes=sizes), random_batch([[1, 2, 1], [2, 1]], [5, 2])
    batch.visual.stages = torch.randn(2, 4, sum(stages))
    batch.visual.crops = torch.randn(2, 3, 4, sum(stages))
    found = tagger(batch).emissions
    for name in ("stages", "crops"):
        for start in range(0, sum(stages), max(stages)):  # no part is ignored
            changed = getattr(batch.visual, name).clone()
            changed[..., start] += 10
            other = replace(batch, visual=replace(batch.visual, **{name: changed}))
            assert not torch.equal(tagger(other).emissions, found)
