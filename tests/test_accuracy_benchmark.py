"""The programs that judge the embedded model ask what they say, move masks with the image, and count as by hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import accuracy
import accuracy_cases as cases
import accuracy_tables as tables
import ct_windows
import harmless
import judging
import nibabel
import numpy as np
import pytest
import steadiness
from accuracy_asking import Answer, ask, halves
from PIL import Image

from medclipsam.sides import one_side
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.types import Hints, MedImage
from medclipsam.weights.targets import Figure, Target, known_targets

CORPUS = Corpus.read()


def case(
    dataset: str, name: str, split: str, *shown: str, absent: tuple[str, ...] = (), modality: str = "ct"
) -> cases.Case:
    masks = {target: f"{name}_{target}.png" for target in (*shown, *absent)}
    return cases.Case(
        dataset=dataset, image=name, masks=masks, modality=modality, split=split, absent=frozenset(absent)
    )


def answer(kind: str, dataset: str, target: str, dice: float | None = None, **more: object) -> Answer:
    found = bool(more.pop("found", True))
    plain = Answer(
        kind=kind,  # type: ignore[arg-type]
        dataset=dataset,
        modality="ct",
        image=f"{dataset}1",
        split="test",
        target=target,
        text=target,
        found=found,
        reason="" if found else "absent",
        presence=0.5,
        dice=dice,
        seconds=0.1,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def kinds(planned: list[cases.Case], image: str) -> list[str]:
    return [question.kind for each in planned if each.image == image for question in each.questions]


def plan(every: list[cases.Case], taught: set[str], **limits: int) -> list[cases.Case]:
    return cases.planned(every, CORPUS, taught, cases.Limits(**limits), split="test", seed=0)


def test_each_image_is_asked_once_for_what_it_shows_what_it_lacks_and_what_it_cannot_show() -> None:
    planned = plan(
        [
            case("liver_ct_lits", "a", "test", "liver"),
            case("broad_chd68_ct", "b", "test", "aorta", absent=("myocardium",)),
        ],
        {"liver", "aorta", "myocardium", "polyp"},
        reworded=1,
        wrong=1,
        never=1,
    )
    assert [each.image for each in planned] == ["a", "b"]
    held_out = ["wording"] * 5
    assert kinds(planned, "a") == ["target", *held_out, "wrong body", *["nonsense"] * 2, "never taught"]
    assert kinds(planned, "b") == ["target", *held_out, "absent", "wrong body", *["nonsense"] * 2, "never taught"]
    (wrong,) = [question.text for question in planned[0].questions if question.kind == "wrong body"]
    assert wrong == "polyp"  # an aorta and a heart may lie in a slice of the liver


def test_what_was_only_not_drawn_counts_as_absent_nowhere() -> None:
    planned = plan([case("broad_edd2020", "a", "test", "polyp", absent=("suspicious lesion",))], {"suspicious lesion"})
    assert "absent" not in kinds(planned, "a")


def test_a_target_without_test_images_is_asked_about_on_validation_or_else_training_images() -> None:
    every = [
        case("broad_panther_mr", "v", "val", "pancreatic tumor"),
        case("broad_panther_mr", "t", "train", "pancreatic tumor", "pancreas"),
        case("broad_em_membrane", "e", "train", "cell membrane"),
        case("broad_pancreas_ct_nih", "p", "test", "pancreas"),
    ]
    planned = plan(every, {"pancreatic tumor", "cell membrane", "pancreas"})
    asked = {
        (each.image, question.target) for each in planned for question in each.questions if question.kind == "target"
    }
    assert asked == {("v", "pancreatic tumor"), ("e", "cell membrane"), ("p", "pancreas")}


def test_absent_targets_are_sought_on_validation_images_too_and_never_on_training_images() -> None:
    every = [case("brain_mri_lgg", name, name, absent=("brain tumor",)) for name in ("train", "val", "test")]
    planned = plan(every, {"brain tumor"})
    assert {each.image: kinds(planned, each.image) for each in planned} == {"val": ["absent"], "test": ["absent"]}


def test_a_limit_takes_of_every_target_and_folders_take_turns() -> None:
    many = [case("liver_ct_lits", f"l{number}", "test", "liver") for number in range(9)]
    rare = [case("liver_ct_lits", "rare", "test", "kidney"), case("polyp_kvasir", "p", "test", "polyp")]
    planned = plan([*many, *rare], set(), each=2)
    assert [each.image for each in planned] == ["l0", "p", "l8", "rare"]


def test_the_tasks_of_the_paper_can_be_asked_of_more_images() -> None:
    every = [case("polyp_kvasir", f"p{number}", "test", "polyp") for number in range(9)]
    lung_ct = [case("lung_ct_covid20", f"c{number}", "test", "lungs") for number in range(9)]
    infected = [replace(each, masks={"covid-19 infection": "m"}, image=f"i{each.image}") for each in lung_ct]
    planned = plan([*every, *lung_ct, *infected], set(), each=2, tasks=5)
    assert Counter(each.image[0] for each in planned) == {"p": 2, "c": 5, "i": 2}


@pytest.mark.parametrize("preset", ["embedded", "embedded-open"])
def test_without_weights_of_ones_own_the_targets_are_those_of_the_preset(preset: str, tmp_path: Path) -> None:
    clip = {"embedded": "compact", "embedded-open": "compact-open"}[preset]
    assert accuracy.taught(None, tmp_path, CORPUS, preset) == known_targets(clip)
    assert accuracy.taught(None, tmp_path, CORPUS, "medclip-samv2") == ()


def test_forty_structures_stand_in_no_list_and_name_no_side() -> None:
    names = cases.never_taught()
    known = {concept.target for concept in CORPUS.concepts} | set(CORPUS.untaught) | set(CORPUS.absent)
    known |= {word for concept in CORPUS.concepts for word in (*concept.words, *concept.held_out)}
    assert len(set(names)) == len(names) == 40
    assert not {name.casefold() for name in names} & {name.casefold() for name in known}
    assert not [name for name in names if one_side(name)]


def test_halves_of_a_pair_are_the_patients_and_what_is_joined_tells_nothing() -> None:
    mask = np.zeros((6, 12), bool)
    mask[1:5, 1:4] = mask[1:5, 7:11] = True
    parts = halves(mask)
    assert parts is not None
    assert np.flatnonzero(parts["left"].any(axis=0)).tolist() == [7, 8, 9, 10]
    assert np.flatnonzero(parts["right"].any(axis=0)).tolist() == [1, 2, 3]
    mask[2, 4:7] = True
    assert halves(mask) is None
    assert halves(np.zeros((4, 4), bool)) is None


@dataclass
class Bright:
    """Finds what is white; of a box, all inside it."""

    def segment(self, image: MedImage, text: str, hints: Hints | None = None) -> SimpleNamespace:
        mask = image.pixels[..., 0] > 0.5
        if text.startswith(("left", "right")):
            columns = np.arange(mask.shape[1])[None] > mask.shape[1] / 2
            mask = mask & (columns if text.startswith("left") else ~columns)
        for box in hints.boxes if hints else ():
            mask = np.zeros_like(mask)
            mask[int(box.y0) : int(np.ceil(box.y1)) + 1, int(box.x0) : int(np.ceil(box.x1)) + 1] = True
        mask = mask & (text != "aorta")
        found = bool(mask.any())
        return SimpleNamespace(mask=mask, found=found, reason=None if found else "absent", presence=float(found))


def test_an_image_is_held_against_its_masks(tmp_path: Path) -> None:
    lungs = np.zeros((10, 20), np.uint8)
    lungs[2:8, 2:8] = lungs[2:8, 12:18] = 255
    Image.fromarray(lungs).save(tmp_path / "a.png")
    Image.fromarray(lungs).save(tmp_path / "a_lungs.png")
    Image.fromarray(np.roll(lungs, 3, axis=0)).save(tmp_path / "a_heart.png")
    questions = [
        cases.Question(kind="target", target="lungs", text="lungs"),
        cases.Question(kind="target", target="heart", text="heart"),
        cases.Question(kind="absent", target="aorta", text="aorta"),
        cases.Question(kind="side", target="lungs", text="left lung"),
        cases.Question(kind="whole box", target="lungs", text="lungs"),
    ]
    asked = replace(case("x", "a.png", "test", "lungs", "heart", absent=("aorta",)), questions=tuple(questions))
    asked = replace(asked, masks={"lungs": "a_lungs.png", "heart": "a_heart.png", "aorta": "none.png"})
    found = ask(tmp_path, Bright(), asked)  # type: ignore[arg-type]
    said = [(each.kind, each.text, each.dice, each.reason) for each in found]
    assert said[:5] == [
        ("target", "lungs", 1.0, ""),
        ("target", "heart", 0.5, ""),
        ("absent", "aorta", None, "absent"),
        ("side", "left lung", 1.0, ""),
        ("whole box", "lungs", pytest.approx(2 * 72 / (72 + 200)), ""),
    ]
    assert [(each.kind, each.target, each.text, each.dice) for each in found[5:]] == [
        ("other", "lungs", "heart", 1.0),
        ("other", "heart", "lungs", 0.5),
    ]
    assert tables.steered(found) == [False, False]


@pytest.mark.parametrize("change", ["black border of 15 %", "black octagon", "scale 0.5", "scale 2", "mirror"])
def test_a_mask_moves_with_the_image(change: str) -> None:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 4:40, 10:30] = masks[1, 30:60, 44:80] = True
    pixels = np.repeat(masks.any(axis=0)[..., None], 3, axis=2).astype(np.float32)
    shown, moved = harmless.CHANGES[change](pixels, masks)
    assert moved.shape[1:] == shown.shape[:2]
    assert ((shown[..., 0] > 0.5) == moved.any(axis=0)).all()


def test_a_turned_mask_lies_where_its_image_lies() -> None:
    masks = np.zeros((1, 60, 80), bool)
    masks[0, 10:40, 10:30] = True
    pixels = np.repeat(masks[0][..., None], 3, axis=2).astype(np.float32)
    shown, moved = harmless.CHANGES["turned by 10 degrees"](pixels, masks)
    assert (moved[0] ^ masks[0]).sum() > 50
    assert ((shown[..., 0] > 0.5) ^ moved[0]).sum() < 0.05 * moved.sum()


def test_changes_of_grey_levels_leave_the_masks_and_twelve_change_the_image() -> None:
    pixels = np.random.default_rng(0).uniform(0, 1, (60, 80, 3)).astype(np.float32)
    masks = np.ones((1, 60, 80), bool)
    assert len(harmless.CHANGES) == 12
    for name, change in harmless.CHANGES.items():
        shown, moved = change(pixels, masks)
        assert shown.shape != pixels.shape or (shown != pixels).any(), name
        if name.startswith(("gamma", "window", "inverted", "JPEG", "burned")):
            assert (moved == masks).all()
            assert shown.shape == pixels.shape


def test_a_border_is_15_percent_on_each_side_and_text_stands_in_the_corner() -> None:
    pixels = np.full((100, 200, 3), 0.5, np.float32)
    shown, _ = harmless.border(pixels, np.zeros((1, 100, 200), bool))
    assert shown.shape[:2] == (130, 260)
    shown, _ = harmless.text(pixels, np.zeros((1, 100, 200), bool))
    rows, columns = np.nonzero((shown != pixels).any(axis=2))
    assert rows.max() < 40
    assert columns.min() < 10
    assert columns.max() < 100


def test_falls_are_means_over_folders_and_targets() -> None:
    def row(dataset: str, change: str, plain: float, dice: float) -> steadiness.Row:
        return steadiness.Row(
            dataset=dataset, image="i", target="t", change=change, plain=plain, dice=dice, found=dice > 0
        )

    rows = [row("a", "mirror", 0.9, 0.9), row("b", "mirror", 0.8, 0.6), row("a", "inverted", 0.9, 0.1)]
    found = steadiness.summary(rows)
    assert found["by_change"] == pytest.approx({"inverted": 0.8, "mirror": 0.1})
    assert (found["mean"], found["worst_change"]) == (pytest.approx(0.45), "inverted")
    lines = steadiness.table(rows)
    assert "| mirror | 2 | +0.100 | +0.200 | b: t |" in lines
    assert "| b: t | 1 | 0.800 | - | +0.200 |" in lines


def test_breadth_counts_new_targets_with_enough_images() -> None:
    answers = [
        answer("target", "liver_ct_lits", "liver", 0.9),
        answer("target", "broad_totalseg_ct_ref", "liver", 0.1),
        answer("target", "broad_a", "spleen", 0.8),
        answer("target", "broad_a", "spleen", 0.6, image="second", found=False),
        answer("target", "broad_a", "femur", 0.4),
        answer("target", "broad_a", "rib", 0.9),
        answer("target", "broad_b", "scalp", 0.7, split="train"),
    ]
    training = {"spleen": 12, "femur": 10, "rib": 3, "scalp": 20, "liver": 500}
    found = tables.breadth(answers, training, "test")
    assert found["macro_mean"] == pytest.approx((0.7 + 0.4) / 2)
    assert (found["new_targets"], found["in_the_mean"], found["measured"]) == (4, 2, 3)
    assert (found["above"], found["above_on_any_images"]) == (2, 3)
    assert (found["few_training_images"], found["no_images_of_the_split"]) == (["rib"], ["scalp"])
    lines = tables.breadth_table(answers, training, "test")
    assert "| spleen | yes | 12 | test | 2 | 0.700 | 50% |" in lines
    assert "| liver |  | 500 | test | 1 | 0.100 | 100% |" in lines
    assert "| scalp | yes | 20 | train (learned from) | 1 | 0.700 | 100% |" in lines


def test_home_and_elsewhere_are_means_of_folders() -> None:
    answers = [
        answer("target", "brain_mri_lgg", "brain tumor", 0.6),
        answer("target", "brain_mri_brisc", "brain tumor", 0.8),
        answer("target", "other_brain_mri_brats", "brain tumor", 0.5),
        answer("target", "polyp_kvasir", "polyp", 0.8),
    ]
    assert tables.at_home_and_elsewhere(answers, "test") == {"brain tumor": (pytest.approx(0.7), 0.5)}
    lines = tables.sources_table(answers, {"brain tumor": {"brain_mri_lgg"}}, "test")
    assert "| brain tumor | brain_mri_lgg | ct | yes | 1 | 0.600 (0.600 to 0.600) | 100% |" in lines
    assert "| brain tumor | other_brain_mri_brats | ct | no | 1 | 0.500 (0.500 to 0.500) | 100% |" in lines
    assert "| Brain MRI | 0.700 | 0.500 | +0.200 |" in lines
    assert not [line for line in lines if "polyp" in line]


def test_absence_is_counted_over_pairs_and_its_cost_over_true_targets() -> None:
    answers = [
        answer("absent", "breast_us_busi", "breast tumor", found=False),
        answer("absent", "breast_us_busi", "breast tumor", found=True, split="val"),
        answer("target", "breast_us_busi", "breast tumor", 0.0, found=False),
        answer("target", "polyp_kvasir", "polyp", 0.9),
        answer("target", "broad_a", "rib", 0.0, found=False, split="train"),
    ]
    found = tables.absent(answers)
    assert (found["pairs"], found["pairs_of_validation"], found["not_found"], found["not_found_of_test"]) == (
        2,
        1,
        0.5,
        1,
    )
    assert (found["lost"], found["lost_of_the_same"]) == (0.5, 1.0)


def test_answers_to_what_was_never_taught_are_told_apart() -> None:
    def never(reason: str) -> Answer:
        return answer("never taught", "a", "", text="uvula", found=not reason, reason=reason)

    answers = [never("never_taught"), never("never_taught"), never("absent"), never("no_region"), never("")]
    words = [answer("wording", "a", "liver", 0.0, text="hepar", found=False, reason="never_taught")]
    found = tables.never_taught([*answers, *words])
    assert (found["never_taught"], found["absent"], found["another"], found["found"]) == (0.4, 0.2, 0.2, 0.2)
    assert (found["structures"], found["taught_called_so"]) == (1, 1.0)
    assert "| uvula | 5 | 2 | 1 | 1 | 1 |" in tables.never_taught_table([*answers, *words])


def test_wordings_are_compared_on_the_images_that_were_asked_both() -> None:
    answers = [
        answer("target", "a", "liver", 0.8),
        answer("target", "a", "liver", 0.1, image="not asked again"),
        answer("wording", "a", "liver", 0.8, text="hepar"),
        answer("wording", "a", "liver", 0.6, text="hepatic organ"),
    ]
    found = tables.wordings(answers)
    assert found["mean_move"] == pytest.approx(0.1)
    assert (found["worst_is"], found["worst_wording"]) == ("liver", pytest.approx(0.2))


def test_the_mean_of_the_tasks_needs_all_four() -> None:
    four = [
        answer("target", *keys[0], value)
        for keys, value in zip(tables.PAPER_TASKS.values(), (0.2, 0.4, 0.6, 0.8), strict=True)
    ]
    assert tables.tasks(four)["mean"][0] == pytest.approx(0.5)
    assert "mean" not in tables.tasks(four[:3])


def test_every_table_is_written_even_of_nothing_and_the_json_is_one(tmp_path: Path) -> None:
    facts = dict.fromkeys(("seed", "threads", "machine", "torch", "medclipsam", "weights", "data"), "x")
    facts |= {"preset": "embedded", "split": "test", "done": 0, "planned": 0, "questions": 0, "share": float("nan")}
    answers = [answer("target", "liver_ct_lits", "liver", 0.9), answer("side", "lung_ct_covid20", "lungs", 0.95)]
    for given in ([], answers):
        texts = accuracy.documents(given, facts, {}, {})
        assert len([name for name in texts if name.endswith(".md")]) == 7
        record = json.loads(texts["accuracy-embedded-test.json"], parse_constant=pytest.fail)
        assert len(record["cases"]) == len(given)
        assert record["facts"]["share"] is None
    assert dict(zip(record["columns"], record["cases"][0], strict=True))["dice"] == 0.9


def test_the_figures_of_a_target_are_those_of_home_and_of_elsewhere() -> None:
    answers = [
        answer("target", "brain_mri_lgg", "brain tumor", 0.6),
        answer("target", "other_brain_mri_brats", "brain tumor", 0.5, found=False),
        answer("target", "broad_a", "rib", 0.4),
        answer("target", "broad_a", "scalp", 0.9, split="train"),
    ]
    taught = [Target(target=name, images=()) for name in ("brain tumor", "rib", "scalp")]
    tumor, rib, scalp = accuracy.measured(taught, answers, "test")
    assert (tumor.home, tumor.elsewhere) == (Figure(dice=0.6, found=1.0, n=1), Figure(dice=0.5, found=0.0, n=1))
    assert (rib.home, rib.elsewhere) == (Figure(dice=0.4, found=1.0, n=1), None)
    assert (scalp.home, scalp.elsewhere) == (None, None)


def test_a_run_that_does_not_say_what_it_learned_gets_a_table_of_the_training_images(tmp_path: Path) -> None:
    rows = ["dataset,target,image,mask,split,present"]
    rows += ["liver_ct_lits,liver,a.png,b.png,train,1", "liver_ct_lits,spleen,a.png,c.png,train,0"]
    rows += ["liver_ct_lits,kidney,d.png,e.png,test,1", "elsewhere,polyp,f.png,g.png,train,1"]
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    for name in "abcdefg":
        (tmp_path / f"{name}.png").touch()
    run = tmp_path / "run"
    run.mkdir()
    (found,) = accuracy.taught(run, tmp_path, CORPUS)
    assert (found.target, found.images) == ("liver", ("liver ct lits",))
    assert accuracy.taught(run, tmp_path / "nowhere", CORPUS) == (found,)


def window_row(volume: str, window: str, dice: float, share: float = 0.1, presence: float = 0.5) -> ct_windows.Row:
    return ct_windows.Row(
        volume=volume, index=0, window=window, share=share, dice=dice, found=dice > 0, presence=presence
    )


def test_windows_count_volumes_alike_and_slices_that_show_lungs() -> None:
    rows = [window_row("a", "w", 0.9), window_row("a", "w", 0.7), window_row("b", "w", 0.4), window_row("a", "x", 1.0)]
    rows.append(window_row("b", "w", 0.0, share=0.01))
    assert ct_windows.means(rows) == pytest.approx({"w": 0.6, "x": 1.0})
    assert "| w | 3 | 0.600 | 100% | 0.400 |" in ct_windows.by_window(rows)


def test_auto_is_the_window_of_the_greatest_presence_over_all_slices_of_a_volume() -> None:
    presence = {"file": 0.50, "lung": 0.54, "soft-tissue": 0.30, "-1000 to 0 HU": 0.99, "centre 40, width 400": 0.1}
    rows = [window_row("a", window, 0.8, presence=value) for window, value in presence.items()]
    rows += [window_row("b", window, 0.0, share=0.0, presence=value) for window, value in presence.items()]
    rows += [window_row("b", "lung", 0.0, share=0.0, presence=0.9)]
    table = ct_windows.by_volume(rows)
    assert [line for line in table if "(auto)" in line] == [
        "| a | file (auto) | 0.800 | 0.500 |",
        "| b | lung (auto) | - | 0.720 |",
    ]
    assert "| a | -1000 to 0 HU | 0.800 | 0.990 |" in table


def test_what_the_greatest_presence_would_find_is_counted() -> None:
    row = window_row("a", "file", 0.8)
    rows = [
        replace(row, others={"kidney": (0.4, False), "liver": (0.9, True)}),
        replace(row, window="lung", others={"kidney": (0.7, True), "liver": (0.92, False)}),
        replace(row, window="soft-tissue", others={"kidney": (0.1, False), "liver": (0.2, False)}),
    ]
    table = ct_windows.by_choice(rows)
    assert table[2:] == [
        "| file | 1 |",
        "| lung | 1 |",
        "| soft-tissue | 0 |",
        "| the greatest presence in the volume | 2 |",
    ]


def test_slices_of_a_ct_are_asked_by_every_window(tmp_path: Path) -> None:
    """Lungs at -900 HU in tissue: whatever is dark is lung, but where the picture is inverted."""
    values = np.full((8, 10, 7), 40, np.int16)
    values[:, :, 2:] = np.where(np.indices((8, 10))[1] < 5, -900, 40)[..., None]
    for name, voxels in (("ct", values), ("ct_lungs", (values < 0).astype(np.uint8))):
        nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")

    def segment(image: MedImage, text: str) -> object:
        return SimpleNamespace(mask=image.pixels[..., 0] < 0.4, found=True, presence=None)

    def weigh(image: MedImage, text: str) -> object:
        return SimpleNamespace(cells=SimpleNamespace(presence=0.25), doubt=None if text == "liver" else "absent")

    asked = ct_windows.slices(tmp_path, 3)
    assert [each.index for each in asked] == [2, 3, 4]
    rows = ct_windows.compare(SimpleNamespace(segment=segment, weigh=weigh), asked[1])  # type: ignore[arg-type]
    assert [row.window for row in rows] == [*ct_windows.WINDOWS, *ct_windows.CHANGES]
    dices = {row.window: row.dice for row in rows}
    assert [dices[window] for window in ct_windows.WINDOWS] == [1.0] * len(ct_windows.WINDOWS)
    assert dices["lung, inverted"] == 0.0
    others = {row.window: row.others for row in rows if row.others}
    assert list(others) == ["file", "lung", "soft-tissue"]
    assert others["file"]["liver"] == (0.25, True)
    assert "lungs" not in others["file"]
    assert {(row.volume, row.index, row.share, row.presence) for row in rows} == {("ct", 3, 0.5, 0.0)}


def test_processes_and_minutes_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = SimpleNamespace(info=SimpleNamespace(weights={"compact": "0123456789"}))
    monkeypatch.setattr(judging.Model, "load", lambda model: segmenter)
    monkeypatch.setattr(judging, "conditions", lambda seed, weights: {"seed": seed, "weights": weights})
    found, facts = judging.asked(judging.Model(), lambda segmenter, item: [item * 2], [1, 2, 3])
    assert (found, facts["done"], facts["weights"]) == ([2, 4, 6], 3, {"compact": "0123456789"})
    found, facts = judging.asked(judging.Model(), lambda segmenter, item: [item], [1, 2], minutes=1e-12)
    assert (found, facts["done"], facts["planned"]) == ([], 0, 2)
