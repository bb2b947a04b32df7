"""How the benchmark of inverted greys counts, and that it learns."""

from __future__ import annotations

import greys
import numpy as np
import pytest


def pair(folder: str, seed: int) -> greys.Pair:
    """A bright disc on black, which its negative is not."""
    rows, columns = np.mgrid[:48, :48]
    noise = np.random.default_rng(seed).uniform(0, 0.2, (48, 48))
    disc = (np.hypot(rows - 24, columns - 24) < 12 + seed % 5) * 0.7 + noise
    pixels = np.repeat(disc[..., None], 3, axis=2).astype(np.float32)
    return greys.Pair(folder=folder, split="train", plain=greys.signs(pixels), negative=greys.signs(1 - pixels))


def test_what_is_learned_tells_pictures_of_another_folder_from_their_negatives() -> None:
    pairs = [pair(folder, number) for folder in "ab" for number in range(6)]
    found = greys.of_strangers(pairs)
    assert set(found) == {"a", "b"}
    assert all(difference < 0 for values in found.values() for difference in values)


def test_folders_count_alike_and_a_negative_has_the_other_sign() -> None:
    found = {"many": [-4.0] * 49 + [3.0], "one": [-1.0]}
    assert greys.share(found, 2.0, inverted=False) == pytest.approx(0.01)
    assert greys.share(found, 2.0, inverted=True) == pytest.approx(0.49)
    assert greys.chosen_least(found) == 3.5, "one in a hundred strangers is more than may be taken for inverted"
