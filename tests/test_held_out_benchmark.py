"""Sources that share a target are left out in turn, asked about what others taught, and kept to one setting."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import held_out as program
import pytest
import torch

from medclipsam.errors import BadInput
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.calibration import Judged
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.recipes import EmbeddedRecipe
from medclipsam.training.registry import find_method
from medclipsam.training.settings import changed
from medclipsam.weights.targets import TARGETS, Target, to_text

CORPUS = Corpus.read()


def image(
    folder: str, *targets: str, split: str = "train", missing: tuple[str, ...] = (), name: str = "a"
) -> LabelledImage:
    return LabelledImage(image=name, folder=folder, split=split, targets=targets, missing=missing)


def judged(shown: bool, presence: float, covered: int, folder: str = "other_chest_ct") -> Judged:
    """Of 64 x 64 cells the first two rows are true; as many cells as told are marked."""
    logits, truth = torch.full((64, 64), -1.0), torch.zeros(64, 64, dtype=torch.bool)
    truth[:2] = True
    logits.view(-1)[:covered] = 1.0
    return Judged(
        group=f"{folder}: lungs",
        image="a",
        present=shown,
        missing=False,
        presence=presence,
        evidence=torch.zeros(3),
        logits=logits if shown else None,
        truth=truth if shown else None,
    )


def test_a_source_is_a_fold_where_others_teach_one_of_its_targets() -> None:
    images = [
        image("lung_ct_covid20", "lungs", "covid-19 infection"),
        image("other_chest_ct", "lungs", split="val"),
        image("polyp_kvasir", "polyp"),
        image("other_polyp_etis", "polyp", missing=("polyp",)),
        image("a folder that the corpus does not name", "polyp"),
    ]
    assert program.sources(images, CORPUS) == {"other_chest_ct": ("lungs",)}
    taught = [*images, image("other_chest_ct", "lungs")]
    assert program.sources(taught, CORPUS) == {"lung_ct_covid20": ("lungs",), "other_chest_ct": ("lungs",)}


def test_test_images_of_a_stranger_are_not_asked() -> None:
    images = [image("a", "lungs", split=split, name=split) for split in ("test", "train", "val")] + [
        image("b", "lungs")
    ]
    assert [each.image for each in program.strangers(images, "a", 0)] == ["train", "val"]


def test_what_the_first_weights_learned_from_is_no_stranger(tmp_path: Path) -> None:
    known = {"lung_ct_covid20": ("lungs",), "other_chest_ct": ("lungs",)}
    weights = tmp_path / "compact.safetensors"
    assert program.unseen(known, "") == known
    with pytest.raises(BadInput, match="does not say what it learned from"):
        program.unseen(known, str(weights))
    (tmp_path / TARGETS).write_text(to_text([Target(target="lungs", images=("lung ct covid20",))]))
    assert program.unseen(known, str(weights)) == {"other_chest_ct": ("lungs",)}


def test_a_fold_is_trained_once_and_refuses_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def train(request) -> SimpleNamespace:
        asked.append((request.out.name, request.resume, request.parts["recipe"].leave_out))
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / "config.toml").write_text(request.config)
        (request.out / ("run.json" if len(asked) == 1 else "compact.safetensors")).touch()
        return SimpleNamespace(told=("done",))

    monkeypatch.setattr(program, "find_method", lambda name: SimpleNamespace(train=train))
    parts = find_method("embedded").defaults()
    for _ in range(3):
        program.fold(tmp_path, tmp_path / "runs", "a", parts, "cpu")
    assert asked == [("a", False, ("a",)), ("a", True, ("a",))]
    with pytest.raises(BadInput, match="other settings"):
        program.fold(tmp_path, tmp_path / "runs", "a", changed(parts, {"steps": 7}), "cpu")


def test_scores_are_of_images_that_show_the_target_beside_the_sources_that_were_seen() -> None:
    cases = [judged(True, 2.0, 128), judged(True, -1.0, 64), judged(False, 3.0, 0)]
    (row,) = program.scores(cases, {"a: lungs": 0.9, "b: lungs": 0.7, "a: liver": 0.1})
    assert row == {
        "source": "other_chest_ct",
        "target": "lungs",
        "n": 2,
        "dice": pytest.approx((1 + 2 / 3) / 2),
        "found": 0.5,
        "home": pytest.approx(0.8),
    }


def test_the_number_to_choose_by_counts_sources_alike_and_the_table_names_what_did_not_run() -> None:
    row = {"target": "lungs", "n": 2, "found": 0.5, "home": 0.8}
    rows = [
        {**row, "source": "a", "dice": 0.6},
        {**row, "source": "a", "dice": 0.4},
        {**row, "source": "b", "dice": 0.9},
    ]
    assert program.overall(rows) == pytest.approx(0.7)
    lines = program.table([*rows, {**rows[0], "home": None}], ["c"], EmbeddedRecipe(), "here").splitlines()
    assert "| a | lungs | 2 | 0.600 (50%) | 0.800 | +0.200 |" in lines
    assert "| a | lungs | 2 | 0.600 (50%) | - | - |" in lines
    assert lines[-1] == "Not run: c."


def test_tables_are_written_of_the_folds_that_are_done(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("image,mask,target\n")
    done = tmp_path / "runs" / "a"
    done.mkdir(parents=True)
    row = {"source": "a", "target": "lungs", "n": 2, "dice": 0.5, "found": 1.0, "home": None}
    (done / program.SCORES).write_text(json.dumps([row]))
    program.write(tmp_path / "runs", tmp_path / "out", tmp_path, ["a", "b"], find_method("embedded").defaults())
    record = json.loads((tmp_path / "out" / "held-out.json").read_text())
    assert (record["mean"], record["not_run"], record["rows"]) == (0.5, ["b"], [row])
    assert "Mean over 1 left-out sources: 0.500." in (tmp_path / "out" / "held-out.md").read_text()
