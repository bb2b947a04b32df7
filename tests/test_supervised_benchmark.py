"""The harness of the supervised methods asks what it says, keeps it, and counts hand-made cases as one does by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import corruptions
import numpy as np
import pytest
import supervised_cases as data
import supervised_runs as runs
import supervised_scores as scores
import supervised_tables as tables
import torch
from PIL import Image

from medclipsam.types import BoolArray, MedImage, Segmentation, Uncertainty

IMAGES = {"a": "train", "b": "train", "c": "val", "d": "test", "e": "test", "f": "test"}
SENTENCES = {name: f"one polyp number {place}" for place, name in enumerate(IMAGES)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images of 20 x 10 pixels; a polyp of 4 x 2 at the top left of each but `f`."""
    rows, sheet = [], []
    for name, split in IMAGES.items():
        mask = np.zeros((10, 20), np.uint8)
        mask[:2, :4] = 255 * (name != "f")
        Image.fromarray(mask // 2 + 40).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        row = {"dataset": "clinic", "target": "polyp", "image": f"{name}.png", "mask": f"{name}_mask.png"}
        rows.append({**row, "split": split, "group": name, "present": int(name != "f"), "text": SENTENCES[name]})
        sheet += [
            {"split": split, "design": "original", "share": 100, "text": SENTENCES[name], "image": f"{name}.png"},
            {"split": split, "design": "contradictory", "share": 100, "text": f"no {name}", "image": f"{name}.png"},
        ]
    sheet.append({"split": "train", "design": "share", "share": 50, "text": "", "image": "b.png"})
    sheet.append({"split": "train", "design": "share", "share": 10, "text": "", "image": "a.png"})
    runs.write_table(tmp_path / "index.csv", rows)
    runs.write_table(tmp_path / "prompts_medclipseg.csv", [{"dataset": "clinic", **row} for row in sheet])
    return tmp_path


def cases_of(root: Path, *splits: str) -> list[data.Case]:
    return data.read_cases(root, "clinic", splits)


def test_shares_are_the_authors_lists_and_smaller_ones_lie_in_them(root: Path) -> None:
    cases, sheet = cases_of(root, "train", "val"), data.read_sheet(root, "clinic")

    def names(share: int) -> list[str]:
        return [case.name for case in data.shared(cases, sheet, share, seed=0) if case.split == "train"]

    assert names(100) == ["a.png", "b.png"]
    assert names(50) == ["b.png"]
    assert names(1) == names(10) == ["a.png"]
    with pytest.raises(ValueError, match="no list of 30"):
        names(30)


def test_smaller_drawn_shares_lie_in_larger_ones(root: Path) -> None:
    cases = [replace(cases_of(root, "train")[0], image=f"{number}.png") for number in range(40)]
    sheet = data.Sheet(designs={}, shares={})
    few, many = ({case.name for case in data.shared(cases, sheet, share, seed=3)} for share in (10, 25))
    assert len(few) == 4
    assert len(many) == 10
    assert few < many


def test_every_design_asks_what_its_name_says(root: Path) -> None:
    cases, sheet = cases_of(root, "test"), data.read_sheet(root, "clinic")

    def asked(design: str) -> list[str]:
        return data.texts(root, cases, sheet, design)

    assert asked("original") == [SENTENCES[name] for name in "def"]
    assert asked("contradictory") == ["no d", "no e", "no f"]
    assert asked("short") == ["polyp"] * 3
    assert asked("empty") == ["."] * 3
    assert asked("located")[0] == "one polyp, located in top left of the image"
    assert asked("located")[2] == SENTENCES["f"], "an absent target has no place"
    with pytest.raises(ValueError, match="underdescriptive"):
        asked("underdescriptive")


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_sentences_are_the_same_ones_and_none_is_at_its_own_image(seed: int) -> None:
    own = [str(number) for number in range(7)]
    moved = data.shuffled(own, seed)
    assert sorted(moved) == own
    assert all(here != there for here, there in zip(own, moved, strict=True))


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [
        ((0, 2), (0, 4), "top left"),
        ((4, 6), (8, 12), "center"),
        ((8, 10), (8, 12), "bottom"),
        ((4, 6), (16, 20), "right"),
    ],
)
def test_a_place_is_one_of_nine(rows: tuple[int, int], columns: tuple[int, int], place: str) -> None:
    mask = np.zeros((10, 20), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert data.place_of(mask) == place


def test_training_tables_hold_the_text_that_was_asked_for_and_no_test_image(root: Path) -> None:
    cases = cases_of(root, "train", "val")

    def said(text: str) -> list[str]:
        return [row["text"] for row in data.training_rows(root, cases, text, seed=0)]

    assert said("sentences") == [SENTENCES[name] for name in "abc"]
    assert said("short") == ["polyp"] * 3
    assert said("both") == said("sentences") + said("short")
    assert said("shuffled") == [SENTENCES[name] for name in "bac"], "within a split, of which val has one image"
    assert {row["split"] for row in data.training_rows(root, cases, "both", seed=0)} == {"train", "val"}
    assert all(Path(row["image"]).is_file() for row in data.training_rows(root, cases, "both", seed=0))


class LeftHalf:
    """Finds the left half of the polyp in each image, and is unsure by a quarter of a bit there."""

    asked: list[str]

    def __init__(self) -> None:
        self.asked = []

    def segment(self, image: MedImage, text: str) -> Segmentation:
        self.asked.append(text)
        height, width = image.size
        mask = np.zeros(image.size, bool)
        mask[: height // 5, : width // 10] = image.pixels.max() > 0.2
        unsure = np.where(mask, 0.25, 0.0).astype(np.float32)
        return Segmentation(
            prompt=text,
            mask=mask,
            probability=mask.astype(np.float32),
            found=bool(mask.any()),
            uncertainty=Uncertainty(entropy=unsure, information=unsure / 2),
        )


def scored(root: Path, work: Path, **changed: object) -> tuple[scores.Scored, LeftHalf]:
    method = LeftHalf()
    training = runs.Training(method="left-half", dataset="clinic")
    question = replace(scores.Question(dataset="clinic", design="original"), **changed)
    (found,) = scores.ask(scores.Lazy(lambda: method), training, [question], root, work)
    return found, method


def test_a_case_is_scored_by_hand_computed_figures(root: Path, tmp_path: Path) -> None:
    found, method = scored(root, tmp_path / "work")
    first, _, absent = found.cases
    assert method.asked == [SENTENCES[name] for name in "def"]
    assert first.dice == pytest.approx(2 * 4 / (4 + 8))
    assert (first.overlap_px, first.predicted_px, first.reference_px) == (4, 4, 8)
    assert (first.entropy, first.information) == (0.25, 0.125)
    assert (absent.present, absent.found, absent.dice, absent.entropy) == (False, False, 1.0, None)


def test_scores_are_kept_and_asked_once(root: Path, tmp_path: Path) -> None:
    first, _ = scored(root, tmp_path / "work")
    again, method = scored(root, tmp_path / "work")
    assert again == first
    assert method.asked == []
    assert tables.read_all(tmp_path / "work") == [first]


def test_all_questions_about_an_image_follow_each_other(root: Path, tmp_path: Path) -> None:
    method, training = LeftHalf(), runs.Training(method="left-half", dataset="clinic")
    asked = [scores.Question(dataset="clinic", design=design) for design in ("original", "short")]
    found = scores.ask(scores.Lazy(lambda: method), training, asked, root, tmp_path / "work")
    assert method.asked == [SENTENCES["d"], "polyp", SENTENCES["e"], "polyp", SENTENCES["f"], "polyp"]
    assert [each.question.design for each in found] == ["original", "short"]
    assert [case.text for case in found[1].cases] == ["polyp"] * 3


def test_a_degraded_image_is_scored_on_the_grid_of_the_original(root: Path, tmp_path: Path) -> None:
    found, _ = scored(root, tmp_path / "work", corruption=("gamma", 0))
    assert found.cases[0].dice == pytest.approx(2 * 4 / (4 + 8))


def row_of(root: Path, work: Path) -> tables.Row:
    (row,) = tables.rows_of([scored(root, work)[0]])
    return row


def test_the_main_table_has_mean_and_pooled_dice_and_both_found_rates(root: Path, tmp_path: Path) -> None:
    row = row_of(root, tmp_path / "work")
    facts = {row.training.name: {"parameters": 1234, "seconds": 60.4}}
    cells = [cell.strip() for cell in tables.main_table([row], facts).splitlines()[2].split("|")]
    assert cells[1:6] == ["clinic", "left-half", "0", "1,234", "60"]
    assert cells[6].startswith(f"{(2 / 3 + 2 / 3 + 1) / 3:.3f} (")
    assert cells[7].startswith("0.667 (")
    assert cells[8] == f"{2 * 8 / (8 + 16):.3f}"
    assert cells[11:13] == ["100%", "0%"]


def test_seeds_are_put_together_image_by_image(root: Path, tmp_path: Path) -> None:
    found, _ = scored(root, tmp_path / "work")
    other = replace(
        found,
        training=replace(found.training, seed=1),
        cases=tuple(replace(case, dice=0.0) for case in found.cases),
    )
    (row,) = tables.rows_of([found, other])
    assert row.numbers == "0, 1"
    assert row.values(lambda case: case.dice) == pytest.approx([1 / 3, 1 / 3, 1 / 2])


def test_a_method_is_compared_with_the_unet_on_the_same_images(root: Path, tmp_path: Path) -> None:
    found, _ = scored(root, tmp_path / "work")
    unet = replace(
        found,
        training=replace(found.training, method="unet", text="short"),
        question=replace(found.question, design="short"),
        cases=tuple(replace(case, dice=case.dice - 0.1) for case in found.cases),
    )
    table = tables.main_table(tables.rows_of([found, unet]), {})
    assert "| +0.100 (+0.100 to +0.100) |" in table


def test_a_training_that_is_kept_is_not_done_again_and_not_mistaken_for_another(root: Path, tmp_path: Path) -> None:
    training = runs.Training(method="unet", dataset="clinic")
    kept = tmp_path / "work" / "runs" / f"{training.name}.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps(asdict(training)))
    assert runs.trained(training, root, tmp_path / "work") == kept.with_suffix("")
    with pytest.raises(ValueError, match="another --variant"):
        runs.trained(replace(training, settings=("epochs=1",)), root, tmp_path / "work")


def test_a_blur_keeps_the_mean_and_a_line_of_three_is_a_third_each() -> None:
    assert corruptions.line_kernel(3, 0.0)[1] == pytest.approx([1 / 3] * 3)
    assert corruptions.line_kernel(9, 30.0).sum() == pytest.approx(1)


def test_fewer_photons_give_more_noise_and_its_variance_is_that_of_counting() -> None:
    grey = np.full((100, 100, 3), 0.3, np.float32)
    noisy = corruptions.degrade(grey, "low-dose", 120, np.random.default_rng(0))
    assert noisy.var() == pytest.approx(0.3 / 120, rel=0.1)
    assert (noisy[..., 0] == noisy[..., 2]).all(), "one field for the three channels"


def test_gamma_two_squares() -> None:
    grey = np.full((4, 4, 3), 0.5, np.float32)
    assert corruptions.degrade(grey, "gamma", 2.0, np.random.default_rng(0)) == pytest.approx(0.25)


def test_a_corruption_is_the_same_each_time_and_another_for_another_image() -> None:
    pixels = np.random.default_rng(0).random((64, 32, 3), np.float32)
    image = MedImage(pixels=pixels, name="one")
    first, again = (corruptions.corrupted(image, "low-dose", 2).pixels for _ in range(2))
    assert first.shape == (224, 112, 3)
    assert (first == again).all()
    assert (first != corruptions.corrupted(replace(image, name="other"), "low-dose", 2).pixels).any()


def test_a_mask_is_laid_back_on_the_original() -> None:
    mask: BoolArray = np.array([[True, False], [False, False]])
    assert corruptions.laid_back(mask, (4, 4)).astype(int).tolist() == [[1, 1, 0, 0]] * 2 + [[0] * 4] * 2


def test_the_training_table_is_a_csv_of_the_trainer(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    runs.write_table(path, data.training_rows(root, cases_of(root, "train"), "short", seed=0))
    with path.open(newline="") as file:
        assert next(csv.reader(file)) == ["image", "mask", "target", "text", "split", "group", "present", "dataset"]


class Frozen(torch.nn.Module):
    """A network whose frozen part doubles, and counts how often."""

    encoding = "doubled"
    times = 0

    def encode(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.times += 1
        return {"twice": pixels * 2}


def test_a_test_image_is_encoded_once_for_all_runs_on_the_same_towers(tmp_path: Path) -> None:
    ones, networks = torch.ones(1, 3, 4, 4), [Frozen(), Frozen()]
    for network in networks:
        holder = runs.encoding_once(SimpleNamespace(_network=network), tmp_path)
        assert (holder._network.encode(ones)["twice"] == 2).all()
    assert [network.times for network in networks] == [1, 0]
    networks[1].encode(ones * 3)
    assert networks[1].times == 1
