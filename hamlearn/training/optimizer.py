"""AdamW and its parameter groups (Eq. 17)."""

from collections.abc import Container
from itertools import product

from torch import nn
from torch.optim import AdamW

ENCODER = "text.encoder."  # prefix of the pretrained encoder's parameters
OUTPUT = ("emit.", "crf.")  # prefixes of those of label scores and CRF


def make_optimizer(
    model: nn.Module,
    lr: float,
    head_lr: float | None,
    weight_decay: float,
    fused: bool | None = None,
    output_lr: float | None = None,
) -> AdamW:
    """Return AdamW with learning rates for the encoder, the output layers, and all between them.

    The output layers are those of the scores of labels and the CRF. If `output_lr` is None,
    `head_lr` applies to them; if that is None, `lr`. Weight decay applies to matrices and
    embeddings, not to biases, norms and other vectors. `fused` updates each parameter in one pass
    over memory, with the same results; None leaves the choice to PyTorch. Each group has the name
    of its rate.
    """
    head_lr = lr if head_lr is None else head_lr
    rates = {"lr": lr, "head_lr": head_lr}
    if output_lr is not None:
        rates["output_lr"] = output_lr
    groups = []
    for (name, rate), decays in product(rates.items(), (True, False)):
        parameters = [
            parameter
            for own, parameter in model.named_parameters()
            if parameter.requires_grad
            and rate_name(own, rates) == name
            and (parameter.ndim > 1) == decays
        ]
        decay = weight_decay if decays else 0.0
        if parameters:  # schedules read the initial rate
            own_rates = {"lr": rate, "initial_lr": rate}
            groups.append({"params": parameters, "weight_decay": decay, "name": name, **own_rates})
    return AdamW(groups, fused=fused)


def rate_name(parameter: str, rates: Container[str]) -> str:
    """Return which of the rates is that of a parameter, by its name in the model."""
    if parameter.startswith(ENCODER):
        return "lr"
    return "output_lr" if "output_lr" in rates and parameter.startswith(OUTPUT) else "head_lr"
