import json

import pytest

from hamlearn.memory import BERT_BASE, LEAST_MB, encoder_size, encoding_mb, training_mb
from hamlearn.settings import load_settings
from tests.workflow.project import ROOT


def settings(encoder, **sections):
    text = {"encoder": str(encoder), **sections.pop("text", {})}
    return load_settings(json.dumps({"text": text, **sections}))


@pytest.fixture
def encoder(tmp_path):
    """A folder whose weights are a file of 118 million numbers, without content."""
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **sizes}))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(4 * 118_000_000)
    return tmp_path


def test_the_demo_needs_the_least():
    demo = load_settings(ROOT / "config.yaml")
    assert {training_mb(demo, name) for name in ("full", "text_only", "hvpnet")} == {LEAST_MB}


def test_a_large_encoder_needs_what_was_measured(encoder):
    found = training_mb(settings(encoder), "text_only")
    assert 5800 < found < 2 * 5800  # the peak of such a training on a CPU
    assert training_mb(settings(encoder), "full") > found
    assert training_mb(settings(encoder), "bilstm_crf") == LEAST_MB
    shorter = settings(encoder, text={"max_subtokens": 64}, training={"batch_size": 8})
    assert training_mb(shorter, "text_only") < found
    parts = settings(encoder, training={"accumulate": 4})
    twice = settings(encoder, training={"gradient_checkpointing": True})
    assert training_mb(settings(encoder, training={"batch_size": 8}), "full") == training_mb(
        parts, "full"
    )
    assert training_mb(twice, "text_only") < found
    frozen = settings(encoder, text={"freeze": True})
    assert LEAST_MB <= encoding_mb(frozen) <= training_mb(frozen, "text_only") < found / 2


def test_an_encoder_is_as_large_as_its_weights(encoder, tmp_path):
    assert encoder_size(settings(encoder)) == (118_000_000, 768, 12, 12)
    config = json.loads((tmp_path / "config.json").read_text()) | {"torch_dtype": "float16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert encoder_size(settings(encoder)).parameters == 236_000_000
    assert encoder_size(settings("org/name")) == BERT_BASE
    assert encoder_size(settings("scratch", text={"scratch": {"width": 8, "heads": 2}})).width == 8
