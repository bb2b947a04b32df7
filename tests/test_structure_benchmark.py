"""The program that measures the package's structure counts what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import structure


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three modules: a and b import each other while they are loaded, c imports a inside a function."""
    package = tmp_path / "medclipsam"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from medclipsam import b\n\n\ndef one():\n    return b.two()\n")
    (package / "b.py").write_text("import medclipsam.a\n\n\ndef two():\n    return 2\n\n\ndef three(): return 3\n")
    (package / "c.py").write_text("def four():\n    from medclipsam import a\n\n    return a.one()\n")
    return tmp_path


def test_files_and_functions_are_counted_with_their_lines(tree: Path) -> None:
    found = structure.size(tree)
    assert (found["files"], found["lines"], found["longest"]) == (4, 17, 8)
    assert (found["functions"], found["median"], found["mean"]) == (4, 2, 2.2)


def test_a_circle_is_found_once_and_an_import_inside_a_function_closes_none(tree: Path) -> None:
    assert structure.circles(tree) == [["medclipsam.a", "medclipsam.b"]]
    (tree / "medclipsam" / "b.py").write_text("def two():\n    from medclipsam import a\n")
    assert structure.circles(tree) == []


def test_what_is_imported_for_type_checkers_alone_closes_no_circle(tree: Path) -> None:
    lines = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from medclipsam.a import one\n"
    (tree / "medclipsam" / "b.py").write_text(lines)
    assert structure.circles(tree) == []


def test_no_modules_of_this_package_import_each_other_in_a_circle() -> None:
    assert structure.circles(Path(__file__).parents[1]) == []


def test_a_module_runs_where_a_function_of_it_is_called(tree: Path) -> None:
    package = tree / "medclipsam"
    spaces: dict[str, Callable[[], None]] = {}
    exec(compile((package / "b.py").read_text().partition("\n")[2], str(package / "b.py"), "exec"), spaces)
    watch = structure.watched(package, spaces["two"])
    assert watch.run == {"b.py"}
