"""Optimizers and the running mean of weights: what learns what, and a stopped run goes on to the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medclipsam.errors import BadInput
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.sampling import plan_for
from medclipsam.training.loop import fit
from medclipsam.training.optimizers import Optimizers, RunningMean
from medclipsam.training.recipes import TrainingRecipe

RECIPE = TrainingRecipe(epochs=3, batch_size=4, learning_rate=1e-2, matrix_rate=1e-2, optimizer="muon", ema=0.9)


class Sums:
    """Twelve rows of sixteen numbers, whose sum a small network learns."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        return torch.randn(16, generator=torch.Generator().manual_seed(key[1]))


class LearnSums:
    """A task of the loop whose validation is how near the sums are."""

    score = "nearness"
    fingerprint = "sums"

    def __init__(self, stop_at: int | None = None, weights: Sequence[float] | None = None) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 1))
        self.data, self.weights = Sums(), weights
        self._left = stop_at

    def begin(self, folder: Path, observer: Any) -> None:
        pass

    def collate(self, examples: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(examples))

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        return (model(batch)[:, 0] - batch.sum(dim=1)).square().mean(), {}

    def validate(self) -> Mapping[str, float]:
        rows = torch.stack([self.data[0, place] for place in range(12)])
        return {"nearness": -(self.model(rows)[:, 0] - rows.sum(dim=1)).square().mean().item()}

    def export(self, folder: Path) -> None:
        save_weights(folder / "model.safetensors", self.model.state_dict())


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_file(next((run / "checkpoints").glob("*/model.safetensors")))


@pytest.mark.parametrize("weights", [None, [1.0] * 6 + [3.0] * 6])
def test_a_run_with_muon_and_a_running_mean_is_resumed_to_the_same_bits(tmp_path, weights):
    fit(LearnSums(weights=weights), RECIPE, tmp_path / "whole", device="cpu", save_every=2)
    with pytest.raises(KeyboardInterrupt):
        fit(LearnSums(stop_at=5, weights=weights), RECIPE, tmp_path / "stopped", device="cpu", save_every=2)
    fit(LearnSums(weights=weights), RECIPE, tmp_path / "stopped", device="cpu", save_every=2, resume=True)
    for part in ("model", "optimizer", "mean"):
        files = [next((tmp_path / run / "checkpoints").glob(f"*/{part}.safetensors")) for run in ("whole", "stopped")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert (tmp_path / "whole" / "log.jsonl").read_text().count('"train"') == 9
    exported = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("whole", "stopped")]
    assert exported[0] == exported[1]


def test_the_running_mean_is_exported_and_the_weights_go_on_as_they_are(tmp_path):
    task = LearnSums()
    outcome = fit(task, RECIPE, tmp_path, device="cpu")
    assert outcome.best_step == 9
    exported, own = load_file(tmp_path / "model.safetensors"), weights_of(tmp_path)
    assert not torch.equal(exported["0.weight"], own["0.weight"])
    assert torch.equal(task.model.state_dict()["0.weight"], own["0.weight"])


def test_the_mean_moves_by_its_share_and_begins_at_the_first_weights():
    model = nn.Linear(2, 1, bias=False)
    mean = RunningMean(model, 0.75)
    for value in (1.0, 5.0):
        nn.init.constant_(model.weight, value)
        mean.update()
    with mean.in_place():
        assert model.weight.tolist() == [[2.0, 2.0]]
    assert model.weight.tolist() == [[5.0, 5.0]]


def test_without_a_decay_there_is_no_mean():
    mean = RunningMean(nn.Linear(2, 1), 0)
    mean.update()
    assert mean.tensors() == {}


def test_muon_learns_wide_matrices_and_adamw_the_rest_each_at_its_own_rate():
    model = nn.Sequential(nn.Linear(16, 16), nn.Conv2d(3, 16, 3), nn.Linear(16, 4))
    recipe = RECIPE.changed(learning_rate=1e-3, matrix_rate=4e-3)
    optimizers = Optimizers(model, recipe)
    assert optimizers.set_rate(0.5) == 5e-4
    muon, adamw = optimizers._members
    assert [group["lr"] for group in muon.param_groups] == [2e-3]
    assert [list(weight.shape) for group in muon.param_groups for weight in group["params"]] == [[16, 16]]
    decays = {tuple(w.shape): group["weight_decay"] for group in adamw.param_groups for w in group["params"]}
    assert decays == {(16, 3, 3, 3): 0.01, (4, 16): 0.01, (16,): 0.0, (4,): 0.0}


def test_a_model_without_matrices_learns_with_adamw_alone():
    assert len(Optimizers(nn.Linear(3, 2), RECIPE)._members) == 1


def test_a_run_has_as_many_steps_as_it_is_told(tmp_path):
    assert fit(LearnSums(), RECIPE.changed(steps=5), tmp_path, device="cpu", save_every=9).steps == 5


@pytest.mark.parametrize(
    "wrong", [{"ema": 1.0}, {"ema": -0.1}, {"optimizer": "sgd"}, {"matrix_rate": 0.0}, {"steps": -1}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        RECIPE.changed(**wrong)


def test_examples_are_drawn_in_proportion_to_their_weights_and_never_twice_in_a_step():
    plan = plan_for(4, 2, 0, [0.0, 1.0, 1.0, 6.0])
    steps = [plan.keys(step) for step in range(200)]
    drawn = [example for keys in steps for _, example in keys]
    assert all(len({example for _, example in keys}) == 2 for keys in steps)
    assert drawn.count(0) == 0 and drawn.count(3) > 150 > drawn.count(1) > 60
    assert plan.keys(7) == steps[7]
    assert {first for first, _ in steps[7]} == {7}
