"""A stack that is weighed before it is drawn: what neighbours know decides evidence, boxes and extent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from drawn_model import BoxedSam, drawn_segmenter, slice_of

from medclipsam.io.source import ReadOptions
from medclipsam.methods.contract import Weighed
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import Cells
from medclipsam.prompting.growing import cut_pixels
from medclipsam.runs import LabelRequest, label_folder
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import BoolArray, MedImage, Segmentation
from medclipsam.volume.settling import LEAST_PART, LEAST_UNDIVIDED, UNDIVIDED, Settling, least_part_of
from medclipsam.volume.together import Parked, TwoSteps, answered_together
from medclipsam.weights.targets import known_targets


def area(*parts: tuple[slice, slice]) -> BoolArray:
    mask = np.zeros((64, 64), bool)
    for rows, columns in parts:
        mask[rows, columns] = True
    return mask


LEFT, RIGHT = (slice(16, 48), slice(6, 26)), (slice(16, 48), slice(38, 58))
TIP, NECK = (slice(26, 34), slice(44, 52)), (slice(2, 7), slice(30, 35))


def steps(segmenter: ZeroShotSegmenter) -> TwoSteps:
    def draw(image: MedImage, prompt: str, weighed: Weighed | None) -> Segmentation:
        assert weighed is not None
        return segmenter.draw(image, prompt, weighed)

    return TwoSteps(weigh=segmenter.weigh, draw=draw, features_of=segmenter.features_of, recall=segmenter.recall)


def together(images: Sequence[MedImage], grow: float = 0.0) -> tuple[list[Segmentation], BoxedSam]:
    segmenter, sam = drawn_segmenter(grow)
    places = [float(number) for number in range(len(images))]
    answers = answered_together(images, ["lungs"], places, steps(segmenter), images.__getitem__)
    return [each.results[0] for each in answers], sam


def alone(images: Sequence[MedImage], grow: float = 0.0) -> list[Segmentation]:
    segmenter, _ = drawn_segmenter(grow)
    return [segmenter.segment(image, "lungs") for image in images]


def bits(results: Sequence[Segmentation]) -> list[tuple[object, ...]]:
    return [
        (each.found, each.reason, each.boxes, each.mask.tobytes(), each.probability.tobytes(), each.presence)
        for each in results
    ]


def test_a_volume_whose_slices_agree_is_unchanged_to_the_bit() -> None:
    images = [slice_of(number, area(LEFT, RIGHT)) for number in range(6)]
    assert bits(together(images)[0]) == bits(alone(images))


def test_slices_of_which_none_shows_the_text_are_answered_as_alone() -> None:
    images = [slice_of(number, area()) for number in range(4)]
    assert bits(together(images)[0]) == bits(alone(images))


def test_what_a_slice_does_not_see_and_both_neighbours_do_is_drawn() -> None:
    images = [slice_of(n, area(LEFT, RIGHT) if n != 2 else area(LEFT), area(LEFT, RIGHT)) for n in range(5)]
    faint = images[2].pixels.copy()
    faint[..., 0][area(RIGHT)] = 0.4
    images[2] = MedImage(pixels=faint, name="s2")
    assert not alone(images)[2].mask[RIGHT].any()
    assert together(images)[0][2].mask[RIGHT].mean() > 0.95


def test_a_small_tip_of_a_large_part_stays_beside_a_large_one() -> None:
    images = [slice_of(n, area(LEFT, RIGHT) if n < 4 else area(LEFT, TIP)) for n in range(6)]
    assert not alone(images)[5].mask[TIP].any(), "a slice alone takes it for a speck beside the other"
    assert together(images)[0][5].mask[TIP].mean() > 0.7


def test_what_hangs_on_the_organ_by_little_is_none_of_it() -> None:
    organ, gas, edge = (slice(16, 48), slice(6, 40)), (slice(16, 28), slice(44, 56)), (slice(16, 20), slice(34, 44))
    shown = [area(gas)] * 3 + [area(gas, edge), area(gas, organ)] + [area(organ)] * 10
    results, _ = together([slice_of(number, mask) for number, mask in enumerate(shown)])
    assert [each.found for each in results] == [False] * 4 + [True] * 11
    assert not results[4].mask[gas].any()
    assert results[4].mask[organ].mean() > 0.95


def test_slices_outside_the_organs_extent_are_refused_with_the_reason_of_neighbours() -> None:
    images = [slice_of(n, area(LEFT, RIGHT) if n < 6 else area() if n < 8 else area(NECK)) for n in range(11)]
    assert [each.found for each in alone(images)] == [True] * 6 + [False] * 2 + [True] * 3
    results, sam = together(images)
    assert [each.found for each in results] == [True] * 6 + [False] * 5
    assert [each.reason for each in results[8:]] == ["neighbours"] * 3
    assert len(sam.asked) == 6, "nobody asks Segment Anything about them"


def test_the_report_and_the_folder_say_what_the_stack_refused(tmp_path: Path) -> None:
    voxels = np.zeros((64, 64, 11), np.float32)
    for number in range(11):
        shown = area(LEFT, RIGHT) if number < 6 else area() if number < 8 else area(NECK)
        voxels[..., number] = 80.0 * shown.T + 10 + number / 10
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 2, 1.0])), tmp_path / "scans" / "v.nii.gz")
    reading = ReadOptions(window=(50.0, 100.0))
    request = ScanRequest(
        scan=tmp_path / "scans" / "v.nii.gz",
        prompts=("lungs",),
        folder=tmp_path / "one",
        volume_mode="stack",
        window=reading.window,
    )
    segmenter, _ = drawn_segmenter()
    report = segment_scan(request, lambda: segmenter, lambda *_: None)
    answers = [image["results"][0] for image in report["images"]]
    assert [each["found"] for each in answers] == [True] * 6 + [False] * 5
    assert [each.get("reason") for each in answers[8:]] == ["neighbours"] * 3
    labels = LabelRequest(
        source=tmp_path / "scans", output=tmp_path / "all", prompts=("lungs",), volume_mode="stack", reading=reading
    )
    label_folder(labels, lambda: segmenter, lambda *_: None)
    (alone_mask,), (listed,) = (tmp_path / "one").glob("*mask.nii.gz"), (tmp_path / "all" / "masks").rglob("*.nii.gz")
    assert alone_mask.read_bytes() == listed.read_bytes()


def test_what_looks_like_the_organ_on_a_few_slices_beside_it_is_left_out() -> None:
    images = [slice_of(n, area(LEFT, NECK) if n in (2, 3) else area(LEFT)) for n in range(8)]
    results, _ = together(images)
    assert not any(each.mask[NECK].any() for each in results)
    assert all(each.mask[LEFT].mean() > 0.95 for each in results)


def test_a_second_part_that_is_large_enough_in_the_stack_stays() -> None:
    small = (slice(50, 60), slice(40, 50))
    assert LEAST_PART * 20 * 32 * 3 < 10 * 10 * 2
    images = [slice_of(n, area(LEFT)) for n in range(3)] + [slice_of(n, area(small)) for n in (3, 4)]
    assert [each.found for each in together(images)[0]] == [True] * 5


@pytest.mark.parametrize(
    ("prompt", "slices_beside", "found"),
    [("left ventricle", 2, False), ("left ventricle", 4, True), ("brain tumor", 2, True)],
)
def test_of_what_is_in_one_piece_a_smaller_part_goes(prompt: str, slices_beside: int, found: bool) -> None:
    segmenter, _ = drawn_segmenter()
    shown = [area(LEFT)] * 6 + [area()] + [area(RIGHT)] * slices_beside
    images = [slice_of(number, mask) for number, mask in enumerate(shown)]
    places = [float(number) for number in range(len(images))]
    *_, last = answered_together(images, [prompt], places, steps(segmenter), images.__getitem__)
    assert last.results[0].found == found


@pytest.mark.parametrize(
    ("prompt", "least"),
    [
        ("Left ventricle", LEAST_UNDIVIDED),
        ("liver|spleen", LEAST_UNDIVIDED),
        ("accessory spleen", LEAST_PART),
        ("liver | liver tumor", LEAST_PART),
        ("lungs", LEAST_PART),
    ],
)
def test_only_the_organ_itself_is_in_one_piece(prompt: str, least: float) -> None:
    assert least_part_of(prompt) == least


def test_what_is_in_one_piece_is_called_as_it_was_taught() -> None:
    assert {each.target for each in known_targets()} >= UNDIVIDED


def settled_stack(shown: Sequence[bool], masks: Sequence[BoolArray]) -> list[str | None]:
    """Why nothing is drawn on each slice, of which some are not shown by their own presence."""
    settling = Settling([float(number) for number in range(len(masks))])
    for is_shown, mask in zip(shown, masks, strict=True):
        cells = Cells(logits=np.where(mask, 4, -4).astype(np.float32), presence=0.9 if is_shown else 0.3)
        settling.add(Weighed(size=(64, 64), cells=cells, doubt=None if is_shown else "absent"))
    settling.finish()
    settled = [settling.settled(number) for number in range(len(masks))]
    for each, mask in zip(settled, masks, strict=True):
        assert each is not None
        assert each.doubt or np.array_equal(each.cells.logits > 0, mask)
    return [each.doubt for each in settled if each]


def test_an_organ_that_goes_on_through_doubted_slices_is_drawn_on_them_and_not_beyond_its_ends() -> None:
    shown = [False, True, True, False, False, False, True, False]
    assert settled_stack(shown, [area(LEFT)] * 8) == ["absent", *[None] * 6, "absent"]


def test_doubted_slices_between_two_parts_that_do_not_join_stay_empty() -> None:
    masks = [area(LEFT)] * 3 + [area()] + [area(LEFT)] * 3
    assert settled_stack([True, True, False, False, False, True, True], masks)[2:5] == ["absent"] * 3
    masks = [area(LEFT)] * 3 + [area(RIGHT)] * 3
    assert settled_stack([True, True, False, False, True, True], masks)[2:4] == ["absent"] * 2


def test_slices_beside_a_gap_are_not_mixed() -> None:
    settling = Settling([0.0, 1.0, 2.0, 9.0, 10.0, 11.0])
    for number in range(6):
        cells = Cells(logits=np.full((4, 4), 4.0 if number < 3 else 8.0, np.float32), presence=1.0)
        settling.add(Weighed(size=(8, 8), cells=cells))
    settling.finish()
    settled = [settling.settled(number) for number in range(6)]
    assert [each.cells.logits[0, 0] for each in settled if each] == [4, 4, 4, 8, 8, 8]


def test_a_slice_on_which_a_prompt_failed_is_none_and_no_neighbour() -> None:
    settling = Settling([0.0, 1.0, 2.0])
    cells = Cells(logits=np.full((4, 4), 4.0, np.float32), presence=1.0)
    for weighed in (Weighed(size=(8, 8), cells=cells), None, Weighed(size=(8, 8), cells=cells)):
        settling.add(weighed)
    settling.finish()
    assert settling.settled(1) is None
    assert np.array_equal(settling.settled(0).cells.logits, cells.logits)  # type: ignore[union-attr]


@pytest.mark.parametrize("side", ["left", "upper", "right", "lower"])
def test_no_mask_ends_at_the_edge_of_a_box_that_the_evidence_drew(side: str) -> None:
    """The evidence marks the middle alone and is unsure of the rest, which Segment Anything would take in."""
    there = area((slice(12, 52), slice(12, 52)))
    rows, columns = {
        "left": (slice(12, 52), slice(20, 52)),
        "upper": (slice(20, 52), slice(12, 52)),
        "right": (slice(12, 52), slice(12, 44)),
        "lower": (slice(12, 44), slice(12, 52)),
    }[side]
    images = []
    for number in range(3):
        pixels = slice_of(number, area((rows, columns)), there).pixels.copy()
        pixels[..., 0][there & ~area((rows, columns))] = 0.48
        images.append(MedImage(pixels=pixels, name=f"s{number}"))
    assert sum(cut_pixels(each.mask, each.boxes) for each in alone(images)) >= 3 * 32
    for mended in (alone(images, 0.15), together(images)[0], together(images, 0.3)[0]):
        assert sum(cut_pixels(each.mask, each.boxes) for each in mended) == 0
        assert all(np.array_equal(each.mask, there) for each in mended)


def test_a_box_grows_a_few_times_and_no_more() -> None:
    pixels = slice_of(0, area((slice(28, 36), slice(28, 36))), area((slice(0, 64), slice(0, 64)))).pixels.copy()
    pixels[..., 0][~area((slice(28, 36), slice(28, 36)))] = 0.48
    segmenter, sam = drawn_segmenter(grow=0.1)
    assert segmenter.segment(MedImage(pixels=pixels, name="s"), "lungs").found
    assert len(sam.asked) == 2, "what SAM draws in the second box is not what the map shows, and has no say"
    segmenter.config = replace(segmenter.config, least_agreement=0.0)
    sam.asked.clear()
    assert segmenter.segment(MedImage(pixels=pixels, name="s"), "lungs").found
    assert len(sam.asked) == 4


def test_every_slice_is_encoded_once_and_few_encodings_are_held() -> None:
    held = []
    for count in (8, 80):
        images = [slice_of(number, area(LEFT, RIGHT)) for number in range(count)]
        results, sam = together(images)
        assert all(each.found for each in results)
        assert sam.encoded == [image.name for image in images]
        held.append(sam.most_alive)
    assert held[0] == held[1] <= 6


def test_slices_on_which_nothing_will_be_drawn_take_no_room() -> None:
    file = BytesIO()
    parked = Parked(file)
    parked.add(None)
    parked.add(np.ones(3, np.float32))
    parked.add(None)
    assert [parked.get(n) is None for n in range(3)] == [True, False, True]
    assert len(file.getvalue()) < 200


def test_a_full_disk_costs_time_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [slice_of(number, area(LEFT)) for number in range(6)]
    expected, _ = together(images)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    results, sam = together(images)
    assert bits(results) == bits(expected)
    assert len(sam.encoded) > len(images)
