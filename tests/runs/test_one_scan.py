"""Is one scan read, asked and written as promised: all files together, or none at all?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter, bright_square
from dicom_files import dicom
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from medclipsam.errors import BadInput, CannotWrite, UserError
from medclipsam.io.mask_formats import NO_SEG
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import Box, Hints, MedImage, Points, Segmentation


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A 40 x 60 scan with a bright square of 10 x 10 at row 5, column 20."""
    path = tmp_path / "scan.png"
    Image.fromarray(bright_square(40, 60, top=5, left=20, side=10)).save(path)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Four slices, the square in slices 1 and 2 alone, on an oblique, anisotropic affine."""
    voxels = np.zeros((30, 20, 4), np.float32)
    voxels[..., :] = np.linspace(0, 0.2, 20)[None, :, None]
    voxels[8:14, 4:9, 1:3] = 1.0
    affine = np.array([[-0.8, 0, 0, 10], [0, 0.7, -0.2, -5], [0, 0.1, 3, 7], [0, 0, 0, 1.0]])
    path = tmp_path / "volume.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Segment with the bright method into `out`."""

    def segment(scan: Path, *prompts: str, **options: Any) -> dict[str, Any]:
        request = ScanRequest(scan=scan, prompts=prompts, **{"folder": tmp_path / "out", **options})
        return segment_scan(request, BrightSegmenter, silent)

    return segment


Run = Callable[..., dict[str, Any]]


def frames(seg: Dataset) -> list[Dataset]:
    """What a SEG says of each of its planes."""
    return list(seg.PerFrameFunctionalGroupsSequence)


def test_one_prompt_gives_a_mask_an_overlay_and_a_report(png: Path, run: Run, tmp_path: Path) -> None:
    report = run(png, "tumor")
    (result,) = report["images"][0]["results"]
    case = report["images"][0]["case"]
    assert names(tmp_path / "out") == {f"{case}_tumor_mask.png", "overlay.png", "report.json"}
    mask = np.asarray(Image.open(tmp_path / "out" / result["files"]["mask"]))
    assert np.array_equal(mask > 0, bright_square(40, 60, 5, 20, 10) == 200)
    assert (result["found"], result["area_px"], result["box"]) == (True, 100, [20, 5, 29, 14])


def test_the_report_on_disk_is_the_report_that_is_returned(png: Path, run: Run, tmp_path: Path) -> None:
    report = run(png, "tumor", seed=3)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert (report["seed"], report["preset"], report["device"]) == (3, {"name": "bright"}, "cpu")
    assert set(report["seconds"]) == {"load", "total"}


def test_several_prompts_give_several_masks_and_overlays_and_a_sheet(png: Path, run: Run, tmp_path: Path) -> None:
    report = run(png, "left lung", "unicorn")
    results = report["images"][0]["results"]
    assert [result["found"] for result in results] == [True, False]
    assert names(tmp_path / "out") == {
        "overlay.png",
        "report.json",
        *(result["files"]["mask"] for result in results),
        *(result["files"]["overlay"] for result in results),
    }
    assert len(names(tmp_path / "out")) == 6


def test_nothing_found_is_an_empty_mask(png: Path, run: Run, tmp_path: Path) -> None:
    (result,) = run(png, "unicorn")["images"][0]["results"]
    assert (result["found"], result["area_px"], result["box"]) == (False, 0, None)
    mask = Image.open(tmp_path / "out" / result["files"]["mask"])
    assert (mask.size, mask.getextrema()) == ((60, 40), (0, 0))


def test_always_reaches_the_method(png: Path, run: Run) -> None:
    assert run(png, "unicorn", always=True)["images"][0]["results"][0]["found"] is True


def test_own_boxes_and_points_reach_the_method(png: Path, run: Run) -> None:
    box = Box(x0=22, y0=6, x1=25, y1=9)
    points = Points(xy=np.array([[23, 7]], np.float32), labels=np.array([1]))
    (result,) = run(png, "tumor", hints=Hints(boxes=(box,), points=points))["images"][0]["results"]
    assert (result["area_px"], result["box"]) == (16, [22, 6, 25, 9])
    assert result["points"] == [{"x": 23, "y": 7, "inside": True}]


def test_prompts_that_look_alike_or_like_paths_have_files_of_their_own(png: Path, run: Run, tmp_path: Path) -> None:
    report = run(png, "Tumor", "tumor", "../../x", "/etc/passwd", "😀")
    masks = {result["files"]["mask"] for result in report["images"][0]["results"]}
    assert len(masks) == 5
    assert names(tmp_path) == {"scan.png", "out"} | names(tmp_path / "out")
    assert all((tmp_path / "out" / mask).is_file() for mask in masks)


def test_every_slice_of_a_volume_gives_one_mask_on_the_same_voxels(volume: Path, run: Run, tmp_path: Path) -> None:
    report = run(volume, "tumor", every=True)
    assert [image["results"][0]["found"] for image in report["images"]] == [False, True, True, False]
    (mask_name,) = {image["results"][0]["files"]["mask"] for image in report["images"]}
    mask, source = nib.load(tmp_path / "out" / mask_name), nib.load(volume)
    assert np.allclose(mask.affine, source.affine)
    assert np.array_equal(np.asarray(mask.dataobj) > 0, np.asarray(source.dataobj) > 0.5)
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == 4


def test_one_slice_of_a_volume_gives_a_mask_of_the_volume_empty_elsewhere(
    volume: Path, run: Run, tmp_path: Path
) -> None:
    report = run(volume, "tumor", slice_index=2)
    mask = np.asarray(nib.load(tmp_path / "out" / report["images"][0]["results"][0]["files"]["mask"]).dataobj)
    assert [int(mask[..., index].sum()) for index in range(4)] == [0, 0, 30, 0]
    spacing = report["images"][0]["spacing_mm"]
    assert report["images"][0]["results"][0]["area_mm2"] == pytest.approx(30 * spacing[0] * spacing[1])


def test_slices_can_have_png_masks_of_their_own(volume: Path, run: Run, tmp_path: Path) -> None:
    run(volume, "tumor", every=True, formats=("png",))
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 4


def test_a_dicom_gives_one_seg_with_a_segment_for_each_prompt(run: Run, tmp_path: Path) -> None:
    report = run(Path(str(get_testdata_file("CT_small.dcm"))), "liver", "unicorn", "tumor")
    results = report["images"][0]["results"]
    (name,) = {result["files"]["mask"] for result in results}
    seg = dcmread(tmp_path / "out" / name)
    assert name == f"{report['images'][0]['case']}_seg.dcm"
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["liver", "unicorn", "tumor"]
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmParameters) == ("medclipsam", "preset=bright")
    assert [int(frame.sum()) for frame in seg.pixel_array] == [results[0]["area_px"], results[2]["area_px"]]
    assert not list((tmp_path / "out").glob("*_mask.png"))


def test_several_formats_are_written_side_by_side_and_agree(run: Run, tmp_path: Path) -> None:
    scan = Path(str(get_testdata_file("CT_small.dcm")))
    files = run(scan, "liver", formats=("seg", "png", "npy", "rtstruct"))["images"][0]["results"][0]["files"]
    assert set(files) == {"mask", "mask_png", "mask_npy", "mask_rtstruct", "overlay"}
    assert [roi.ROIName for roi in dcmread(tmp_path / "out" / files["mask_rtstruct"]).StructureSetROISequence] == [
        "liver"
    ]
    seg = dcmread(tmp_path / "out" / files["mask"]).pixel_array
    np.testing.assert_array_equal(seg > 0, np.asarray(Image.open(tmp_path / "out" / files["mask_png"])) > 0)
    np.testing.assert_array_equal(seg > 0, np.load(tmp_path / "out" / files["mask_npy"]) > 0)


def test_a_fractional_seg_keeps_the_probability_and_nothing_of_what_was_not_found(run: Run, tmp_path: Path) -> None:
    scan = Path(str(get_testdata_file("CT_small.dcm")))
    report = run(scan, "liver", "unicorn", seg_kind="fractional")
    seg = dcmread(tmp_path / "out" / report["images"][0]["results"][0]["files"]["mask"])
    assert set(np.unique(seg.pixel_array)) == {round(0.25 * 255), round(0.75 * 255)}
    assert {group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in frames(seg)} == {1}


def test_each_prompt_may_have_a_seg_of_its_own(run: Run, tmp_path: Path) -> None:
    results = run(Path(str(get_testdata_file("CT_small.dcm"))), "liver", "tumor", seg_per_prompt=True)["images"][0][
        "results"
    ]
    for result, prompt in zip(results, ("liver", "tumor"), strict=True):
        assert result["files"]["mask"].endswith(f"_{prompt}_seg.dcm")
        seg = dcmread(tmp_path / "out" / result["files"]["mask"])
        assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [prompt]
        assert int(seg.pixel_array.sum()) == result["area_px"]


@pytest.mark.parametrize(("everything", "count"), [(False, 1), (True, 2)])
def test_the_seg_of_a_prompt_that_is_not_found_keeps_frames_on_request(
    run: Run, tmp_path: Path, everything: bool, count: int
) -> None:
    scan = Path(str(get_testdata_file("CT_small.dcm")))
    report = run(scan, "liver", "unicorn", seg_all_slices=everything)
    seg = dcmread(tmp_path / "out" / report["images"][0]["results"][0]["files"]["mask"])
    assert seg.NumberOfFrames == count


@pytest.mark.parametrize(("formats", "told"), [(("png",), 1), (("png", "seg"), 0)])
def test_options_of_a_seg_that_is_not_written_are_told_to_change_nothing(
    run: Run, formats: tuple[Any, ...], told: int
) -> None:
    scan = Path(str(get_testdata_file("CT_small.dcm")))
    report = run(scan, "liver", formats=formats, seg_per_prompt=True, seg_all_slices=True)
    unused = "no DICOM SEG is written, so --seg-per-prompt and --seg-all-slices changed nothing"
    assert report["images"][0]["warnings"].count(unused) == told


def test_prompts_that_overlap_are_refused_for_a_label_map_alone(run: Run, tmp_path: Path) -> None:
    scan = Path(str(get_testdata_file("CT_small.dcm")))
    with pytest.raises(BadInput, match="overlap, which a label map cannot hold; choose binary"):
        run(scan, "liver", "tumor", seg_kind="labelmap")
    assert not (tmp_path / "out").exists()
    run(scan, "liver", "unicorn", seg_kind="labelmap")


def test_images_without_place_have_a_seg_each(run: Run, tmp_path: Path) -> None:
    """A folder of ultrasound stills, for one."""
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4"}
    (tmp_path / "stills").mkdir()
    for number in range(3):
        own = {"SOPInstanceUID": f"1.2.5.{number}", "InstanceNumber": number + 1}
        dicom(tmp_path / "stills" / f"{number}.dcm", bright_square(20, 30, 2, 3, 5 + number), **uids, **own)
    report = run(tmp_path / "stills", "tumor")
    names = [image["results"][0]["files"]["mask"] for image in report["images"]]
    areas = [int(dcmread(tmp_path / "out" / name).pixel_array.sum()) for name in names]
    assert areas == [image["results"][0]["area_px"] for image in report["images"]]
    assert len(set(names)) == 3


def test_the_frames_of_a_film_share_one_seg(run: Run, tmp_path: Path) -> None:
    report = run(Path(str(get_testdata_file("SC_rgb_rle_2frame.dcm"))), "tumor", "liver")
    (name,) = {result["files"]["mask"] for image in report["images"] for result in image["results"]}
    assert [path.name for path in (tmp_path / "out").glob("*.dcm")] == [name]
    seg = highdicom.seg.segread(tmp_path / "out" / name)
    source = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    for number, image in enumerate(report["images"], start=1):
        planes = seg.get_pixels_by_source_frame(source, [number], segment_numbers=[1, 2])
        assert planes.sum(axis=(0, 1, 2)).tolist() == [result["area_px"] for result in image["results"]]


def test_a_dicom_without_identifiers_gets_a_png_and_says_why(run: Run, tmp_path: Path) -> None:
    scan = dicom(tmp_path / "scan.dcm", bright_square(40, 60, top=5, left=20, side=10))
    image = run(scan, "tumor")["images"][0]
    assert image["results"][0]["files"]["mask"].endswith("_tumor_mask.png")
    assert image["warnings"][-1].startswith(f"{NO_SEG}: it lacks StudyInstanceUID")
    with pytest.raises(BadInput, match="lacks StudyInstanceUID"):
        run(scan, "tumor", formats=("seg",))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A TIFF of three pages."""
    several = [Image.fromarray(bright_square(20, 30, 2, 3, 9)) for _ in range(3)]
    several[0].save(tmp_path / "film.tif", save_all=True, append_images=several[1:])
    return tmp_path / "film.tif"


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [({}, [0, 1, 2]), ({"every": True}, [0, 1, 2]), ({"frame": 1}, [1]), ({"frame_span": (1, 9)}, [1, 2])],
    ids=["nothing", "all", "one", "some"],
)
def test_the_pages_of_a_tiff_are_segmented_whole_unless_some_are_chosen(
    run: Run, pages: Path, choice: dict[str, Any], numbers: list[int]
) -> None:
    masks = [image["results"][0]["files"]["mask"] for image in run(pages, "tumor", **choice)["images"]]
    assert [name.split("_")[0][-5:] for name in masks] == [f"p{number:04d}" for number in numbers]


def test_a_cine_loop_is_segmented_whole_unless_some_frames_are_chosen(run: Run, tmp_path: Path) -> None:
    loop = dicom(tmp_path / "loop.dcm", np.stack([bright_square(20, 30, 2, 3, 5)] * 4), NumberOfFrames=4)
    assert len(run(loop, "tumor")["images"]) == 4
    assert [image["case"][-5:] for image in run(loop, "tumor", frame_span=(2, None))["images"]] == ["f0002", "f0003"]


def test_a_span_of_slices_on_frames_says_how_frames_are_chosen(run: Run, pages: Path) -> None:
    with pytest.raises(BadInput, match="made of pages; choose some by --frame A:B"):
        run(pages, "tumor", span=(0, 2))
    with pytest.raises(BadInput, match="has 3 pages, none of them chosen"):
        run(pages, "tumor", frame_span=(3, 5))


def test_stages_are_saved_as_16_bit_pictures(png: Path, run: Run, tmp_path: Path) -> None:
    files = run(png, "tumor", save_stages=True)["images"][0]["results"][0]["files"]
    probability = np.asarray(Image.open(tmp_path / "out" / files["probability"]))
    saliency = np.asarray(Image.open(tmp_path / "out" / files["saliency"]))
    assert probability.dtype == saliency.dtype == np.uint16
    assert set(np.unique(probability)) == {round(0.25 * 65535), round(0.75 * 65535)}
    assert saliency[7, 22] == round(200 / 255 * 65535)


def test_without_a_folder_the_case_names_it(png: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(png.parent)
    case = run(png, "tumor", folder=None)["images"][0]["case"]
    assert (png.parent / f"medclipsam-{case}" / "report.json").is_file()


def test_the_same_scan_twice_gives_the_same_files_but_for_the_clock(png: Path, run: Run, tmp_path: Path) -> None:
    reports = [run(png, "left lung", "tumor", folder=tmp_path / name) for name in ("one", "two")]
    assert names(tmp_path / "one") == names(tmp_path / "two")
    for name in names(tmp_path / "one") - {"report.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for report in reports:
        report["seconds"] = None
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hints": Hints(boxes=(Box(x0=70, y0=0, x1=80, y1=9),))}, "outside the image of 60 x 40"),
        (
            {"hints": Hints(points=Points(xy=np.array([[5, 40]], np.float32), labels=np.array([1])))},
            r"point \(5, 40\) lies outside",
        ),
        ({"slice_index": 3}, "made of images"),
        ({"frame": 3}, "frame|image"),
        ({"max_pixels": 100}, "100"),
        ({"formats": ("nifti",)}, "a mask as nifti lies on a volume"),
        ({"formats": ("png", "seg")}, "a DICOM SEG lies on a DICOM image, which this is not"),
        ({"formats": ("rtstruct",)}, "an RT Structure Set lies on a DICOM image, which this is not"),
        ({"seg_kind": "fractional"}, "no DICOM SEG is written"),
    ],
)
def test_what_does_not_fit_the_scan_is_refused_before_a_model_is_loaded(
    png: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    def never() -> BrightSegmenter:
        pytest.fail("a model was loaded")

    with pytest.raises(BadInput, match=said):
        segment_scan(ScanRequest(scan=png, prompts=("tumor",), folder=tmp_path / "out", **options), never, silent)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, None],
    ids=["empty", "text", "broken", "missing"],
)
def test_a_scan_that_cannot_be_read_leaves_nothing(run: Run, tmp_path: Path, content: bytes | None) -> None:
    scan = tmp_path / "bad.png"
    if content is not None:
        scan.write_bytes(content)
    before = names(tmp_path)
    with pytest.raises(UserError):
        run(scan, "tumor")
    assert names(tmp_path) == before


@pytest.mark.parametrize("pixels", [np.full((9, 9), 7, np.uint8), np.zeros((1, 1), np.uint8)], ids=["flat", "speck"])
def test_an_image_that_shows_nothing_is_refused(run: Run, tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "flat.png")
    with pytest.raises(BadInput):
        run(tmp_path / "flat.png", "tumor")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(run: Run, tmp_path: Path, value: float) -> None:
    pixels = bright_square(9, 9, 2, 2, 3).astype(np.float32)
    pixels[0, 0] = value
    np.save(tmp_path / "scan.npy", pixels)
    with pytest.raises(BadInput, match="NaN"):
        run(tmp_path / "scan.npy", "tumor")


@pytest.mark.parametrize("prompts", [(), ("",), ("a" * 10_000,), ("a\x07",)])
def test_prompts_that_cannot_be_used_are_refused_when_asked(png: Path, prompts: tuple[str, ...]) -> None:
    with pytest.raises(BadInput):
        ScanRequest(scan=png, prompts=prompts)


def test_a_slice_and_all_slices_exclude_each_other(png: Path) -> None:
    with pytest.raises(BadInput, match="exclude"):
        ScanRequest(scan=png, prompts=("tumor",), slice_index=1, every=True)


def test_an_output_folder_that_is_a_file_is_refused_before_reading(png: Path, run: Run) -> None:
    with pytest.raises(CannotWrite, match="not a folder"):
        run(png, "tumor", folder=png / "out")


class Crashing(BrightSegmenter):
    """Fails at the second prompt."""

    def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
        if self.asked:
            raise ZeroDivisionError
        return super().segment(image, text, **options)


def test_a_crash_half_way_leaves_the_earlier_results_and_nothing_else(png: Path, run: Run, tmp_path: Path) -> None:
    run(png, "tumor")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    request = ScanRequest(scan=png, prompts=("left lung", "heart"), folder=tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        segment_scan(request, Crashing, silent)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_another_run_on_the_scan_leaves_no_file_of_the_one_before(run: Run, tmp_path: Path) -> None:
    scan = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    run(scan, "left lung", "tumor", formats=("seg", "png"), structured_report=True, save_stages=True)
    before = names(tmp_path / "out")
    report = run(scan, "heart", formats=("png",))
    assert names(tmp_path / "out") == {*report["written"], "report.json"}
    assert not {name for name in before if name.endswith(".dcm") or "tumor" in name} & names(tmp_path / "out")


def test_what_a_person_changed_or_put_there_and_other_scans_stay(png: Path, run: Run, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other.png"
    other.write_bytes(png.read_bytes())
    first = run(png, "tumor", "left lung")
    corrected, left = (result["files"]["mask"] for result in first["images"][0]["results"])
    (out / corrected).write_bytes(b"corrected by hand")
    (out / f"{first['images'][0]['case']}_notes.txt").write_text("mine")
    run(png, "heart")
    assert (out / corrected).read_bytes() == b"corrected by hand"
    assert (out / f"{first['images'][0]['case']}_notes.txt").exists() and not (out / left).exists()
    mask = next(name for name in names(out) if "heart_mask" in name)
    run(other, "heart")
    run(png, "tumor")
    assert (out / mask).exists()


@pytest.mark.parametrize(
    "written",
    [["x"], {"../outside.png": "0" * 64}, {"CASE_mask.png": 7}, "x", {"CASE_mask.png": "0" * 64}, {"CASE_/etc": "x"}],
)
def test_a_report_of_somebody_else_removes_nothing(png: Path, run: Run, tmp_path: Path, written: Any) -> None:
    case = run(png, "tumor", folder=tmp_path / "first")["images"][0]["case"]
    (tmp_path / "out").mkdir()
    told = json.dumps({"written": written}).replace("CASE", case)
    (tmp_path / "out" / "report.json").write_text(told)
    for path in (tmp_path / "outside.png", tmp_path / "out" / f"{case}_mask.png"):
        path.write_bytes(b"mine")
    run(png, "tumor")
    assert (tmp_path / "outside.png").exists() and (tmp_path / "out" / f"{case}_mask.png").exists()


def test_progress_names_each_stage_and_counts(png: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    request = ScanRequest(scan=png, prompts=("left lung", "heart"), folder=tmp_path / "out")
    segment_scan(request, BrightSegmenter, lambda *told: heard.append(told))
    assert heard == [
        ("reading", 0, 0),
        ("loading models", 0, 0),
        ('segmenting "left lung"', 0, 2),
        ('segmenting "heart"', 1, 2),
        ("writing", 0, 0),
    ]


def test_no_word_of_the_patient_and_no_folder_of_the_machine_gets_out(run: Run, tmp_path: Path) -> None:
    scan = tmp_path / "IM1.dcm"
    shutil.copy(str(get_testdata_file("CT_small.dcm")), scan)
    planted = dcmread(scan)
    planted.PatientName, planted.PatientID, planted.StudyDate = "Plantedname^Ada", "PLANTED77", "19010203"
    planted.save_as(scan)
    run(scan, "tumor", "unicorn")
    told = " ".join(names(tmp_path / "out")) + (tmp_path / "out" / "report.json").read_text()
    open_files = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".dcm"]
    told += "".join(path.read_bytes().decode("latin-1") for path in open_files)
    assert [word for word in ("Plantedname", "PLANTED77", "19010203", str(tmp_path)) if word in told] == []
