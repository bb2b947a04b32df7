"""`medclipsam finetune` from the outside: a table in, a folder out that encodes, errors in one line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typed import typed
from typer.testing import Result

from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.weights import digest

ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP with one block a tower and random weights."""
    from medclipsam.backbones import architecture
    from medclipsam.training.checkpoint import save_weights

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(folder / "model.safetensors", architecture.build(folder).state_dict())
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve images of six cases, and a row without its image."""
    (tmp_path / "scans").mkdir()
    rows = [("picture", "caption", "case")]
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 255, (20, 24), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "scans" / f"{number}.png")
        rows.append((f"{number}.png", f"Axial image of case number {number}", f"case{number // 2}"))
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*rows, ("12.png", "An image that is not there", "case6")])
    return tmp_path / "captions.csv"


def run(*arguments: object) -> Result:
    return typed("finetune", *arguments)


def settings(table: Path, model: Path) -> list[object]:
    images = ["--images", table.parent / "scans", "--set", "image_column=picture"]
    return [table, *images, "--weights", model, "--device", "cpu", "--epochs", 1, "--batch-size", 4, "--lr", 1e-3]


def test_a_run_ends_with_figures_and_a_folder_that_encodes(table, model, tmp_path):
    from medclipsam.backbones.clip import load_clip

    result = run(*settings(table, model), "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "2 steps on 12 pairs, 1 rows skipped" in result.output
    assert "image to text top-1:" in result.output
    assert f"--weights {tmp_path / 'run'}" in result.output
    assert RESEARCH_USE_ONLY in result.output
    trained = load_clip(tmp_path / "run").encode_text(["a mass"])
    assert not torch.equal(trained, load_clip(model).encode_text(["a mass"]))
    assert "captions.csv:14,image not found" in (tmp_path / "run" / "skipped.csv").read_text()
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (config["learning_rate"], config["batch_size"], config["temperature"]) == (1e-3, 4, 0.6)
    assert config["image_column"] == "picture"


def test_resume_and_json(table, model, tmp_path):
    first = run(*settings(table, model), "-o", tmp_path / "run", "--json")
    again = run(*settings(table, model), "-o", tmp_path / "run", "--json")
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    resumed = run(*settings(table, model), "-o", tmp_path / "run", "--json", "--resume")
    assert resumed.exit_code == 0, resumed.output
    outcomes = [json.loads(result.stdout) for result in (first, resumed)]
    assert outcomes[0]["best"] == outcomes[1]["best"]
    assert outcomes[1]["loss"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loss", "triplet"], "dhn-nce"),
        (["--set", "precision=int4"], "bf16"),
        (["--recipe", "mine"], "released"),
        (["--preset", "embedded"], "finetune --preset embedded"),
        (["--preset", "nothing"], "embedded"),
        (["--set", "temperature=0"], "temperature"),
        (["--batch-size", "1"], "batch_size 1"),
        (["--set", "freeze_image_blocks=9"], "tower with 1"),
        (["--set", "group_column=person"], "'person'"),
        (["--val-share", "2"], "share"),
        (["--weights", "nowhere.safetensors"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_writes_nothing(table, model, tmp_path, arguments, message):
    result = run(*settings(table, model), "-o", tmp_path / "run", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_embedded_model_is_fine_tuned_and_segments_with_the_same_map(table, tmp_path):
    rows = table.read_text().splitlines()
    (tmp_path / "four.csv").write_text("\n".join([*rows[:3], *rows[5:7]]))
    arguments = [tmp_path / "four.csv", "--images", table.parent / "scans", "--set", "image_column=picture"]
    arguments += ["--preset", "embedded", "--device", "cpu", "--epochs", 2, "--batch-size", 2, "--val-share", "0.5"]
    result = run(*arguments, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["same"]["keep_map"]
    masks, towers = [], []
    asked = ["segment", str(table.parent / "scans" / "0.png"), "-p", "lung", "--always", "--device", "cpu", "--json"]
    for name, weights in (("preset", []), ("own", ["--weights", str(tmp_path / "run")])):
        answer = typed(*asked, *weights, "-o", tmp_path / name)
        assert answer.exit_code == 0, answer.output
        report = json.loads(answer.stdout)
        towers.append(report["weights"]["compact"])
        masks.append((tmp_path / name / report["images"][0]["results"][0]["files"]["mask"]).read_bytes())
    assert towers[0] != towers[1] == digest(tmp_path / "run" / "compact.safetensors")
    assert masks[0] == masks[1]


def test_a_person_follows_the_loss_and_the_rate():
    from medclipsam.training.journal import follow

    told = []
    observe = follow(lambda *shown: told.append(shown))
    figures = {"loss": 0.8412, "learning_rate": 8.1e-7, "examples_per_second": 41.3}
    observe({"kind": "train", "step": 3, "steps": 10, "epoch": 1.5, **figures})
    observe({"kind": "validation", "step": 3, "steps": 10, "top1": 0.5})
    assert told == [("epoch 1  loss 0.841  rate 8.1e-07  41 examples/s", 3, 10)]


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does_and_tells_once(table, model, tmp_path):
    arguments = ["finetune", *map(str, settings(table, model)), "--epochs", "2", "--set", "tensorboard=true", "-o"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    outputs = {}
    for name, how in (("alone", []), ("shared", launcher)):
        command = [sys.executable, *how, "-m", "medclipsam", *arguments, str(tmp_path / name)]
        outputs[name] = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert all(output.count(RESEARCH_USE_ONLY) == 1 for output in outputs.values())
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in outputs]
    losses = [[entry["loss"] for entry in map(json.loads, log) if entry["kind"] == "train"] for log in logs]
    assert len(losses[0]) == len(losses[1]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert list((tmp_path / "shared" / "tensorboard").glob("events.*"))


@pytest.mark.slow
def test_a_process_that_is_killed_is_resumed_to_the_same_bits(table, model, tmp_path):
    command = [
        sys.executable,
        "-m",
        "medclipsam",
        "finetune",
        *map(str, settings(table, model)),
        "--set",
        "save_every=2",
    ]
    command += ["--epochs", "15", "--set", "crop_scale=0.8"]
    log = tmp_path / "killed" / "log.jsonl"
    victim = subprocess.Popen([*command, "-o", tmp_path / "killed"], stdout=subprocess.PIPE)
    while not log.is_file() or log.read_text().count('"train"') < 3:
        assert victim.poll() is None
        time.sleep(0.01)
    victim.kill()
    victim.communicate()
    assert '"step": 30,' not in log.read_text()
    subprocess.run([*command, "-o", tmp_path / "killed", "--resume"], check=True, capture_output=True)
    subprocess.run([*command, "-o", tmp_path / "whole"], check=True, capture_output=True)
    files = [next((tmp_path / name / "checkpoints").glob("*/*model.safetensors")) for name in ("killed", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_is_repeated_from_its_own_settings_by_the_one_command_for_all_methods(table, model, tmp_path):
    asked = [*settings(table, model), "--set", "temperature=0.4", "--json"]
    first = run(*asked, "-o", tmp_path / "first")
    config = tmp_path / "first" / "config.toml"
    again = typed("train", "clip", table, "-o", tmp_path / "again", "--config", config, "--device", "cpu", "--json")
    assert again.exit_code == 0, again.output
    outcomes = [json.loads(result.stdout) | {"folder": ""} for result in (first, again)]
    assert outcomes[0] == outcomes[1]
    assert (tmp_path / "again" / "config.toml").read_text() == config.read_text()
    assert tomllib.loads(config.read_text())["temperature"] == 0.4
