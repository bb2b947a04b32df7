"""`medclipsam train embedded` on sixty drawn images: killed, resumed and shared by two processes, to the same bits."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from typed import typed

from medclipsam.backbones.compact_clip import load_tower
from medclipsam.weights.targets import read_targets

COUNT = 60
STEPS = ["--set", "steps=20", "--set", "pixel_steps=12", "--set", "save_every=5"]
FEW_STEPS = [*STEPS, "--set", "batch_size=8", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs to the left and squares to the right on noise, every fifth without the square, in 20 groups."""
    root = tmp_path_factory.mktemp("data")
    rows = [("image", "mask", "target", "group", "present", "modality")]
    for number in range(COUNT):
        image = Image.fromarray(np.random.default_rng(number).integers(90, 130, (64, 80), dtype=np.uint8))
        masks = {"disc": Image.new("1", image.size), "square": Image.new("1", image.size)}
        top = 10 + number % 20
        for canvas, value in ((image, 230), (masks["disc"], 1)):
            ImageDraw.Draw(canvas).ellipse([8, top, 28, top + 20], fill=value)
        for canvas, value in ((image, 10), (masks["square"], 1)) if number % 5 else ():
            ImageDraw.Draw(canvas).rectangle([50, top, 66, top + 16], fill=value)
        image.save(root / f"{number}.png")
        for target, mask in masks.items():
            mask.save(root / f"{number}-{target}.png")
            present = int(target == "disc" or number % 5 > 0)
            rows.append((f"{number}.png", f"{number}-{target}.png", target, f"p{number // 3}", present, "ct"))
    with (root / "index.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    return root


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of encodings for all runs."""
    return tmp_path_factory.mktemp("features")


def command(data: Path, run: Path, features: Path, *how: str) -> list[str]:
    train = ["-m", "medclipsam", "train", "embedded", str(data), "-o", str(run), *FEW_STEPS]
    return [sys.executable, *how, *train, "--set", f"features={features}"]


def train(*arguments: object) -> None:
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True)


def stop_after(steps: int, log: Path, arguments: list[str], how: int = signal.SIGKILL) -> None:
    victim = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not log.is_file() or log.read_text().count('"train"') < steps:
        assert victim.poll() is None, victim.communicate()
        time.sleep(0.02)
    victim.send_signal(how)
    victim.communicate()


def losses(run: Path, part: str = "tower") -> list[float]:
    lines = map(json.loads, (run / "training" / part / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.fixture(scope="module")
def whole(data: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(*command(data, run, features))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("part", ["tower", "pixels"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(data, features, whole, tmp_path, part):
    again = command(data, tmp_path / "run", features)
    stop_after(7, tmp_path / "run" / "training" / part / "log.jsonl", again)
    assert not (tmp_path / "run" / "compact.safetensors").exists()
    train(*again, "--resume")
    assert losses(tmp_path / "run") == losses(whole)
    assert losses(tmp_path / "run", "pixels") == losses(whole, "pixels")
    for name in ("compact.safetensors", "figures.json"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_are_resumed_to_the_same_bits(data, features, whole, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train(*command(data, tmp_path / "shared", features, *launcher))
    for part in ("tower", "pixels"):
        assert losses(tmp_path / "shared", part) == pytest.approx(losses(whole, part), rel=0.02)
    stopped = command(data, tmp_path / "stopped", features, *launcher)
    log = tmp_path / "stopped" / "training" / "tower" / "log.jsonl"
    stop_after(7, log, stopped, signal.SIGTERM)  # the launcher ends its processes
    train(*stopped, "--resume")
    files = [tmp_path / name / "compact.safetensors" for name in ("shared", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_run_is_what_weights_takes_and_its_settings_make_it_again(whole, data, tmp_path):
    config = tomllib.loads((whole / "config.toml").read_text())
    assert (config["steps"], config["optimizer"], config["ema"]) == (20, "muon", 0.995)
    tower = load_tower(whole / "compact.safetensors")
    assert len(tower.known) > 100
    asked = ["segment", data / "1.png", "-p", "disc", "--weights", whole, "--device", "cpu", "-o", tmp_path / "out"]
    answer = typed(*asked, "--json")
    assert answer.exit_code == 0, answer.output
    figures = json.loads((whole / "figures.json").read_text())
    assert set(figures["dice_by_group"]) == {"data: disc", "data: square"}
    assert [(each.target, each.images) for each in read_targets(whole / "targets.json")] == [
        ("disc", ("data",)),
        ("square", ("data",)),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "index.csv"),
        ("image,mask,target\n", "no rows"),
        ("image,target\na.png,disc\n", "no column mask"),
        ("image,mask,target,split\na.png,b.png,disc,dev0\n", "'dev0' is no split"),
        ("image,mask,target,split\na.png,b.png,disc,val\n", "no training image"),
    ],
)
def test_data_that_cannot_be_used_are_told_in_one_line_and_nothing_is_written(tmp_path, content, message):
    (tmp_path / "data").mkdir()
    if content is not None:
        (tmp_path / "data" / "index.csv").write_text(content)
    told = typed("train", "embedded", tmp_path / "data", "-o", tmp_path / "run")
    assert told.exit_code == 2, told.output
    assert message in told.stderr and len(told.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_no_step_of_the_tower_needs_weights_to_leave_as_they_are(data, tmp_path):
    told = typed("train", "embedded", data, "-o", tmp_path / "run", "--set", "steps=0", "--device", "cpu")
    assert told.exit_code == 2
    assert "steps 0 leaves the tower of the weights as it is; name them with --set weights=" in told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_of_no_steps_keeps_the_networks_of_its_weights(data, features, whole, tmp_path):
    how = ["--set", f"weights={whole}", "--set", "steps=0", "--set", "pixel_steps=0"]
    train(*command(data, tmp_path / "run", features), *how)
    before, after = (load_tower(run / "compact.safetensors").state_dict() for run in (whole, tmp_path / "run"))
    kept = [name for name in before if not name.startswith(("presence.", "level.", "dense_bias"))]
    assert "pixels.unet.down.0.0.weight" in kept
    assert [name for name in kept if not torch.allclose(before[name], after[name], atol=1e-3)] == []


@pytest.mark.slow
def test_the_pixel_network_of_weights_goes_on_and_is_resumed_to_the_same_bits(data, features, whole, tmp_path):
    how = ["--set", f"weights={whole}", "--set", "steps=0", "--set", "series=1"]
    plain, stopped = (command(data, tmp_path / name, features) for name in ("plain", "stopped"))
    train(*plain, *how)
    begun = json.loads((tmp_path / "plain" / "training" / "pixels" / "run.json").read_text())["same"]
    assert begun["seed"] == json.loads((whole / "training" / "pixels" / "run.json").read_text())["same"]["seed"] + 1
    assert losses(tmp_path / "plain", "pixels")[0] < losses(whole, "pixels")[0], "it does not begin anew"
    stop_after(7, tmp_path / "stopped" / "training" / "pixels" / "log.jsonl", [*stopped, *how])
    train(*stopped, *how, "--resume")
    files = [tmp_path / name / "compact.safetensors" for name in ("plain", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
    text = [load_tower(run / "compact.safetensors").text[0].weight for run in (whole, tmp_path / "plain")]
    assert torch.equal(*text), "the tower stays"
