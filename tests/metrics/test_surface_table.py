"""Does the table of the two surfaces say what they measure now?"""

from __future__ import annotations

from pathlib import Path

import pytest
from surface_methods import BODIES, SPACINGS, row

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", BODIES)
def test_each_row_of_the_page_is_what_is_measured(name: str, spacing: tuple[float, float, float]) -> None:
    assert f"| {' | '.join(row(name, spacing))} |" in PAGE
