"""A checkpoint in the authors' names becomes a run that every command can use, without training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from labelled_squares import drawn
from tiny_towers import write_towers

import medclipsam
from medclipsam.config import Supervised
from medclipsam.errors import BadInput
from medclipsam.networks.contract import Taught
from medclipsam.networks.medclipseg.build import build
from medclipsam.networks.medclipseg.network import MedClipSeg
from medclipsam.networks.medclipseg.settings import RELEASED
from medclipsam.training.registry import Request, find_method
from medclipsam.training.settings import changed

TINY = {"side": 32, "layers": [1, 2], "adapter_width": 16}


def network(towers: Path) -> MedClipSeg:
    torch.manual_seed(7)
    settings = replace(RELEASED, folder=str(towers), side=32, layers=(1, 2), adapter_width=16)
    return build(settings, Taught(targets=()), torch.device("cpu"))


def converted(checkpoint: Path, out: Path, towers: Path) -> Path:
    method = find_method("medclipseg-released")
    parts = changed(method.defaults(), TINY | {"folder": str(towers)})
    method.train(Request(data=checkpoint, out=out, parts=parts, config="# settings\n", device="cpu"))
    return out


def test_it_becomes_a_run_with_its_weights_in_the_released_form(tmp_path: Path) -> None:
    towers = write_towers(tmp_path / "towers")
    weights = network(towers).state_dict()
    released = {name.removeprefix("head."): value for name, value in weights.items()}
    torch.save({"model": released, "epoch": 99}, tmp_path / "latest.pth")
    run = converted(tmp_path / "latest.pth", tmp_path / "run", towers)
    facts = json.loads((run / "network.json").read_text())
    assert (facts["network"]["mask_pads"], facts["network"]["colours"]) == (False, "bgr")
    segmenter = medclipsam.load(Supervised(run=run, samples=2), device="cpu")
    result = segmenter.segment(medclipsam.image_from_array(drawn(1)[0], name="s1"), "a square")
    assert result.uncertainty is not None
    assert result.probability.std() > 0


def test_what_is_no_checkpoint_of_medclipseg_leaves_no_run(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="no checkpoint of MedCLIPSeg"):
        converted(tmp_path / "other.pth", tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()
