"""A checkpoint is all there or not there, and gives back what was put in."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    save_weights,
)


def checkpoint_at(step: int) -> Checkpoint:
    model = nn.Linear(3, 2)
    facts = {"progress": {"best": {"top1": 0.1 + 0.2}}}
    return Checkpoint(step=step, model=model.state_dict(), optimizer={"0.step": torch.tensor(7.0)}, facts=facts)


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    saved = checkpoint_at(12)
    loaded = load_checkpoint(save_checkpoint(tmp_path, saved))
    assert (loaded.step, loaded.facts) == (12, saved.facts)
    assert all(torch.equal(loaded.model[name], tensor) for name, tensor in saved.model.items())
    assert loaded.optimizer["0.step"].shape == ()


def test_only_the_newest_is_kept(tmp_path):
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, checkpoint_at(step))
    assert [place.name for place in tmp_path.iterdir()] == ["step-00000010"]


def test_a_checkpoint_that_was_not_finished_does_not_count(tmp_path):
    whole = save_checkpoint(tmp_path, checkpoint_at(3))
    torn = tmp_path / "step-00000004"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) == whole
    save_checkpoint(tmp_path, checkpoint_at(4))
    assert load_checkpoint(torn).step == 4


def test_there_is_none_in_a_folder_without(tmp_path):
    assert latest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "mean.safetensors", "state.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"\x00" * 64])
def test_a_damaged_checkpoint_says_so(tmp_path, file, content):
    place = save_checkpoint(tmp_path, checkpoint_at(3))
    if content is None:
        (place / file).unlink()
    else:
        (place / file).write_bytes(content)
    with pytest.raises(BadInput, match="step-00000003"):
        load_checkpoint(place)


def test_an_optimizer_goes_on_as_if_nothing_had_happened():
    def model_after(steps: int, moved_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(4, 4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for step in range(steps):
            if step == moved_at:
                tensors = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
                optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
                restore_optimizer(optimizer, tensors)
            model(torch.full((2, 4), float(step))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.weight.detach()

    assert torch.equal(model_after(6, None), model_after(6, 3))
    assert not torch.equal(model_after(6, None), model_after(5, None))


def test_weights_that_share_memory_are_stored_apart(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    views = {"a": shared, "b": shared.T, "c": shared, "d": shared[1]}
    save_weights(tmp_path / "w.safetensors", views)
    save_weights(tmp_path / "w.safetensors", views | {"a": shared + 1})
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    loaded = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(loaded[name], value) for name, value in (views | {"a": shared + 1}).items())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite):
        save_weights(tmp_path / "file" / "w.safetensors", {"a": torch.zeros(1)})
