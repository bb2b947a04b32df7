"""NumPy arrays from files and from memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medclipsam.errors import BadInput
from medclipsam.io import image_from_array, read_image
from medclipsam.types import MedImage

SHAPES = st.tuples(st.integers(2, 9), st.integers(2, 9))


@given(
    hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.uint16, np.int16, np.int64, np.uint32, np.float32, np.float64]),
        st.one_of(SHAPES, SHAPES.map(lambda shape: (*shape, 3))),
    )
)
def test_every_array_of_numbers_is_shown_or_refused_for_being_not_finite(array: np.ndarray) -> None:
    try:
        image = image_from_array(array)
    except BadInput as error:
        assert "NaN or infinite" in str(error)
        assert not np.isfinite(array).all()
        return
    assert isinstance(image, MedImage)
    assert image.size == array.shape[:2]


def test_a_file_and_its_array_are_the_same_image(tmp_path: Path) -> None:
    array = np.linspace(-1000, 1000, 60).reshape(6, 10)
    np.save(tmp_path / "x.npy", array)
    from_file = read_image(tmp_path / "x.npy")
    from_memory = image_from_array(array, name="x", spacing_mm=(0.5, 0.25))
    assert from_file.digest == from_memory.digest
    assert (from_file.format, from_memory.format) == ("npy", "array")
    assert from_memory.spacing_mm == (0.5, 0.25)
    assert from_memory.name == "x"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_byte_and_memory_order_do_not_matter(tmp_path: Path, order: str, dtype: str) -> None:
    array = np.arange(42, dtype=np.uint16).reshape(6, 7) * 1000
    np.save(tmp_path / "x.npy", np.asarray(array, dtype, order=order))
    assert read_image(tmp_path / "x.npy").digest == image_from_array(array).digest


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_values_of_the_unit_range_stay(dtype: type) -> None:
    array = np.array([[0, 1], [1, 0]], dtype) * (255 if dtype is np.uint8 else 1)
    assert image_from_array(array).pixels[..., 0].tolist() == [[0, 1], [1, 0]]


def test_a_hounsfield_window_is_applied_to_signed_values() -> None:
    values = np.array([[-1350, -600], [150, 0]], np.int16)
    shown = image_from_array(values, window="lung").pixels[..., 0]
    np.testing.assert_allclose(shown, [[0, 0.5], [1, 0.9]], atol=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5,)),
        np.zeros((5, 5, 2)),
        np.zeros((5, 5, 4)),
        np.zeros((2, 5, 5, 3)),
        np.zeros((0, 5)),
        np.zeros((1, 1)),
        np.zeros((5, 5), complex),
        np.zeros((5, 5), [("a", "u1")]),
        np.full((5, 5), "x"),
        np.full((5, 5), np.nan),
        np.full((5, 5), -np.inf),
    ],
)
def test_arrays_that_are_no_picture_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    for read in (lambda: image_from_array(array), lambda: read_image(tmp_path / "x.npy")):
        with pytest.raises(BadInput) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    array = np.empty((3, 3), object)
    array[:] = [[Trap()] * 3] * 3
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(BadInput):
        read_image(tmp_path / "x.npy")
    assert not (tmp_path / "sprung").exists()


def test_a_size_that_the_file_does_not_hold_is_refused_without_allocating(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((7, 7)))
    path.write_bytes(path.read_bytes().replace(b"(7, 7)", b"(8000, 8000)"))
    with pytest.raises(BadInput):
        read_image(path)


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((20, 30), np.uint8))
    with pytest.raises(BadInput, match="30 x 20"):
        read_image(tmp_path / "x.npy", max_pixels=599)
