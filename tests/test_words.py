"""What the code says of itself reads at once: modules state what they do, attributes have full phrases."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "medclipsam"
MODULES = sorted(PACKAGE.rglob("*.py"))


def docstrings(tree: ast.Module) -> list[str]:
    """Every string that stands alone: docstrings of modules, classes, functions and attributes."""
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return [value.value for value in found if isinstance(value, ast.Constant) and isinstance(value.value, str)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_states_what_it_does_and_nothing_begins_with_of(path: Path) -> None:
    tree = ast.parse(path.read_text())
    first = (ast.get_docstring(tree) or "").partition("\n")[0]
    assert "?" not in first
    assert [text for text in docstrings(tree) if text.startswith("Of ")] == []
