"""The small U-Net learns from pseudo-labels, keeps the right weights, and goes on after a kill to the same bits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from refine_runs import SMALL
from safetensors.torch import load_file

from medclipsam.backbones.squares import frame_for, standardised, to_square
from medclipsam.backbones.unet import UNet
from medclipsam.errors import BadInput, WrongHash
from medclipsam.io import read_image
from medclipsam.methods.ensemble import load_ensemble
from medclipsam.methods.members import UNetMember
from medclipsam.methods.uncertainty import RunningMean, binary_entropy
from medclipsam.metrics.overlap import dice
from medclipsam.refine.pictures import STRENGTH, Pictures
from medclipsam.refine.run import refine
from medclipsam.refine.task import RefineUNet, segmentation_loss
from medclipsam.training.journal import read_journal


class KilledError(Exception):
    """Stands for a process that is gone."""


@pytest.fixture(scope="module")
def run(material, tmp_path_factory):
    """A finished run of 24 epochs, 2 cycles, 3 weights kept of each."""
    folder = tmp_path_factory.mktemp("run") / "run"
    refine(material, folder, SMALL.changed(epochs=24, keep=3), device="cpu")
    return folder


def test_the_weights_of_the_planned_epochs_are_kept(run):
    assert [path.name for path in sorted((run / "weights").iterdir())] == [
        f"epoch-{epoch:04d}.safetensors" for epoch in (8, 9, 10, 20, 21, 22)
    ]


def test_the_rate_of_the_log_starts_anew_in_each_cycle(run):
    entries = [entry for entry in read_journal(run / "training" / "log.jsonl") if entry["kind"] == "train"]
    rates = [entry["learning_rate"] for entry in entries]
    half = len(rates) // 2
    assert rates[0] == rates[half] == max(rates) == SMALL.learning_rate
    assert rates[:half] == rates[half:]
    assert rates[half - 1] < 0.3 * SMALL.learning_rate


def test_it_learns_the_discs(run, scans):
    ensemble = load_ensemble(run, "cpu")
    images = [read_image(path) for path in sorted(scans.glob("p*.png"))[:-1]]
    scores = [
        dice(maps.probability > 0.5, image.pixels.mean(axis=2) > 0.5)
        for image, maps in zip(images, ensemble.maps_of(images), strict=True)
    ]
    assert len(scores) == 11
    assert min(scores) > 0.7
    assert np.mean(scores) > 0.85


def test_the_ensemble_is_the_mean_of_each_weights_own_prediction(run, scans):
    image = read_image(scans / "p1-1.png")
    frame = frame_for(image.size, SMALL.side, "squash")
    pixels = standardised(to_square(image.pixels, frame))[None]
    alone = []
    for path in sorted((run / "weights").iterdir()):
        network = UNet(SMALL.widths).eval()
        network.load_state_dict(load_file(path))
        with torch.no_grad():
            alone.append(frame.inverse(torch.sigmoid(network(pixels)[0])).numpy())
    (maps,) = load_ensemble(run, "cpu").maps_of([image])
    assert len(alone) == 6
    assert np.ptp(alone, axis=0).max() > 0.01
    assert maps.probability == pytest.approx(np.mean(alone, axis=0), abs=1e-6)


def test_neighbours_change_no_bit(run, scans):
    images = [read_image(path) for path in sorted(scans.glob("p*.png"))]
    ensemble = load_ensemble(run, "cpu")
    together = list(ensemble.maps_of([None, *images]))
    assert together[0] is None
    for image, maps in zip(images, together[1:], strict=True):
        (alone,) = ensemble.maps_of([image])
        assert np.array_equal(alone.probability, maps.probability)
        assert np.array_equal(alone.information, maps.information)


def test_each_scan_is_prepared_once_and_each_file_of_weights_loaded_once(run, scans, monkeypatch):
    done = []
    for name in ("prepare", "load"):
        plain = getattr(UNetMember, name)
        monkeypatch.setattr(
            UNetMember, name, lambda self, given, name=name, plain=plain: (done.append(name), plain(self, given))[1]
        )
    list(load_ensemble(run, "cpu").maps_of([read_image(path) for path in sorted(scans.glob("p0*.png"))]))
    assert (done.count("prepare"), done.count("load")) == (3, 6)


def test_a_killed_run_goes_on_to_the_same_weights(material, tmp_path):
    refine(material, tmp_path / "whole", SMALL, device="cpu")

    def die(stage, done, total):
        if stage.startswith("epoch") and done == 10:
            raise KilledError

    with pytest.raises(KilledError):
        refine(material, tmp_path / "killed", SMALL, device="cpu", tell=die)
    with pytest.raises(BadInput, match="finished medclipsam refine run"):
        load_ensemble(tmp_path / "killed")
    with pytest.raises(BadInput, match="already holds a run; give --resume"):
        refine(material, tmp_path / "killed", SMALL, device="cpu")
    refine(material, tmp_path / "killed", SMALL, device="cpu", resume=True)
    files = [json.loads((tmp_path / name / "ensemble.json").read_text())["files"] for name in ("whole", "killed")]
    assert files[0] == files[1]
    assert len(files[0]) == 2


def test_other_settings_are_no_resumption(material, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    with pytest.raises(BadInput, match="another learning_rate"):
        refine(material, tmp_path / "run", SMALL.changed(epochs=24, keep=3, learning_rate=0.1), resume=True)
    fewer = replace(material, files=material.files[1:])
    with pytest.raises(BadInput, match="another labels or scans"):
        refine(fewer, tmp_path / "run", SMALL.changed(epochs=24, keep=3), resume=True)
    assert load_ensemble(tmp_path / "run").file == load_ensemble(run).file
    assert len(list((tmp_path / "run" / "dataset").rglob("*_0000.png"))) == len(material.files)


def test_a_folder_with_other_things_is_left_alone(material, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="not an empty folder"):
        refine(material, tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_weights_that_were_exchanged_are_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    first, second = sorted((tmp_path / "run" / "weights").iterdir())[:2]
    shutil.copy(second, first)
    with pytest.raises(WrongHash, match=first.name):
        load_ensemble(tmp_path / "run")


def test_a_held_out_fold_is_scored_after_each_epoch(data):
    task = RefineUNet(data, SMALL.changed(fold=0, folds=3))
    assert len(task.data) == 8
    task.model.eval()
    with torch.no_grad():
        assert 0 <= task.validate()["dice"] <= 1
    assert RefineUNet(data, SMALL).validate() == {}


def test_variations_depend_on_seed_epoch_and_name_alone(data):
    names = sorted(data.groups)
    first, again, other = (Pictures(data, names, seed, STRENGTH) for seed in (0, 0, 1))
    assert torch.equal(first[3, 5].pixels, again[3, 5].pixels)
    assert not torch.equal(first[3, 5].pixels, first[4, 5].pixels)
    assert not torch.equal(first[3, 5].pixels, other[3, 5].pixels)
    assert set(first[3, 5].labels.unique().tolist()) <= {0, 1, 2}


def test_ignored_pixels_have_no_say():
    labels = torch.tensor([[[0, 1], [2, 2]]], dtype=torch.uint8)
    logits = torch.tensor([[[-2.0, 1.0], [0.0, 0.0]]], requires_grad=True)
    loss = segmentation_loss(logits, labels)
    loss.backward()
    assert logits.grad[0, 1].tolist() == [0, 0]
    assert logits.grad[0, 0, 0] > 0 > logits.grad[0, 0, 1]
    assert segmentation_loss(logits.detach() + torch.tensor([[[0, 0], [9.0, -9.0]]]), labels) == loss
    assert segmentation_loss(logits, torch.full_like(labels, 2)).item() == pytest.approx(0)


def test_a_right_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.tensor([[[0, 1, 1, 0]]], dtype=torch.uint8)
    sure = torch.tensor([[[-20.0, 20, 20, -20]]])
    assert segmentation_loss(sure, labels) == pytest.approx(0, abs=1e-6)
    assert segmentation_loss(-sure, labels) > 10


def test_entropy_is_in_bits_and_none_at_certainty():
    assert binary_entropy(torch.tensor([0.0, 0.5, 1.0, 0.25])).tolist() == pytest.approx([0, 1, 0, 0.811278])


def test_agreement_is_no_disagreement_and_opposites_are_one_bit():
    members = torch.tensor([[0.3, 0.0, 1.0], [0.3, 1.0, 0.5]])
    mean = RunningMean()
    for member in members:
        mean.add(member[None])
    probability, entropy, information = mean.maps()[:, 0]
    assert probability.tolist() == pytest.approx([0.3, 0.5, 0.75])
    assert entropy.tolist() == pytest.approx([0.881291, 1, 0.811278], abs=1e-6)
    assert information.tolist() == pytest.approx([0, 1, 0.311278], abs=1e-6)


def test_a_unet_keeps_the_size_and_sees_every_level():
    network = UNet((4, 8, 16), channels=3)
    pixels = torch.rand(2, 3, 16, 32)
    logits = network(pixels)
    assert logits.shape == (2, 16, 32)
    logits.sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())
