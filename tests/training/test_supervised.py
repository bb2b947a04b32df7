"""Supervised training: what is refused before the first step, what a run leaves, how it resumes to the same bits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_squares import SMALL, drawn, train_small, write_squares, write_table
from PIL import Image

import medclipsam
from medclipsam.errors import BadInput, UserError
from medclipsam.metrics.overlap import dice
from medclipsam.training.registry import Request, Trained, config_of, find_method
from medclipsam.training.settings import changed
from medclipsam.training.supervised.examples import Examples
from medclipsam.training.supervised.recipe import DATA, UNET
from medclipsam.training.supervised.rows import read_labelled
from medclipsam.training.supervised.squares import Squares, strength_of
from medclipsam.training.supervised.validation import Validated, figures_of, presence_threshold
from medclipsam.types import Progress

STRENGTH = strength_of(UNET)


def quiet(stage: str, done: int, total: int) -> None:
    """Hears nothing."""


def train(data: Path, out: Path, *, resume: bool = False, tell: Progress = quiet, **settings: Any) -> Trained:
    torch.set_num_threads(1)
    method = find_method("unet")
    parts = changed(method.defaults(), SMALL["unet"] | settings)
    config = config_of("unet", parts)
    request = Request(data=data, out=out, parts=parts, config=config, device="cpu", resume=resume, tell=tell)
    return method.train(request)


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("many"), train=24, val=9)


@pytest.fixture(scope="module")
def run(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_small(
        "unet", many, tmp_path_factory.mktemp("run") / "unet", epochs=10, learning_rate=0.01, save_every=30
    )


def test_a_u_net_learns_squares(run: Path) -> None:
    segmenter = medclipsam.load(weights=run, device="cpu")
    for number in (60, 61):
        pixels, mask, _ = drawn(number)
        result = segmenter.segment(medclipsam.image_from_array(pixels, name=f"s{number}"), "square")
        assert dice(result.mask, mask) > 0.7


def test_below_the_threshold_of_the_run_nothing_is_found_unless_it_is_asked_for(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    facts = json.loads((run / "network.json").read_text())
    (tmp_path / "run" / "network.json").write_text(json.dumps(facts | {"presence_threshold": 1.0}))
    segmenter = medclipsam.load(weights=tmp_path / "run", device="cpu")
    image = medclipsam.image_from_array(drawn(60)[0], name="s60")
    result = segmenter.segment(image, "square")
    assert (result.found, result.mask.any(), result.reason) == (False, False, "below_threshold")
    assert segmenter.segment(image, "square", always=True).found


def test_a_run_of_another_version_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    facts = json.loads((run / "network.json").read_text())
    for changed_facts, told in (
        (facts | {"schema": 0}, "not of this version"),
        (facts | {"network": {"kind": "oracle"}}, "no network 'oracle'"),
        (facts | {"sha256": "0" * 64}, "not the file that was written"),
    ):
        (tmp_path / "run" / "network.json").write_text(json.dumps(changed_facts))
        with pytest.raises(UserError, match=told):
            medclipsam.load(weights=tmp_path / "run", device="cpu")


def test_a_text_that_it_was_not_taught_or_of_a_whole_page_is_refused(run: Path) -> None:
    segmenter = medclipsam.load(weights=run, device="cpu")
    image = medclipsam.image_from_array(drawn(60)[0], name="s60")
    for text, told in (("circle", "this run learned 'square', not 'circle'"), ("x" * 5000, "5,000 characters")):
        with pytest.raises(BadInput, match=told):
            segmenter.segment(image, text)


def test_a_grey_image_is_refused_where_all_that_was_learned_had_colours(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    facts = json.loads((run / "network.json").read_text())
    assert facts["coloured"] is False
    (tmp_path / "run" / "network.json").write_text(json.dumps(facts | {"coloured": True}))
    segmenter = medclipsam.load(weights=tmp_path / "run", device="cpu")
    with pytest.raises(BadInput, match="is grey"):
        segmenter.segment(medclipsam.image_from_array(drawn(60)[0], name="s60"), "square")


def test_a_run_tells_settings_figures_versions_and_shows_a_picture(run: Path) -> None:
    facts = json.loads((run / "network.json").read_text())
    assert facts["network"]["kind"] == "unet"
    assert {"dice", "found_present", "found_absent"} <= facts["figures"].keys()
    assert facts["learned_from"]["rows"] == 24
    assert "torch" in facts["versions"]
    assert "learning_rate = 0.01" in (run / "config.toml").read_text()
    assert Image.open(run / "val.png").size == (4 * 256, 3 * (256 + 22))


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(squares: Path, tmp_path: Path) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    train(squares, whole)

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("epoch") and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(squares, halved, tell=stop)
    train(squares, halved, resume=True)
    for name in ("network.safetensors", "val.png"):
        assert (whole / name).read_bytes() == (halved / name).read_bytes()


def test_the_progress_line_tells_loss_dice_rate_and_time_left(squares: Path, tmp_path: Path) -> None:
    told: list[str] = []
    train(squares, tmp_path / "run", tell=lambda stage, done, total: told.append(stage))
    assert all(part in told[-1] for part in ("epoch", "loss", "Dice", "rate", "left"))


def row(name: str, split: str = "train", group: str = "", present: str = "1") -> tuple[str, ...]:
    return f"{name}.png", f"{name}_mask.png", "square", "", split, group or name, present


def broken(folder: Path, *names: str) -> None:
    """Images and masks of 8 x 8 pixels with one square each."""
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 255
    for name in names:
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")


def refused(folder: Path, rows: list[tuple[str, ...]]) -> str:
    table = write_table(folder / "t.csv", rows)
    with pytest.raises(BadInput) as caught:
        train(table, folder / "run")
    assert not (folder / "run").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mask_that_is_not_there_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "a", "b")
    (tmp_path / "b_mask.png").unlink()
    assert "1 masks are not there: b_mask.png" in refused(tmp_path, [row("a"), row("b", "val")])


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "a", "b")
    Image.fromarray(np.full((8, 9), 255, np.uint8)).save(tmp_path / "b_mask.png")
    assert "differ in size: 9 x 8 and 8 x 8" in refused(tmp_path, [row("a"), row("b", "val")])


def test_a_mask_of_several_labels_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "a", "b")
    Image.fromarray(np.array([[0, 1, 2, 3]] * 8, np.uint8).repeat(2, axis=1)).save(tmp_path / "b_mask.png")
    assert "holds several labels" in refused(tmp_path, [row("a"), row("b", "val")])


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "a", "b")
    assert "the split val has no rows" in refused(tmp_path, [row("a"), row("b")])


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "a", "b")
    told = refused(tmp_path, [row("a", group="p7"), row("b", "val", group="p7")])
    assert "in two splits: p7 (train and val)" in told


def test_a_mask_that_contradicts_its_row_is_refused(tmp_path: Path) -> None:
    broken(tmp_path, "a", "b")
    told = refused(tmp_path, [row("a"), row("b", "val", present="0")])
    assert "contradict the column present: b_mask.png (not empty)" in told


def test_a_table_without_masks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,text\na.png,a square\n")
    with pytest.raises(BadInput, match="no column mask"):
        train(tmp_path / "t.csv", tmp_path / "run")


def folder_without_table(folder: Path) -> Path:
    write_squares(folder, train=8, val=0).unlink()
    return folder


def test_a_folder_of_images_and_masks_is_data(tmp_path: Path) -> None:
    outcome = train(folder_without_table(tmp_path / "data"), tmp_path / "run", target=["square"], epochs=1).outcome
    assert outcome.rows + round(0.15 * 8) == 8
    assert json.loads((tmp_path / "run" / "network.json").read_text())["targets"] == ["square"]


def test_masks_in_named_folders_and_a_table_of_texts_say_what_is_shown(tmp_path: Path) -> None:
    data = folder_without_table(tmp_path / "data")
    (data / "masks").rename(data / "square")
    (data / "masks").mkdir()
    (data / "square").rename(data / "masks" / "square")
    (data / "texts.csv").write_text("image,text\ns00.png,a square at the right\n")
    rows = read_labelled(data, DATA)
    assert {row.target for row in rows} == {"square"}
    assert [row.text for row in rows[:2]] == ["a square at the right", "square"]


def test_sentences_and_short_names_take_turns_and_validation_asks_with_both(squares: Path) -> None:
    rows = read_labelled(squares, replace(DATA, text="both"))
    assert [row.text for row in rows if row.split == "val"].count("square") == 6
    train = [row for row in rows if row.split == "train"]
    examples = Examples([(row,) for row in train], Squares(32, "squash"), strength=STRENGTH)
    asked = {examples[epoch, 0].rows[0].text for epoch in range(12)}
    assert asked == {"one bright square at the right", "square"}


def test_masks_that_do_not_say_what_they_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="do not say what they show"):
        train(folder_without_table(tmp_path / "data"), tmp_path / "run")


def test_an_image_without_a_mask_in_a_folder_is_refused(tmp_path: Path) -> None:
    (folder_without_table(tmp_path / "data") / "masks" / "s03.png").unlink()
    with pytest.raises(BadInput, match="1 image without a mask: s03"):
        train(tmp_path / "data", tmp_path / "run", target=["square"])


def answers(*pairs: tuple[float, bool]) -> list[Validated]:
    nothing = np.zeros((2, 2))
    return [
        Validated(
            presence=presence,
            present=present,
            dice=0.8 if present else 0.0,
            is_empty=False,
            probability=nothing.astype(np.float32),
            truth=nothing.astype(bool),
        )
        for presence, present in pairs
    ]


def test_the_threshold_lies_between_present_and_absent_rows() -> None:
    rows = answers((0.9, True), (0.7, True), (0.3, False), (0.1, False))
    assert presence_threshold(rows) == pytest.approx(0.5)
    assert figures_of(rows, 0.5) == pytest.approx(
        {"dice": 0.9, "dice_present": 0.8, "found_present": 1, "dice_absent": 1, "found_absent": 0}
    )


def test_without_absent_rows_everything_that_has_a_mask_is_found() -> None:
    assert presence_threshold(answers((0.4, True), (0.9, True))) == 0
