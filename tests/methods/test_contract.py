"""Every method keeps the contract: the same answer in any order, an honest empty one, and volumes in every mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pytest
import torch
from bright import BrightSegmenter, bright_square
from labelled_squares import train_small, write_squares
from safetensors.torch import save_file
from tiny_clip import biomed_folder, random_clip
from tiny_towers import write_towers

import medclipsam
from medclipsam.config import Supervised, zeroshot_preset
from medclipsam.errors import BadInput
from medclipsam.methods import METHODS
from medclipsam.methods.contract import MethodInfo, Segmenter
from medclipsam.refine.pseudolabels import read_pseudolabels
from medclipsam.refine.recipe import RefineRecipe
from medclipsam.refine.run import refine
from medclipsam.runs import LabelRequest, label_folder
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import Box, Hints, MedImage, Segmentation
from medclipsam.volume.rules import VolumeMode

PROMPT = "breast tumor"
HINTS = Hints(boxes=(Box(x0=4, y0=4, x1=20, y1=20),))


class Headstrong(BrightSegmenter):
    """A toy method that takes no hints."""

    @property
    def info(self) -> MethodInfo:
        return replace(super().info, takes_hints=False)


@pytest.fixture(scope="session")
def refined_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `refine` makes of a few labelled squares in a handful of steps."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("refined")
    (folder / "scans").mkdir()
    for number in range(6):
        Image.fromarray(bright_square(40, 48, 6 + number, 8 + number, 14)).save(folder / "scans" / f"p{number}.png")
    request = LabelRequest(source=folder / "scans", output=folder / "labels", prompts=(PROMPT,))
    label_folder(request, BrightSegmenter, lambda *_: None)
    recipe = RefineRecipe(epochs=4, cycles=1, keep=2, side=32, widths=(4, 8, 16), batch_size=3)
    refine(read_pseudolabels(folder / "labels", folder / "scans"), folder / "run", recipe, device="cpu")
    return folder / "run"


def _of_run(folder: Path) -> Segmenter:
    return medclipsam.load(weights=folder, device="cpu")


@pytest.fixture(scope="session")
def supervised_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What a few steps make of a network, each trained once."""
    folder = tmp_path_factory.mktemp("supervised")
    table = write_squares(folder / "data", train=6, val=3, target=PROMPT)

    def train(name: str) -> Path:
        own: dict[str, Any] = {}
        if name == "medclipseg-clip":
            own = {"folder": str(write_towers(folder / "towers"))}
        elif name == "emclip-light":
            clip = biomed_folder(folder / "clip")
            save_file(random_clip(clip).network.state_dict(), clip / "open_clip_model.safetensors")
            own = {"towers_folder": str(clip), "side": 160}
        return train_small(name, table, folder / name, **own)

    return cache(train)


METHODS_UNDER_TEST: dict[str, Callable[[Path], Segmenter]] = {
    "zeroshot": lambda _: medclipsam.load("embedded", device="cpu"),
    "zeroshot-gradcam": lambda _: medclipsam.load(
        replace(zeroshot_preset("embedded"), explainer="gradcam", presence_threshold=None), device="cpu"
    ),
    "refined": _of_run,
    "supervised-unet": _of_run,
    "supervised-medclipseg-clip": lambda folder: medclipsam.load(Supervised(run=folder, samples=3), device="cpu"),
    "supervised-biclip-small": _of_run,
    "supervised-emclip-light": _of_run,
    "toy-without-hints": lambda _: Headstrong(),
}


@pytest.fixture(scope="module", params=METHODS_UNDER_TEST)
def make(
    request: pytest.FixtureRequest, refined_run: Path, supervised_run: Callable[[str], Path]
) -> Callable[[], Segmenter]:
    """Loads one of the methods."""
    torch.set_num_threads(1)
    kind, _, name = request.param.partition("-")
    run = supervised_run(name) if kind == "supervised" else refined_run
    return lambda: METHODS_UNDER_TEST[request.param](run)


@pytest.fixture(scope="module")
def segmenter(make: Callable[[], Segmenter]) -> Segmenter:
    return make()


def images() -> list[MedImage]:
    """Two of different sizes, each with a bright square."""
    return [
        medclipsam.image_from_array(bright_square(48, 40, 10, 12, 16), name="upright"),
        medclipsam.image_from_array(bright_square(36, 52, 6, 20, 14), name="oblong"),
    ]


def bits(result: Segmentation) -> list[Any]:
    return [result.found, result.presence, result.mask.tobytes(), *(each.tobytes() for each in result.maps.values())]


def test_every_method_of_the_registry_is_tested_here() -> None:
    assert {name.partition("-")[0] for name in METHODS_UNDER_TEST} >= set(METHODS)


def test_an_answer_has_the_images_size_and_maps_between_0_and_1(segmenter: Segmenter) -> None:
    for image in images():
        result = segmenter.segment(image, PROMPT, always=True)
        assert (result.prompt, result.mask.shape, result.mask.dtype) == (PROMPT, image.size, bool)
        assert "probability" in result.maps
        assert all(each.min() >= 0 and each.max() <= 1 for each in result.maps.values())
        assert result.presence is None or 0 <= result.presence <= 1
        assert result.found == result.mask.any()


def test_a_flat_image_has_an_answer_without_a_crash(segmenter: Segmenter) -> None:
    flat = medclipsam.image_from_array(np.full((40, 40), 90, np.uint8), name="flat")
    result = segmenter.segment(flat, PROMPT)
    assert result.found == result.mask.any()


def test_order_changes_nothing(make: Callable[[], Segmenter]) -> None:
    one, other = images()
    forward, backward = make(), make()
    before = {image.name: bits(forward.segment(image, PROMPT)) for image in (one, other)}
    after = {image.name: bits(backward.segment(image, PROMPT)) for image in (other, one)}
    assert before == after


def test_preparing_changes_nothing(make: Callable[[], Segmenter]) -> None:
    prepared, plain = make(), make()
    prepared.prepare(images())
    assert [bits(prepared.segment(image, PROMPT)) for image in images()] == [
        bits(plain.segment(image, PROMPT)) for image in images()
    ]
    assert 1 <= prepared.images_at_once(4) <= 4


def test_hints_are_taken_or_refused_in_one_line(segmenter: Segmenter) -> None:
    image = images()[0]
    if segmenter.info.takes_hints:
        assert segmenter.segment(image, PROMPT, HINTS).boxes == HINTS.boxes
        return
    with pytest.raises(BadInput, match="no use for boxes"):
        segmenter.segment(image, PROMPT, HINTS)


def test_hints_that_a_method_cannot_use_are_refused_before_anything_is_written(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    if segmenter.info.takes_hints:
        pytest.skip("it takes hints")
    request = ScanRequest(scan=volume(tmp_path), prompts=(PROMPT,), folder=tmp_path / "out", hints=HINTS)
    with pytest.raises(BadInput, match="no use for boxes"):
        segment_scan(request, lambda: segmenter, lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_the_description_is_plain_and_names_its_weights(segmenter: Segmenter) -> None:
    described = segmenter.info.as_dict()
    assert described["preset"]["name"] == segmenter.info.name
    assert all(len(digest) == 64 for digest in described["weights"].values())


def volume(folder: Path) -> Path:
    """Five slices; a square in slices 1, 3 and 4, so that slice 2 lies empty between two that agree."""
    voxels = np.zeros((24, 20, 5), np.float32)
    voxels[8:16, 5:13, [1, 3, 4]] = 100
    nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 2, 1.0])), folder / "v.nii.gz")
    return folder / "v.nii.gz"


@pytest.mark.parametrize("mode", get_args(VolumeMode))
def test_a_volume_is_segmented_in_every_mode_alone_and_in_a_folder(
    segmenter: Segmenter, tmp_path: Path, mode: VolumeMode
) -> None:
    (tmp_path / "scans").mkdir()
    path = volume(tmp_path / "scans")
    request = ScanRequest(scan=path, prompts=(PROMPT,), folder=tmp_path / "one", volume_mode=mode, window=(50.0, 100.0))
    report = segment_scan(request, lambda: segmenter, lambda *_: None)
    assert len(report["images"]) == 5
    labels = LabelRequest(
        source=path, output=tmp_path / "all", prompts=(PROMPT,), volume_mode=mode, reading=request.reading
    )
    summary = label_folder(labels, lambda: segmenter, lambda *_: None)
    assert summary.read == 1
    (alone,), (listed,) = (tmp_path / "one").glob("*mask.nii.gz"), (tmp_path / "all" / "masks").rglob("*.nii.gz")
    assert alone.read_bytes() == listed.read_bytes()
