"""What reports say of a mask's size, place and values, from files that say where they lie: held against SimpleITK."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from bright import BrightSegmenter
from dicom_files import dicom, item
from pydicom.uid import CTImageStorage, PositronEmissionTomographyImageStorage
from series_files import OBLIQUE, RIGHT_ANGLES, SPACING_MM, STEP_MM, Cosines, phantom, series, true_centroid_mm

from medclipsam.io import read_image, read_images
from medclipsam.metrics.measure import measure_image
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import MedImage

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Segment with the bright method; the report."""

    def segment(scan: Path, **options: Any) -> dict[str, Any]:
        request = ScanRequest(scan=scan, prompts=("liver",), folder=tmp_path / "out", **options)
        segment_scan(request, BrightSegmenter, lambda *_: None)
        return json.loads((tmp_path / "out" / "report.json").read_text())

    return segment


def oblique_volume(path: Path, direction: np.ndarray) -> sitk.Image:
    """A bright block on a dark volume, with values that vary."""
    values = np.random.default_rng(3).normal(40, 5, (5, 12, 15))
    values[1:4, 3:8, 4:11] += 900
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((0.7, 1.3, 4.0))
    image.SetOrigin((-30.0, 12.0, 5.0))
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return image


def by_simpleitk(image: sitk.Image) -> tuple[float, tuple[float, ...], float, float]:
    """(volume, centroid, mean, standard deviation) of what is brighter than 500."""
    label = image > 500
    shape, intensity = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shape.Execute(label)
    intensity.Execute(label, image)
    return shape.GetPhysicalSize(1), shape.GetCentroid(1), intensity.GetMean(1), intensity.GetStandardDeviation(1)


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha", "v.nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_volume_has_the_measures_of_simpleitk_however_it_is_cut(
    tmp_path: Path, run: Run, name: str, axis: int, seed: int
) -> None:
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    image = oblique_volume(tmp_path / name, turned * np.sign(np.linalg.det(turned)))
    (row,) = run(tmp_path / name, axis=axis, volume_mode="slices")["volumes"]
    volume, centroid, mean, deviation = by_simpleitk(image)
    assert row["prompt"] == "liver"
    assert row["volume_mm3"] == pytest.approx(volume, rel=1e-5)
    assert row["centroid_lps_mm"] == pytest.approx(centroid, abs=1e-3)
    assert (row["voxels"], row["slices"], row["parts"]) == (105, {0: 7, 1: 5, 2: 3}[axis], 1)
    assert (row["values"]["mean"], row["values"]["std"]) == pytest.approx((mean, deviation), rel=1e-5)
    assert row["values"]["unit"] is None
    sides = np.delete(np.array([7 * 0.7, 5 * 1.3, 3 * 4.0]), axis)
    half_a_pixel = np.linalg.norm(np.delete([0.7, 1.3, 4.0], axis))
    assert row["longest_diameter"] == pytest.approx(np.linalg.norm(sides), abs=half_a_pixel)
    assert row["diameter_unit"] == "mm"


@pytest.mark.parametrize("cosines", [*RIGHT_ANGLES[::3], *OBLIQUE])
def test_a_dicom_series_has_its_volume_and_centroid_in_the_patient(tmp_path: Path, run: Run, cosines: Cosines) -> None:
    series(tmp_path / "ct", cosines, SliceThickness=1.0)
    (row,) = run(tmp_path / "ct", volume_mode="slices")["volumes"]
    voxels = int((phantom() > 500).sum())
    assert row["voxels"] == voxels
    assert row["volume_mm3"] == pytest.approx(voxels * SPACING_MM[0] * SPACING_MM[1] * STEP_MM)
    assert row["centroid_lps_mm"] == pytest.approx(true_centroid_mm(phantom(), cosines), abs=1e-3)
    assert row["values"] == {"mean": 700, "std": 0, "min": 700, "max": 700, "unit": "HU"}


def test_a_tilted_and_uneven_series_has_its_volume_by_the_places_of_its_slices(tmp_path: Path, run: Run) -> None:
    places = [0.0, 4.0, 9.0]
    series(tmp_path / "ct", at_mm=places, tilt=0.3)
    (row,) = run(tmp_path / "ct", volume_mode="slices")["volumes"]
    areas = (phantom() > 500).sum(axis=(1, 2)) * SPACING_MM[0] * SPACING_MM[1]
    assert row["volume_mm3"] == pytest.approx(float(areas @ [4.0, 4.5, 5.0]))


def test_a_sheared_volume_is_measured_by_the_distance_of_its_slices(tmp_path: Path, run: Run) -> None:
    affine = np.diag([-0.7, -1.3, 4.0, 1.0])
    affine[1, 2] = 3.0
    voxels = np.zeros((15, 12, 5), np.float32)
    voxels[4:11, 3:8, 1:4] = 1
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "v.nii")
    (row,) = run(tmp_path / "v.nii", volume_mode="slices")["volumes"]
    assert row["volume_mm3"] == pytest.approx(105 * 0.7 * 1.3 * 4.0, rel=1e-5)
    centre = nib.affines.apply_affine(affine, np.argwhere(voxels).mean(axis=0)) * (-1, -1, 1)
    assert row["centroid_lps_mm"] == pytest.approx(centre, abs=1e-3)


def test_an_image_says_its_measures_in_pixels_where_nothing_is_known_of_its_size(tmp_path: Path, run: Run) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[5:9, 10:20] = 200
    np.save(tmp_path / "x.npy", pixels)
    report = run(tmp_path / "x.npy")
    measures = report["images"][0]["results"][0]["measurements"]
    assert "volumes" not in report
    assert (measures["area_px"], measures["area_mm2"], measures["parts"]) == (40, None, 1)
    assert (measures["centroid_px"], measures["centroid_lps_mm"]) == ([14.5, 6.5], None)
    assert (measures["longest_diameter"], measures["diameter_unit"]) == (pytest.approx(np.hypot(4, 10), abs=0.8), "px")
    assert measures["values"] == {"mean": 200, "std": 0, "min": 200, "max": 200, "unit": None}
    assert measures["mean_uncertainty"] is None


# Stored values and their unit.


def test_values_of_a_ct_are_hounsfield_units_whatever_the_window_and_the_inversion(tmp_path: Path) -> None:
    stored = np.array([[0, 1000, 2000], [1024, 1064, 3000]], np.int16)
    known = {"SOPClassUID": CTImageStorage, "Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        path = dicom(tmp_path / photometric, stored, PhotometricInterpretation=photometric, **known)
        for window in ("brain", (10.0, 5.0), None):
            image = read_image(path, window=window)
            assert image.values is not None
            np.testing.assert_array_equal(image.values, stored - 1024.0)
            assert image.values_unit == "HU"


@pytest.mark.parametrize(
    ("units", "kind", "spoken"),
    [("GML", None, "SUVbw"), ("GML", "LBM", "SUVlbm"), ("BQML", None, None), ("CNTS", None, None)],
)
def test_values_of_a_pet_are_suv_only_where_the_file_says_so(
    tmp_path: Path, units: str, kind: str | None, spoken: str | None
) -> None:
    known = {"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT", "Units": units, "SUVType": kind}
    known = {key: value for key, value in known.items() if value is not None}
    path = dicom(tmp_path / "pet", np.array([[0, 10], [20, 30]], np.int16), RescaleSlope=0.5, **known)
    image = read_image(path)
    assert image.values_unit == spoken
    assert image.values is not None
    np.testing.assert_allclose(image.values, [[0, 5], [10, 15]])


PET = {
    **{"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT", "Units": "BQML", "PatientWeight": 70},
    **{"CorrectedImage": ["DECY", "ATTN", "SCAT"], "DecayCorrection": "START"},
    **{"SeriesDate": "20260101", "SeriesTime": "100000", "AcquisitionDate": "20260101", "AcquisitionTime": "100500"},
}
F18_S = 6586.2
DRUG = {
    **{"RadionuclideTotalDose": 370e6, "RadionuclideHalfLife": F18_S},
    "RadiopharmaceuticalStartDateTime": "20260101090000",
}


def pet(path: Path, drug: dict[str, Any], **changed: Any) -> MedImage:
    """A PET image of 0, 5,000, 10,000 and 15,000 Bq/ml; what is None is left out."""
    known = {**PET, "RadiopharmaceuticalInformationSequence": [item(**drug)], **changed}
    known = {key: value for key, value in known.items() if value is not None}
    return read_image(dicom(path, np.array([[0, 10], [20, 30]], np.int16), RescaleSlope=500, **known))


@pytest.mark.parametrize(
    ("drug", "correction"),
    [
        (DRUG, "START"),
        (DRUG, "ADMIN"),
        ({**DRUG, "RadiopharmaceuticalStartDateTime": "", "RadiopharmaceuticalStartTime": "090000.5"}, "START"),
    ],
)
def test_activity_becomes_suv_by_weight_where_all_is_told(
    tmp_path: Path, drug: dict[str, Any], correction: str
) -> None:
    image = pet(tmp_path / "pet", drug, DecayCorrection=correction)
    waited_s = 3600 if correction == "START" else 0
    dose = 370e6 * 0.5 ** (waited_s / F18_S)
    assert image.values_unit == "SUVbw"
    assert image.values is not None
    np.testing.assert_allclose(image.values, np.array([[0, 5000], [10000, 15000]]) * 70_000 / dose, rtol=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        *({"PatientWeight": None}, {"PatientWeight": 0}, {"Units": "CNTS"}, {"CorrectedImage": ["ATTN"]}),
        *({"DecayCorrection": "NONE"}, {"DecayCorrection": None}, {"SeriesTime": None}, {"AcquisitionTime": "095900"}),
        *({"SeriesDate": "20260201", "AcquisitionDate": "20260201"}, {"SeriesTime": "0830", "AcquisitionTime": "0831"}),
        {"RadiopharmaceuticalInformationSequence": []},
        {"RadiopharmaceuticalInformationSequence": [item(**DRUG), item(**DRUG)]},
        {"RadiopharmaceuticalInformationSequence": [item(**{**DRUG, "RadionuclideTotalDose": ""})]},
        {"RadiopharmaceuticalInformationSequence": [item(**{**DRUG, "RadiopharmaceuticalStartDateTime": "soon"})]},
    ],
    ids=str,
)
def test_activity_stays_what_it_is_where_anything_is_missing_or_odd(tmp_path: Path, changed: dict[str, Any]) -> None:
    image = pet(tmp_path / "pet", DRUG, **changed)
    assert image.values_unit is None
    assert image.values is not None
    np.testing.assert_allclose(image.values, [[0, 5000], [10000, 15000]])


def test_colours_have_no_values(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8))
    assert read_image(tmp_path / "x.npy").values is None
    samples = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    path = dicom(tmp_path / "x", samples, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    assert read_image(path).values is None


def test_every_slice_of_a_volume_has_its_plane_in_the_patient(tmp_path: Path) -> None:
    turned = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    image = oblique_volume(tmp_path / "v.nrrd", turned * np.sign(np.linalg.det(turned)))
    for axis in range(3):
        for shown in read_images(tmp_path / "v.nrrd", axis=axis):
            assert shown.values is not None
            row, column = np.unravel_index(shown.values.argmax(), shown.values.shape)
            place = measure_image(
                shown.values == shown.values.max(), plane_lps=shown.plane_lps, values=shown.values
            ).centroid_lps_mm
            index = image.TransformPhysicalPointToIndex(place)
            assert image[index] == pytest.approx(float(shown.values[row, column]))
