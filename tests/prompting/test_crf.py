from __future__ import annotations

import numpy as np
import pytest

from medclipsam.config import Coarse
from medclipsam.errors import BadInput
from medclipsam.prompting.coarse import coarse_mask
from medclipsam.prompting.crf import MeanField, refined

NARROW = MeanField(smoothness_px=1.0, appearance_px=1.0, appearance_grey=40.0, steps=2)


def random_case(seed: int, *, grey: bool, size: tuple[int, int] = (7, 9)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    pixels = random.random((*size, 3))
    if grey:
        pixels[:] = pixels[..., :1]
    return random.random(size).astype(np.float32), pixels.astype(np.float32)


def by_all_pairs(probability: np.ndarray, pixels: np.ndarray, settings: MeanField) -> np.ndarray:
    """Mean field over full kernel matrices with two labels kept apart, as the energies are written in the spec."""
    places = np.argwhere(np.ones(probability.shape, bool)).astype(float)
    colours = pixels.reshape(-1, 3).astype(float) * 255
    apart = places[:, None] - places[None]
    within = (np.abs(apart) <= 3).all(axis=-1)
    nearness = np.exp(-(apart**2).sum(-1) / 2) * within
    likeness = np.exp(-((colours[:, None] - colours[None]) ** 2).sum(-1) / (2 * settings.appearance_grey**2))
    inside = probability.ravel().astype(float)
    labels = np.stack([1 - inside, inside])
    kernels = (settings.smoothness_weight, nearness), (settings.appearance_weight, nearness * likeness)
    unary = -np.log(labels + 1e-8) * (1 + np.exp(-labels)) / settings.temperature
    estimate = np.exp(-unary) / np.exp(-unary).sum(0)
    for _ in range(settings.steps):
        energy = unary.copy()
        for weight, kernel in kernels:
            row_sums = kernel.sum(1)
            energy -= weight * estimate @ (kernel / np.sqrt(np.outer(row_sums, row_sums)))
        estimate = np.exp(-energy) / np.exp(-energy).sum(0)
    return estimate[1].reshape(probability.shape)


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_windows_give_what_the_full_kernel_matrices_give(seed: int, grey: bool) -> None:
    probability, pixels = random_case(seed, grey=grey)
    np.testing.assert_allclose(
        refined(probability, pixels, NARROW), by_all_pairs(probability, pixels, NARROW), atol=2e-5
    )


def test_the_border_of_a_blurred_map_moves_to_the_edge_in_the_image() -> None:
    rows, columns = np.mgrid[:48, :48]
    truth = columns < 24
    pixels = np.repeat(np.where(truth, 0.8, 0.2)[..., None], 3, axis=2).astype(np.float32)
    saliency = (1 / (1 + np.exp((columns - 26.5) / 6.0)) + 0 * rows).astype(np.float32)
    before = np.mean((saliency > 0.5) != truth)
    after = np.mean((refined(saliency, pixels, MeanField(appearance_weight=20.0, steps=5)) > 0.5) != truth)
    assert before > 0.05
    assert after < before / 2


def test_an_isolated_pixel_is_smoothed_away() -> None:
    saliency = np.full((21, 21), 0.1, np.float32)
    saliency[10, 10] = 0.7
    pixels = np.full((21, 21, 3), 0.5, np.float32)
    assert refined(saliency, pixels).max() < 0.5


def test_certain_pixels_stay_finite_and_in_range() -> None:
    saliency = np.repeat([[0.0, 1.0]], 6, axis=0).astype(np.float32)
    result = refined(saliency, np.zeros((6, 2, 3), np.float32), MeanField(steps=5))
    assert np.isfinite(result).all()
    assert (result >= 0).all()
    assert (result <= 1).all()


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(BadInput, match="differ in size"):
        refined(np.full((4, 5), 0.5, np.float32), np.zeros((5, 4, 3), np.float32))


def test_the_coarse_mask_may_come_from_the_crf() -> None:
    rows, columns = np.mgrid[:40, :40]
    disk = (rows - 20) ** 2 + (columns - 18) ** 2 <= 100
    saliency = np.exp(-((rows - 20) ** 2 + (columns - 18) ** 2) / 150).astype(np.float32)
    pixels = np.repeat(np.where(disk, 0.7, 0.3)[..., None], 3, axis=2).astype(np.float32)
    mask = coarse_mask(saliency, Coarse(method="crf"), pixels)
    assert np.mean(mask != disk) < 0.01
