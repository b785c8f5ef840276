"""AdamW and its parameter groups (Eq. 17)."""

from itertools import product

from torch import nn
from torch.optim import AdamW

ENCODER = "text.encoder."  # prefix of the pretrained encoder's parameters


def make_optimizer(
    model: nn.Module,
    lr: float,
    head_lr: float | None,
    weight_decay: float,
    fused: bool | None = None,
) -> AdamW:
    """Return AdamW with one learning rate for the encoder and one for everything else.

    Weight decay applies to matrices and embeddings, not to biases, norms and other vectors. If
    `head_lr` is None, `lr` applies to everything. `fused` updates each parameter in one pass over
    memory, with the same results; None leaves the choice to PyTorch.
    """
    groups = []
    for is_encoder, decays in product((True, False), repeat=2):
        parameters = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
            and name.startswith(ENCODER) == is_encoder
            and (parameter.ndim > 1) == decays
        ]
        rate = lr if is_encoder or head_lr is None else head_lr
        decay = weight_decay if decays else 0.0
        if parameters:  # schedules read the initial rate
            rates = {"lr": rate, "initial_lr": rate}
            groups.append({"params": parameters, "weight_decay": decay, **rates})
    return AdamW(groups, fused=fused)
