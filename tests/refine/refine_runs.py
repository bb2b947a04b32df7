"""What tests of refinement share: a recipe of seconds."""

from __future__ import annotations

from medclipsam.refine.recipe import RefineRecipe

SMALL = RefineRecipe(epochs=6, cycles=2, keep=1, batch_size=4, side=32, widths=(4, 8, 16), learning_rate=2e-2)


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
