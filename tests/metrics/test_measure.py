"""Numbers of masks against shapes of known size, and against SimpleITK's label statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medclipsam.metrics.measure import diameters_of, measure_image, slab_widths_mm
from medclipsam.metrics.measure_stack import measure_stack

SPACINGS = [(1.0, 1.0), (0.5, 0.5), (0.4, 1.5)]


def ellipse(
    axes_mm: tuple[float, float], angle: float, spacing_mm: tuple[float, float], size_mm: float = 80
) -> np.ndarray:
    """Pixels whose centre lies inside an ellipse of these whole axes, turned by an angle, around the middle."""
    rows, columns = (np.arange(0, size_mm, step) for step in spacing_mm)
    y, x = np.meshgrid(rows - size_mm / 2 + 0.1, columns - size_mm / 2 - 0.2, indexing="ij")
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (2 * u / axes_mm[0]) ** 2 + (2 * v / axes_mm[1]) ** 2 <= 1


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.0, math.pi / 2])
@pytest.mark.parametrize("axes", [(40.0, 20.0), (30.0, 29.0), (60.0, 10.0)])
def test_an_ellipse_has_its_area_and_axes_within_a_pixel(
    axes: tuple[float, float], angle: float, spacing: tuple[float, float]
) -> None:
    measures = measure_image(ellipse(axes, angle, spacing), spacing_mm=spacing)
    pixel = max(spacing)
    assert measures.area_mm2 == pytest.approx(math.pi * axes[0] * axes[1] / 4, rel=0.03)
    assert measures.diameters is not None
    assert measures.diameters.unit == "mm"
    assert measures.diameters.longest == pytest.approx(axes[0], abs=pixel)
    # The long axis of a nearly round shape may lie anywhere, so the short one is exact for slender ones only.
    assert measures.diameters.perpendicular == pytest.approx(axes[1], abs=max(pixel, axes[0] - 1.3 * axes[1]))
    assert measures.parts == 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 1), (12, 30)])
def test_a_box_has_its_diagonal_within_a_pixel_and_one_pixel_its_longer_side(height: int, width: int) -> None:
    mask = np.zeros((40, 50), bool)
    mask[5 : 5 + height, 8 : 8 + width] = True
    longest, perpendicular = diameters_of(mask, (2.0, 0.5))
    assert longest <= math.hypot(height * 2.0, width * 0.5) <= longest + math.hypot(2.0, 0.5)
    if 1 in (height, width):
        assert longest == max(height * 2.0, width * 0.5)
        assert perpendicular == min(height * 2.0, width * 0.5)


def test_the_perpendicular_is_a_chord_and_not_the_width_of_the_shadow() -> None:
    """A kite 40 long, one corner 10 above it at a quarter, one 10 below at three quarters: its shadow is 20 wide."""
    y, x = np.meshgrid(np.arange(-150, 151) / 10, np.arange(0, 401) / 10, indexing="ij")
    above = np.minimum(x, (40 - x) / 3)
    kite = (y <= above) & (-y <= above[:, ::-1])
    longest, perpendicular = diameters_of(kite, (0.1, 0.1))
    assert longest == pytest.approx(40, abs=0.2)
    assert perpendicular == pytest.approx(10 + 10 / 3, abs=0.2)


def test_diameters_are_those_of_the_largest_part_and_all_parts_are_counted() -> None:
    mask = np.zeros((60, 60), bool)
    mask[0, 0] = mask[59, 59] = mask[1, 1] = True
    mask[20:30, 20:40] = True
    measures = measure_image(mask)
    assert measures.parts == 3
    assert measures.diameters is not None
    assert measures.diameters.unit == "px"
    assert measures.diameters.longest == pytest.approx(math.hypot(10, 20), abs=1)


def test_an_empty_mask_has_no_place_and_no_values() -> None:
    measures = measure_image(np.zeros((4, 5), bool), spacing_mm=(1, 1), values=np.ones((4, 5)), plane_lps=np.eye(3))
    assert (measures.area_px, measures.area_mm2, measures.parts) == (0, 0, 0)
    assert measures.diameters is measures.centroid_px is measures.centroid_lps_mm is measures.values is None


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(bool, st.tuples(st.integers(2, 12), st.integers(2, 12))),
    st.sampled_from([(1.0, 1.0), (0.5, 2.0)]),
    st.integers(0, 2**31),
)
def test_area_centroid_and_values_are_those_of_simpleitk(
    mask: np.ndarray, spacing: tuple[float, float], seed: int
) -> None:
    if not mask.any():
        mask[0, 0] = True
    values = np.random.default_rng(seed).normal(0, 300, mask.shape).astype(np.float32)
    label, scan = (sitk.GetImageFromArray(array) for array in (mask.astype(np.uint8), values))
    for image in (label, scan):
        image.SetSpacing(spacing[::-1])
    shape, intensity = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shape.Execute(label)
    intensity.Execute(label, scan)
    measures = measure_image(mask, spacing_mm=spacing, values=values)
    assert measures.area_mm2 == pytest.approx(shape.GetPhysicalSize(1))
    assert measures.centroid_px is not None
    x, y = measures.centroid_px
    assert (x * spacing[1], y * spacing[0]) == pytest.approx(shape.GetCentroid(1))
    assert measures.values is not None
    assert measures.values.mean == pytest.approx(intensity.GetMean(1), abs=1e-3)
    assert (measures.values.least, measures.values.largest) == (intensity.GetMinimum(1), intensity.GetMaximum(1))
    if measures.area_px > 1:
        assert measures.values.deviation == pytest.approx(intensity.GetStandardDeviation(1), rel=1e-5, abs=1e-3)
    else:
        assert measures.values.deviation is None


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(2, 14), st.integers(2, 14))))
def test_the_long_axis_is_the_distance_of_centres_of_simpleitk_and_at_most_a_pixel_more(mask: np.ndarray) -> None:
    labelled = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputeFeretDiameterOn()
    shape.Execute(labelled)
    for label in shape.GetLabels():
        part = sitk.GetArrayFromImage(labelled) == label
        longest, perpendicular = diameters_of(part)
        assert shape.GetFeretDiameter(label) <= longest <= shape.GetFeretDiameter(label) + 1 + 1e-9
        assert 0 < perpendicular <= longest + 1e-9


# Stacks of slices.


def sphere(radius_mm: float, places_mm: np.ndarray, pixel_mm: float) -> list[np.ndarray]:
    """The slices of a ball around (0, 0, 0) at these places."""
    side = np.arange(-radius_mm - 2, radius_mm + 2, pixel_mm)
    y, x = np.meshgrid(side, side, indexing="ij")
    return [x**2 + y**2 + place**2 <= radius_mm**2 for place in places_mm]


@pytest.mark.parametrize(
    "places",
    [
        np.arange(-27, 28, 3.0),
        np.arange(27, -28, -3.0),
        np.sort(np.concatenate([np.arange(-28, 0, 4.0), np.arange(0, 28, 2.0)])),
        np.delete(np.arange(-27, 28, 3.0), [6, 11]),
    ],
    ids=["even", "from the top", "uneven", "two missing"],
)
def test_a_ball_has_its_volume_by_real_places(places: np.ndarray) -> None:
    slices = {
        str(number): measure_image(mask, spacing_mm=(0.5, 0.5)) for number, mask in enumerate(sphere(20.0, places, 0.5))
    }
    found = measure_stack(slices, places.tolist())
    assert found.volume_mm3 == pytest.approx(4 / 3 * math.pi * 20**3, rel=0.01)
    assert found.diameters is not None
    assert found.diameters.longest == pytest.approx(40, abs=0.6)
    assert found.diameters.image == str(int(np.abs(places).argmin()))


def test_gaps_between_slices_count_and_the_ends_stand_for_as_much_outwards() -> None:
    np.testing.assert_allclose(slab_widths_mm([0, 5, 10, 15]), 5)
    np.testing.assert_allclose(slab_widths_mm([0, 5, 20, 25]), [5, 10, 10, 5])
    box = measure_image(np.ones((10, 20), bool), spacing_mm=(2.0, 1.0))
    assert measure_stack({"a": box, "b": box, "c": box}, [0, 5, 10]).volume_mm3 == 10 * 20 * 2 * 15
    for places in (None, [4.0]):
        assert measure_stack({"a": box}, places).volume_mm3 is None


@pytest.mark.parametrize("seed", range(5))
def test_volume_centroid_and_values_of_an_oblique_stack_are_those_of_simpleitk(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((5, 9, 8)) < 0.3
    values = generator.normal(40, 15, mask.shape)
    spacing, origin = (0.7, 1.3, 4.0), (-30.0, 12.0, 5.0)
    direction = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    label, scan = sitk.GetImageFromArray(mask.astype(np.uint8)), sitk.GetImageFromArray(values)
    for image in (label, scan):
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction.ravel().tolist())
    shape, intensity = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelIntensityStatisticsImageFilter()
    shape.Execute(label)
    intensity.Execute(label, scan)
    slices = {}
    for index in range(5):
        corner = np.array(origin) + direction[:, 2] * spacing[2] * index
        plane = np.column_stack([direction[:, 1] * spacing[1], direction[:, 0] * spacing[0], corner])
        slices[str(index)] = measure_image(
            mask[index], spacing_mm=(spacing[1], spacing[0]), plane_lps=plane, values=values[index]
        )
    found = measure_stack(slices, [4.0 * index for index in range(5)])
    assert found.volume_mm3 == pytest.approx(shape.GetPhysicalSize(1))
    assert found.centroid_lps_mm == pytest.approx(shape.GetCentroid(1))
    assert found.voxels == shape.GetNumberOfPixels(1)
    assert found.values is not None
    assert found.values.mean == pytest.approx(intensity.GetMean(1))
    assert found.values.deviation == pytest.approx(intensity.GetStandardDeviation(1))
