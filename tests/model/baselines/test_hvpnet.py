import math
from dataclasses import replace

import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from hamlearn.errors import HamlearnError
from hamlearn.model.baselines.hvpnet import OBJECTS, DynamicGates
from hamlearn.model.build import build_model
from hamlearn.settings import ModelSettings, TextSettings
from tests.model.tiny import SIZES, STAGES, WIDTH, random_batch, text_of, tiny_tagger, usual_batch

SMALL = {"vocab_size": 60, "num_hidden_layers": 2, "max_position_embeddings": 40}


def leaky(x):
    return x if x > 0 else 0.01 * x


def test_a_gate_weighs_the_levels_by_their_mean():
    torch.manual_seed(0)
    gates, levels = DynamicGates(2, 3, 4), torch.randn(3, 2, 4)  # three levels, two places
    found = gates(levels)
    mean = sum(levels[i, p] for i in range(3) for p in range(2)) / 6
    for layer, gate in enumerate(gates.gates):
        scores = [leaky(float(gate.weight[i] @ mean + gate.bias[i])) for i in range(3)]
        total = sum(math.exp(score) for score in scores)
        for place in range(2):
            expected = sum(math.exp(scores[i]) / total * levels[i, place] for i in range(3))
            torch.testing.assert_close(found[layer][place], expected)


def prefix_by_hand(tagger, batch, row):
    """[keys, values] before the text of one post, (P, 2D), for the only layer."""
    part, start, levels = tagger.prefix, 0, []
    for mlp, width in zip(part.of_stage, STAGES, strict=True):
        levels.append(mlp(batch.visual.stages[row, :, start : start + width]))
        start += width
    places = list(part.gates(torch.stack(levels))[0])
    nodes = tagger.visual(batch.visual)[row]
    for number in range(min(OBJECTS, int(batch.visual.objects.mask[row].sum()))):
        of_object = part.of_object(nodes[1 + number]).view(4, 1, 2 * WIDTH)
        places.append(part.gates(of_object)[0][0])
    return torch.stack(places)


def test_words_attend_to_the_prefix_as_loops_do():
    tagger = tiny_tagger("hvpnet")
    batch = random_batch([[1, 2, 1], [2, 1]], [5, 2], none=(1,))
    own = tagger.text.encoder.encoder.layer[0].attention.self
    seen = {}
    own.register_forward_hook(lambda module, given, out: seen.update(x=given[0], out=out[0]))
    tagger(batch)
    heads, size = 2, WIDTH // 2
    for row in range(2):
        length = int(batch.attention_mask[row].sum())
        prefix, words = prefix_by_hand(tagger, batch, row), seen["x"][row, :length]
        assert len(prefix) == 4 + (3 if row == 0 else 2)
        keys = torch.cat([prefix[:, :WIDTH], own.key(words)])
        values = torch.cat([prefix[:, WIDTH:], own.value(words)])
        for place in range(length):
            query = own.query(words[place])
            for head in range(heads):
                cut = slice(head * size, (head + 1) * size)
                scores = [torch.exp(query[cut] @ key[cut] / math.sqrt(size)) for key in keys]
                total = sum(scores)
                expected = sum(
                    score / total * value[cut] for score, value in zip(scores, values, strict=True)
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
    found = tagger(batch).emissions
    for start in range(0, sum(stages), max(stages)):  # no part is ignored
        changed = batch.visual.stages.clone()
        changed[..., start] += 10
        other = replace(batch, visual=replace(batch.visual, stages=changed))
        assert not torch.equal(tagger(other).emissions, found)
