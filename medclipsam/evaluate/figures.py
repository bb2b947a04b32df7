"""Draws how the scores of a run are spread and how a second run changes them, as SVG within a page.

    dice_histogram   how many cases have which Dice; two runs side by side
    dice_pairs       a point for each case: Dice of the first run across, of the second up; above the line it gained

Matplotlib draws them (extra `eval`). The same scores give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np

from medclipsam.errors import MissingExtra

BINS = 20
COLOURS = ("#1f8a65", "#c2410c")
"""First and second run, the same in all figures."""
FADED = "#888888"
WIDTH, HEIGHT, SQUARE = 6.4, 3.0, 3.9
"""Inches."""


def dice_histogram(runs: Mapping[str, Sequence[float]]) -> str:
    """The SVG of the cases' Dice by run, in steps of 0.05.

    Raises:
        MissingExtra: Matplotlib is not installed.
    """
    figure, axes = _figure(WIDTH, HEIGHT)
    edges = np.linspace(0, 1, BINS + 1)
    axes.hist(list(runs.values()), bins=edges, color=COLOURS[: len(runs)], label=list(runs), rwidth=0.9)
    axes.set(xlabel="Dice", ylabel="cases", xlim=(0, 1))
    axes.yaxis.get_major_locator().set_params(integer=True)
    if len(runs) > 1:
        axes.legend(frameon=False)
    return _svg(figure)


def dice_pairs(first: Mapping[str, float], second: Mapping[str, float], names: tuple[str, str]) -> str:
    """The SVG of both runs' Dice over the cases that both measured.

    Raises:
        MissingExtra: Matplotlib is not installed.
    """
    figure, axes = _figure(SQUARE, SQUARE)
    shared = sorted(first.keys() & second.keys())
    axes.axline((0, 0), slope=1, color=FADED, linewidth=1)
    axes.scatter([first[case] for case in shared], [second[case] for case in shared], s=14, color=COLOURS[1], alpha=0.6)
    axes.set(xlabel=f"Dice of {names[0]}", ylabel=f"Dice of {names[1]}", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise MissingExtra("The figures of a report", "eval") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    """The drawing alone, without a header and without the hour; its words stay words."""
    import matplotlib as mpl  # noqa: PLC0415  (optional)

    stream = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medclipsam", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    return text[text.index("<svg") :]
