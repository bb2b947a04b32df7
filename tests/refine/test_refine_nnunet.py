"""The real nnU-Net on a dozen small pictures: planned, trained for a few steps, kept, and asked as an ensemble."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medclipsam.errors import BadInput, MissingExtra
from medclipsam.io import read_image
from medclipsam.methods.ensemble import Ensemble, load_ensemble
from medclipsam.refine import nnunet
from medclipsam.refine.recipe import NNUNET
from medclipsam.refine.run import refine

FEW = NNUNET.changed(epochs=4, cycles=2, keep=1, steps_per_epoch=2, side=32, memory_gb=1.0, by_confidence=True)


class KilledError(Exception):
    """Stands for a process that is gone."""


def test_the_recipe_is_the_papers():
    recipe = NNUNET
    assert (recipe.epochs, recipe.cycles, recipe.keep, recipe.learning_rate) == (600, 3, 10, 0.01)
    assert (recipe.steps_per_epoch, recipe.side, recipe.fold, recipe.by_confidence) == (250, 256, None, False)
    assert recipe.plan.kept == (*range(189, 199), *range(389, 399), *range(589, 599))


def test_without_the_package_the_extra_is_named(material, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'medclipsam\[nnunet\]'"):
        refine(material, tmp_path / "run", FEW)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def run(material, tmp_path_factory):
    """A finished run: killed after its second epoch, and gone on with."""
    pytest.importorskip("nnunetv2", reason="the extra nnunet is not installed")
    folder = tmp_path_factory.mktemp("nnunet") / "run"

    def die(stage, done, total):
        if (stage, total) == ("epoch 2", 4):
            raise KilledError

    with pytest.raises(KilledError):
        refine(material, folder, FEW, device="cpu", tell=die)
    refine(material, folder, FEW, device="cpu", resume=True)
    return folder


@pytest.mark.slow
def test_training_goes_on_where_it_was_killed(run):
    log = "".join(path.read_text() for path in sorted(run.rglob("training_log_*.txt")))
    assert [log.count(f"Epoch {epoch} \n") for epoch in range(4)] == [1, 1, 1, 1]


@pytest.mark.slow
def test_the_kept_epochs_are_those_of_the_plan(run):
    assert [path.name for path in sorted((run / "weights").iterdir())] == [
        "epoch-0000.safetensors",
        "epoch-0002.safetensors",
    ]


@pytest.mark.slow
def test_the_rate_starts_anew_in_each_cycle(run):
    state = json.loads(max(run.rglob("checkpoint_final/step-*/state.json")).read_text())
    assert state["logging"]["lrs"] == pytest.approx([0.01, 0.01 * 0.5**0.9, 0.01, 0.01 * 0.5**0.9])


@pytest.mark.slow
def test_no_pickle_of_weights_is_left(run):
    assert [path.name for path in run.rglob("*") if path.suffix in (".pth", ".pt", ".bin")] == []


@pytest.mark.slow
def test_the_network_learns_to_ignore(run):
    assert json.loads((run / "network" / "dataset.json").read_text())["labels"]["ignore"] == 2
    assert load_file(run / "weights" / "epoch-0002.safetensors")["decoder.seg_layers.0.weight"].shape[0] == 2


@pytest.mark.slow
def test_the_ensemble_is_the_mean_of_each_weights_own_prediction(run, scans):
    images = [read_image(scans / "p1-1.png"), read_image(scans / "p2-0.png")]
    ensemble = load_ensemble(run, "cpu")
    member = nnunet.load_member(run, ensemble.file.network, torch.device("cpu"))
    alone = [
        [maps.probability for maps in Ensemble(ensemble.file, member, [path]).maps_of(images)]
        for path in sorted((run / "weights").iterdir())
    ]
    together = [maps.probability for maps in ensemble.maps_of(images)]
    assert np.ptp(alone, axis=0).max() > 1e-4
    assert np.stack(together) == pytest.approx(np.mean(alone, axis=0), abs=1e-6)


@pytest.mark.slow
def test_one_member_predicts_what_nnunets_own_predictor_does(run, scans):
    ensemble = load_ensemble(run, "cpu")
    member = nnunet.load_member(run, ensemble.file.network, torch.device("cpu"))
    member.load(run / ensemble.file.weights[0])
    name = sorted(path.name for path in (run / "dataset" / "Dataset001_refine" / "imagesTr").iterdir())[3]
    square = np.asarray(Image.open(run / "dataset" / "Dataset001_refine" / "imagesTr" / name))
    with torch.no_grad():
        ours = member.probability(member.prepare(square))
    member._predictor.list_of_parameters = [load_file(run / ensemble.file.weights[0])]
    pixels = np.float32(square.transpose(2, 0, 1)[:, None])
    _, theirs = member._predictor.predict_single_npy_array(pixels, {"spacing": (999, 1, 1)}, None, None, True)
    assert ours.numpy() == pytest.approx(theirs[1, 0], abs=1e-3)


@pytest.mark.slow
def test_another_recipe_is_no_resumption(run, material):
    with pytest.raises(BadInput, match="another steps"):
        refine(material, run, FEW.changed(steps_per_epoch=3), device="cpu", resume=True)
