import torch

from hamlearn.training.optimizer import make_optimizer
from tests.model.tiny import tiny_tagger, usual_batch


def test_groups_of_the_optimizer():
    model = torch.nn.Module()
    model.text = torch.nn.Module()
    model.text.encoder = torch.nn.Linear(3, 2)
    model.text.transformer = torch.nn.Linear(2, 2)
    model.norm = torch.nn.LayerNorm(2)
    optimizer = make_optimizer(model, 1e-5, 1e-3, 0.1)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    expected = {
        "text.encoder.weight": (1e-5, 0.1),
        "text.encoder.bias": (1e-5, 0.0),
        "text.transformer.weight": (1e-3, 0.1),
        "text.transformer.bias": (1e-3, 0.0),
        "norm.weight": (1e-3, 0.0),
        "norm.bias": (1e-3, 0.0),
    }
    assert {name: found[id(p)] for name, p in model.named_parameters()} == expected
    assert [group["name"] for group in optimizer.param_groups] == ["lr", "lr", "head_lr", "head_lr"]
    one_lr = make_optimizer(model, 1e-5, None, 0.1)
    assert {group["lr"] for group in one_lr.param_groups} == {1e-5}


def test_the_output_layers_have_their_own_rate():
    tagger = tiny_tagger("full")
    for output_lr, expected in ((1e-2, 1e-2), (None, 1e-3)):
        optimizer = make_optimizer(tagger, 1e-5, 1e-3, 0.1, output_lr=output_lr)
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        output = {*tagger.emit.parameters(), *tagger.crf.parameters()}
        assert {rates[id(parameter)] for parameter in output} == {expected}
        encoder = set(tagger.text.encoder.parameters())
        rest = set(tagger.parameters()) - output - encoder
        assert {rates[id(parameter)] for parameter in rest} == {1e-3}
        assert {rates[id(parameter)] for parameter in encoder} == {1e-5}


def test_the_fused_optimizer_makes_the_same_steps():
    # In float64, where gradients of zero (of keys' biases) are not noise that eps is small beside.
    stepped = []
    for fused in (True, False):
        tagger = tiny_tagger("full").double()
        idle = torch.nn.Linear(3, 3)  # gets no gradient
        model = torch.nn.ModuleDict({"tagger": tagger, "idle": idle})
        before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
        optimizer = make_optimizer(model, 1e-2, None, 0.1, fused)
        batch = usual_batch()
        batch = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        for _ in range(5):
            optimizer.zero_grad()
            tagger.loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        stepped.append(dict(model.named_parameters()))
    far = [name for name, own in stepped[0].items() if (own - before[name]).abs().max() > 0.01]
    assert len(far) > len(before) / 2
    for name, tensor in stepped[0].items():
        torch.testing.assert_close(tensor, stepped[1][name], atol=1e-6, rtol=1e-5, msg=name)
