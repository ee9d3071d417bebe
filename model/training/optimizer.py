"""Muon: momentum whose every step is made orthogonal.

Jordan et al., 2024 (kellerjordan.github.io/posts/muon), with the scale of Liu et al.,
arXiv:2502.16982: the root mean square of a step is that of Adam, so that both share a
learning rate. Convolutions count as matrices of one row for each output channel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

ADAM_RMS = 0.2  # of the entries of a typical step of Adam, in learning rates
_QUINTIC = (3.4445, -4.7750, 2.0315)  # sends singular values to about 1 in five turns
_TURNS = 5


class Muon(torch.optim.Optimizer):
    """Updates weights of two or more dimensions.

    Parameters
    ----------
    parameters : iterable of Tensor
        Weight matrices and convolution kernels; no biases.
    lr : float
        Learning rate, comparable to Adam's.
    momentum : float
        Share of the past in the direction of a step.
    weight_decay : float
        Decoupled, as in AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step along the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                past = self.state[parameter].setdefault(
                    "past", torch.zeros_like(parameter)
                )
                past.lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(past, group["momentum"])  # Nesterov
                matrix = orthogonal(ahead.flatten(1))
                scale = ADAM_RMS * math.sqrt(max(matrix.shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near 1, by Newton-Schulz iterations."""
    a, b, c = _QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(_TURNS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x if wide else x.T
    return result
