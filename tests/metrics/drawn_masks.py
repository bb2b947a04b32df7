"""Masks drawn by hand, and by chance."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays


def disk(radius: float, x: float, y: float = 128, size: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def picture(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def mask_pairs(dimensions: int = 2, side: int = 9) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Two random masks of one size, empty and full ones among them."""
    shapes = arrays.array_shapes(min_dims=dimensions, max_dims=dimensions, min_side=1, max_side=side)
    return shapes.flatmap(lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape)))
