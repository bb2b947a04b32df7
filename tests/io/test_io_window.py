"""Windows, percentiles and full scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medclipsam.errors import BadInput
from medclipsam.io.window import (
    NAMED_HU,
    as_rgb,
    between,
    display,
    full_scale,
    parse_window,
    percentile_range,
    without_padding,
)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("lung", "lung"),
        ("percentiles", "percentiles"),
        ("40,400", (40.0, 400.0)),
        ("-600,1500.5", (-600.0, 1500.5)),
        ("2", 1),
        ("auto", "auto"),
        ("file", "file"),
    ],
)
def test_what_a_person_writes_becomes_a_window(text: str, window: object) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize(
    "text", ["", "lungs", "40", "0", "100", "40,", "40,0", "40,-1", "nan,1", "1,inf", "1,2,3", "x" * 9999]
)
def test_what_is_no_window_is_refused_in_one_short_line(text: str) -> None:
    if text == "40":
        assert parse_window(text) == 39
        return
    with pytest.raises(BadInput) as caught:
        parse_window(text)
    assert len(str(caught.value)) < 250


def test_a_window_maps_its_edges_to_black_and_white() -> None:
    values = np.array([-2000, -1350, -600, 150, 3000])
    shown = display(values[None], "lung", "x")[0]
    assert shown.tolist() == [0, 0, 0.5, 1, 1]


@given(hnp.arrays(np.uint8, (5, 7)))
def test_a_sixteen_bit_twin_shows_as_its_eight_bit_original(image: np.ndarray) -> None:
    twin = image.astype(np.uint16) * 257
    np.testing.assert_allclose(display(twin, None, "x"), display(image, None, "x"), atol=1e-7)


@pytest.mark.parametrize(
    ("brightest", "white"),
    [(200, 255), (256, 1023), (1000, 1023), (1024, 4095), (4095, 4095), (4096, 16383), (60000, 65535)],
)
def test_white_of_sixteen_bit_samples_is_the_depth_they_use(brightest: int, white: float) -> None:
    assert full_scale(np.array([[1, brightest]], np.uint16)) == white


@given(hnp.arrays(np.float32, (4, 6), elements=st.floats(-1e6, 1e6, width=32)))
def test_every_finite_array_is_shown_between_black_and_white(values: np.ndarray) -> None:
    shown = display(values, None, "x")
    assert shown.dtype == np.float32
    assert shown.shape == values.shape
    assert 0 <= shown.min() <= shown.max() <= 1


@given(hnp.arrays(np.int16, (4, 6)), st.integers(-500, 500), st.integers(1, 50))
def test_percentiles_do_not_depend_on_offset_and_scale(values: np.ndarray, offset: int, scale: int) -> None:
    moved = values.astype(np.int64) * scale + offset
    np.testing.assert_allclose(display(moved, None, "x"), display(values, None, "x"), atol=1e-6)


def test_percentiles_of_int16_do_not_overflow() -> None:
    values = np.full((4, 6), 32767, np.int16)
    values[0, 0] = -32768
    assert display(values, None, "x")[0, 0] == 0


def test_a_range_without_width_falls_back_to_the_full_range() -> None:
    values = np.zeros((100, 100))
    values[0, 0] = 9
    assert percentile_range(values) == (0, 9)


CT = np.linspace(-1024, 1500, 6000).round()
BLURRED = np.linspace(-3000, -1030, 100).round()
"""Between padding and air, as resampling gives them."""


@pytest.mark.parametrize("padding", [-2000, -2048, -3024, -32768])
def test_the_padding_of_a_ct_is_left_out(padding: int) -> None:
    padded = np.concatenate([CT, np.full(2000, padding), BLURRED]).astype(np.int16)
    np.testing.assert_array_equal(without_padding(padded), CT)
    assert percentile_range(without_padding(padded)) == percentile_range(CT)


@pytest.mark.parametrize(
    "values",
    [CT, np.linspace(-4096, 4095, 8192), np.concatenate([CT, BLURRED]), np.full(50, -3024.0), np.empty(0)],
    ids=["a CT without", "a phase image", "a few low values", "nothing but padding", "nothing"],
)
def test_what_has_no_padding_stays_as_it_is(values: np.ndarray) -> None:
    assert without_padding(values) is values


def test_a_constant_image_becomes_black_with_a_warning() -> None:
    for constant in (
        np.zeros((3, 3), np.float32),
        np.full((3, 3), 0.7, np.float32),
        np.full((3, 3, 3), 0.2, np.float32),
    ):
        pixels, warned = as_rgb(constant)
        assert not pixels.any()
        assert len(warned) == 1


def test_a_colour_image_of_one_colour_is_constant_and_one_of_two_is_not() -> None:
    red = np.zeros((2, 2, 3), np.float32)
    red[..., 0] = 1
    assert as_rgb(red)[1]
    red[0, 0, 1] = 1
    assert not as_rgb(red)[1]


def test_an_empty_range_is_black() -> None:
    assert not between(np.arange(4), 3, 3).any()


@pytest.mark.parametrize("window", [*NAMED_HU, 0])
def test_grey_levels_have_no_hounsfield_window_and_no_numbered_one(window: str | int) -> None:
    with pytest.raises(BadInput):
        display(np.zeros((3, 3), np.uint8), window, "x")


def test_colours_have_no_window() -> None:
    with pytest.raises(BadInput, match="colour"):
        display(np.zeros((3, 3, 3), np.uint8), (1.0, 2.0), "x")


@pytest.mark.parametrize("window", ["file", "auto"])
@pytest.mark.parametrize("values", [np.float32([[0.25, 7], [-3, 5]]), np.uint8([[0, 9], [200, 255]])])
def test_a_picture_from_memory_is_its_own_in_the_files_window(window: str, values: np.ndarray) -> None:
    assert np.array_equal(display(values, window, "a"), display(values, None, "a"))
