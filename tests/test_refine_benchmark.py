"""The program that measures refinement: which scans it takes, students beside their teacher, and its tables."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import refine as program
from bright import BrightSegmenter
from PIL import Image

import medclipsam
from medclipsam.methods.contract import MethodInfo
from medclipsam.weights.targets import TARGETS, Target, to_text

DATASET, PROMPT = "other_polyp_etis", "polyp"


class Teacher(BrightSegmenter):
    """Finds what is bright, and has the weights that a table names."""

    @property
    def info(self) -> MethodInfo:
        """See the contract."""
        return replace(super().info, weights={"compact": "0123456789"})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four scans of 40 x 20 with a bright square; the reference is twice as wide in two, and empty in the last."""
    root, rows = tmp_path / "data", []
    root.mkdir()
    for number, split in enumerate(("train", "train", "test", "test")):
        pixels, mask = np.full((20, 40), 30 + number, np.uint8), np.zeros((20, 40), np.uint8)
        pixels[5:15, 10:20], mask[5:15, 10 : 30 if number < 2 else 20] = 200, 255 * (number < 3)
        Image.fromarray(pixels).save(root / f"{number}.png")
        Image.fromarray(mask).save(root / f"{number}-mask.png")
        rows.append((DATASET, PROMPT, f"{number}.png", f"{number}-mask.png", split))
    with (root / "index.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("dataset", "target", "image", "mask", "split"), *rows])
    return root


def asked(data: Path, out: Path, **more: object) -> argparse.Namespace:
    """What the command line would say."""
    given = {"left_out": True, "dataset": DATASET, "prompt": PROMPT, "weights": None, "backends": ["embedded", "unet"]}
    given |= {"train": 0, "test": 0, "seeds": [0, 1], "ignore_band": 0.2, "label_only": False}
    return argparse.Namespace(data=data, out=out, **(given | more))


def test_a_left_out_source_is_learned_from_and_scored_whole(data, tmp_path):
    (study,) = program.studies_of(asked(data, tmp_path))
    assert (study.learn, study.score) == (program.EVERY, program.EVERY)
    assert len(program.read_scans(data, DATASET, PROMPT, program.EVERY, 0)) == 4
    assert len(program.read_scans(data, DATASET, PROMPT, "test", 0)) == 2
    assert len(program.read_scans(data, DATASET, PROMPT, program.EVERY, 3)) == 3
    assert len(program.studies_of(asked(data, tmp_path, dataset="breast_us_busi"))) == len(program.LEFT_OUT)


def test_students_are_scored_beside_their_teacher_image_by_image(data, tmp_path, monkeypatch):
    trained = []

    def train(backend, part, run, seed, chosen):
        trained.append((backend, seed, run))
        kept = {"kept": ("student", "teacher")[seed]} if backend == "embedded" else {}
        return 60.0 * (seed + 1), {"pictures": len(part.scans), **kept}

    def loaded(choice, **how):
        return Teacher()

    monkeypatch.setattr(program, "train", train)
    monkeypatch.setattr(medclipsam, "load", loaded)
    chosen = asked(data, tmp_path / "out")
    studies = [program.measure(study, tmp_path / "work", chosen) for study in program.studies_of(chosen)]
    program.write(studies, chosen)
    assert [(backend, seed) for backend, seed, _ in trained] == [
        ("embedded", 0),
        ("embedded", 1),
        ("unet", 0),
        ("unet", 1),
    ]
    assert len({run for *_, run in trained}) == 4
    figures = studies[0]["figures"]
    assert figures["teacher"]["dice"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert (figures["teacher"]["absent"], figures["teacher"]["empty"]) == (1, 0)
    assert figures["unet, seed 1"]["difference"] == 0
    record = json.loads((tmp_path / "out" / "refine-left-out.json").read_text())
    assert record[0]["outcomes"]["embedded"][1]["seconds"] == 120
    text = (tmp_path / "out" / "refine-left-out.md").read_text()
    assert "weights compact 01234567" in text
    assert "| embedded | +0.000 | +0.000 (`other_polyp_etis`) | 2.0 | 1 of 2 |" in text


def test_a_table_says_whether_the_teacher_saw_the_source(tmp_path):
    table = [Target(target="polyp", images=("other polyp etis", "polyp kvasir"))]
    assert program.taught_on(DATASET, tmp_path) is None
    (tmp_path / TARGETS).write_text(to_text(table))
    assert program.taught_on(DATASET, tmp_path) is True
    assert program.taught_on("other_skin_ph2", tmp_path) is False
    assert program.taught_on("breast_us_busi", None) is True


def test_the_summary_names_the_source_that_gains_least():
    def study(dataset: str, gain: float) -> dict[str, object]:
        figures = {"unet, mean of the seeds": {"difference": gain}}
        return {
            "study": {"dataset": dataset},
            "figures": figures,
            "outcomes": {"unet": [{"seconds": 30.0, "told": {}}]},
        }

    text = program.gains([study("a", 0.05), study("b", -0.02), study("c", 0.03)], ["unet"])
    assert "| unet | +0.020 | -0.020 (`b`) | 0.5 | - |" in text


@pytest.mark.parametrize("backend", program.SHORT)
def test_what_a_backend_is_given_are_settings_that_it_has(backend):
    method = program.find_method(f"refine-{backend}")
    parts = program.changed(
        method.defaults(), {"images": "scans", "prompt": PROMPT, "seed": 1, **program.SHORT[backend]}
    )
    assert parts["recipe"].seed == 1
