"""Do tensors come out of a file without anything in it being run?"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from medclipsam.errors import BadInput
from medclipsam.weights.loading import load_state, unfilled

STATE = {"layer.weight": torch.arange(6.0).view(2, 3), "layer.bias": torch.ones(2)}


class RunsCode:
    """What a stranger would put into a checkpoint."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def assert_is_state(loaded: dict[str, torch.Tensor]) -> None:
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


def test_both_formats_give_the_same_tensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "state.safetensors")
    torch.save(STATE, tmp_path / "state.pth")
    assert_is_state(load_state(tmp_path / "state.safetensors"))
    assert_is_state(load_state(tmp_path / "state.pth"))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_training_checkpoint_gives_its_tensors(tmp_path: Path, wrapper: str) -> None:
    torch.save({"epoch": 3, "name": "run", wrapper: STATE, "optimizer": {"lr": 0.1}}, tmp_path / "epoch_3.pt")
    assert_is_state(load_state(tmp_path / "epoch_3.pt"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_that_would_run_code_is_refused_in_one_line_and_does_not_run(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write({"layer.weight": RunsCode(tmp_path / "it ran")}, tmp_path / "evil.pth")
    with pytest.raises(BadInput, match=r"evil\.pth is refused, because reading it could run code") as caught:
        load_state(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 a broken archive"])
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=r"file\.") as caught:
        load_state(tmp_path / name)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), is_zip=st.booleans())
def test_one_wrong_byte_gives_tensors_or_one_line(tmp_path: Path, place: float, value: int, is_zip: bool) -> None:
    path = tmp_path / "file.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=is_zip)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = value
    path.write_bytes(content)
    try:
        loaded = load_state(path)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in loaded.values())


def test_a_truncated_checkpoint_is_told(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"half\.pth is not a whole checkpoint"):
        load_state(tmp_path / "half.pth")


@pytest.mark.parametrize("value", [[STATE], {"epoch": 3}, {}, {1: torch.ones(1)}, torch.ones(2)])
def test_anything_but_tensors_by_name_is_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="tensors by name"):
        load_state(tmp_path / "other.pth")


def test_a_network_made_unfilled_draws_no_random_number_and_takes_the_tensors_themselves() -> None:
    before = torch.get_rng_state()
    with unfilled():
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(4, 2), torch.nn.LayerNorm(2))
    assert torch.equal(torch.get_rng_state(), before)
    state = {name: torch.full_like(tensor, 2.0) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state, assign=True)
    assert network[1].weight.data_ptr() == state["1.weight"].data_ptr()
