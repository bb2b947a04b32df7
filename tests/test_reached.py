"""Whatever the package defines is used by the package, a benchmark or an example: what tests alone use is dead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CALLED_BY_LIBRARIES = {"list_commands", "model_config", "render", "seekable"}
"""Methods and fields of click, pydantic, rich and io that ours replace."""
CALLED_FROM_OUTSIDE = (".command", ".callback", ".get(", ".post(", ".delete(", ".tool(")
"""Decorators of what a command line, a request or another program calls."""
WRITTEN_AS_FIELDS = {"learned_from", "finite_mean"}
"""Of dataclasses that go into JSON whole."""
READ_BY_OTHERS = {"read_journal", "kept_s", "media_type", "most_upload_bytes"}
"""Reads what a training run writes, for people's own programs; fields of the server's answers."""


def used(path: Path) -> Iterator[str]:
    """Every name that a file reads, also in short strings: names that are loaded when asked for stand in tables."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
            yield from node.value.replace(":", " ").split()


def defined(path: Path) -> Iterator[str]:
    """Functions, classes, methods, fields and constants of a file, but for commands, routes and tools."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if not any(kind in decorator for decorator in decorators for kind in CALLED_FROM_OUTSIDE):
                yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def test_nothing_is_defined_that_only_tests_use() -> None:
    reached = CALLED_BY_LIBRARIES | WRITTEN_AS_FIELDS | READ_BY_OTHERS
    for folder in ("medclipsam", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            reached.update(used(path))
    for manifest in (ROOT / "medclipsam").rglob("*.yaml"):  # what napari calls by name
        reached.update(re.findall(r"\w+", manifest.read_text("utf-8")))
    unreached = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "medclipsam").rglob("*.py"))
        for name in defined(path)
        if name not in reached and not name.startswith("__")
    ]
    assert unreached == []
