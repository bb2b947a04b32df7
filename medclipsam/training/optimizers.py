"""Optimizers of the training loop, AdamW and Muon, and the running mean of the weights that a run may export.

    adamw: every parameter                        rate = peak x schedule, each group from its own peak
    muon:  matrices by Muon, all else by AdamW    mean = decay x mean + (1 - decay) x weights, after each step

Muon (Jordan et al., 2024) replaces the update of a matrix by the nearest orthogonal one; scaled to AdamW's size of step
as Liu et al. (2025) do, it learns more in as many steps. It is meant for matrices alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medclipsam.training.checkpoint import optimizer_tensors, restore_optimizer
from medclipsam.training.recipes import TrainingRecipe

SMALLEST_MATRIX = 8
"""Rows or columns up to which a matrix is too thin to be made orthogonal, and AdamW learns it."""
PEAK = "peak"
"""Where a parameter group keeps its largest learning rate."""


class Scaler(Protocol):
    """What is used of `torch.amp.GradScaler`."""

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale."""

    def step(self, optimizer: Optimizer) -> Any:
        """Step, unless a gradient is not finite."""


class Optimizers:
    """One or two optimizers that step together.

    Args:
        model: its parameters that require a gradient are trained.
        recipe: names the optimizer, its rates and its settings.
    """

    def __init__(self, model: nn.Module, recipe: TrainingRecipe) -> None:
        made = (make(model, recipe) for make in _MAKERS[recipe.optimizer])
        self._members = [member for member in made if member is not None]
        for group in self._groups():
            group[PEAK] = group["lr"]

    def set_rate(self, factor: float) -> float:
        """Give every group `factor` times its peak; the rate of AdamW, where it learns any."""
        for group in self._groups():
            group["lr"] = group[PEAK] * factor
        return float(group["lr"])

    def unscale(self, scaler: Scaler) -> None:
        """Undo the scaling of half-precision gradients."""
        for member in self._members:
            scaler.unscale_(member)

    def step(self, scaler: Scaler) -> None:
        """Step down the gradients and forget them."""
        for member in self._members:
            scaler.step(member)
            member.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """The moments, under `OPTIMIZER.PARAMETER.NAME`; empty before the first step."""
        return {
            f"{number}.{name}": value
            for number, member in enumerate(self._members)
            for name, value in optimizer_tensors(member).items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        for number, member in enumerate(self._members):
            start = f"{number}."
            own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
            restore_optimizer(member, own)

    def _groups(self) -> Iterator[dict[str, Any]]:
        return (group for member in self._members for group in member.param_groups)


class RunningMean:
    """The exponential moving average of the trained weights (Polyak and Juditsky, 1992).

    Args:
        model: whose parameters that require a gradient are averaged.
        decay: share of the mean that a step keeps; 0 keeps no mean, and the weights are used as they are.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._decay = decay
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of a step; the mean begins as those of the first one."""
        if not self._decay:
            return
        if not self._mean:
            self._mean = {name: weight.detach().clone() for name, weight in self._weights.items()}
        for name, mean in self._mean.items():
            mean.lerp_(self._weights[name], 1 - self._decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the mean while the block runs, and its own weights afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """The mean by the names of the parameters; empty where there is none."""
        return dict(self._mean)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        self._mean = {name: value.to(self._weights[name].device) for name, value in tensors.items()}

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, mean in self._mean.items():
            own = self._weights[name].clone()
            self._weights[name].copy_(mean)
            mean.copy_(own)


def _adamw(model: nn.Module, recipe: TrainingRecipe) -> Optimizer | None:
    return _adamw_of(_trained(model), recipe)


def _adamw_without_matrices(model: nn.Module, recipe: TrainingRecipe) -> Optimizer | None:
    return _adamw_of([weight for weight in _trained(model) if not _is_matrix(weight)], recipe)


def _adamw_of(weights: Sequence[Tensor], recipe: TrainingRecipe) -> Optimizer | None:
    """Two groups: what has rows and columns decays; biases, norms and scales (one number or one row) do not."""
    wide, thin = ([weight for weight in weights if (weight.ndim > 1) == many] for many in (True, False))
    groups = ({"params": wide, "weight_decay": recipe.weight_decay}, {"params": thin, "weight_decay": 0.0})
    filled: list[dict[str, Any]] = [group for group in groups if group["params"]]
    if not filled:
        return None
    return torch.optim.AdamW(filled, lr=recipe.learning_rate, betas=recipe.betas, eps=recipe.eps)


def _muon(model: nn.Module, recipe: TrainingRecipe) -> Optimizer | None:
    matrices = [weight for weight in _trained(model) if _is_matrix(weight)]
    if not matrices:
        return None
    return torch.optim.Muon(
        matrices, lr=recipe.matrix_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def _is_matrix(weight: Tensor) -> bool:
    """Wide both ways, so that there is something to make orthogonal."""
    return weight.ndim == 2 and min(weight.shape) > SMALLEST_MATRIX


_MAKERS: Mapping[str, Sequence[Callable[[nn.Module, TrainingRecipe], Optimizer | None]]] = {
    "adamw": (_adamw,),
    "muon": (_muon, _adamw_without_matrices),
}
