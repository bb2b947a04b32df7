"""Measures how the package hangs together: how much there is of it, and how many files one image passes on its way.

    python benchmarks/structure.py --tree ../other/checkout --tree . --out benchmarks/results

Of each checkout: files, lines and functions; what runs of it in `segment` and `pseudolabel` on PNGs; through how many
calls a scan goes from the command to `Segmenter.segment`, both counted; what `evaluate` on two folders of masks
imports; and circles of modules that import each other while they are loaded. Every command runs in a process of its own
with the packages of this interpreter. A module counts as run where one of its functions is called.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from types import FrameType
from typing import Any

PACKAGE = "medclipsam"
OPTIMISED = 1
"""The flag of code that is a function's, not a module's or a class's."""
ROWS = {
    "files": "files",
    "lines": "lines",
    "longest": "lines of the longest file",
    "functions": "functions",
    "median": "lines of a function, median",
    "mean": "lines of a function, mean",
    "segment": "modules that run in `segment` on a PNG",
    "segment_calls": "calls from `segment` to `Segmenter.segment`",
    "pseudolabel": "modules that run in `pseudolabel` on two PNGs",
    "pseudolabel_calls": "calls from `pseudolabel` to `Segmenter.segment`",
    "evaluate": "modules imported by `evaluate` on two folders of PNGs",
    "circles": "circles of modules that import each other",
}


def modules(tree: Path) -> dict[str, ast.Module]:
    """The parsed modules of a checkout by their full names."""
    found = {}
    for path in sorted((tree / PACKAGE).rglob("*.py")):
        parts = path.relative_to(tree).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


def size(tree: Path) -> dict[str, float]:
    """Files, lines, and how long files and functions are, from `def` to their last line."""
    lines = [len(path.read_text("utf-8").splitlines()) for path in (tree / PACKAGE).rglob("*.py")]
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules(tree).values()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {
        "files": len(lines),
        "lines": sum(lines),
        "longest": max(lines),
        "functions": len(lengths),
        "median": median(lengths),
        "mean": round(mean(lengths), 1),
    }


def circles(tree: Path) -> list[list[str]]:
    """Groups of modules of which each is imported, over some way, while another of them is loaded."""
    parsed = modules(tree)
    graph = {name: set(_imported(module, parsed.keys())) - {name} for name, module in parsed.items()}
    reached = {name: _reached(name, graph) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(group) for group in groups if group)


def _reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Every module on a way of imports from a module; itself where a way leads back."""
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(graph[name])
    return seen


def _imported(module: ast.Module, known: Container[str]) -> Iterator[str]:
    """The modules of ours that one imports while it is loaded: not inside functions, not for type checkers alone."""
    for node in _loaded(module.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name for name in inside if name in known]
            yield from named
            if len(named) < len(inside) and node.module in known:
                yield node.module


def _loaded(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _loaded(node.orelse)
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from _loaded(getattr(node, part, []))


class Watch:
    """Which modules of a package run, and the calls above the first `Segmenter.segment`."""

    def __init__(self, package: Path) -> None:
        self._start = f"{package}{os.sep}"
        self.run: set[str] = set()
        self.calls: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """A profiler, see `sys.setprofile`."""
        name = frame.f_code.co_filename
        if event != "call" or not name.startswith(self._start) or not frame.f_code.co_flags & OPTIMISED:
            return
        self.run.add(name.removeprefix(self._start))
        if frame.f_code.co_name == "segment" and f"{os.sep}methods{os.sep}" in name and not self.calls:
            self.calls = self._above(frame)

    def _above(self, frame: FrameType | None) -> list[str]:
        """From the command's function, the first in cli/ that is no part of its start, to this one."""
        names: list[str] = []
        while frame:
            file = frame.f_code.co_filename
            if file.startswith(self._start):
                names.append(f"{file.removeprefix(self._start)}:{frame.f_code.co_name}")
            frame = frame.f_back
        return [name for name in reversed(names) if not name.startswith(f"cli{os.sep}__init__")]


def watched(package: Path, work: Callable[[], None]) -> Watch:
    """What runs while some work is done, in all of its threads."""
    watch = Watch(package)
    sys.setprofile(watch)
    threading.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return watch


def command(*words: object) -> None:
    """Run a command of the package that is imported here, without its output."""
    from medclipsam.cli import app  # noqa: PLC0415  (of the checkout that is measured)

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        app([str(word) for word in words], standalone_mode=False)


def draw(folder: Path) -> None:
    """Two scans, and two folders of masks of them."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    for index in range(2):
        pixels = np.zeros((96, 96), np.uint8)
        pixels[30:60, 20 : 60 + index] = 200
        for name, values in (("scans", pixels // 2 + 20), ("truth", pixels), ("masks", np.roll(pixels, 3))):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(values).save(folder / name / f"a{index}.png")


def inside(tree: Path, what: str) -> dict[str, Any]:
    """The figures of one command; the process is its own, so that nothing is loaded yet."""
    sys.path.insert(0, str(tree))
    asked = {
        "segment": ("segment", "scans/a0.png", "-p", "breast tumor", "-o", "one", "--always"),
        "pseudolabel": ("pseudolabel", "scans", "-p", "breast tumor", "-o", "many", "--always"),
        "evaluate": ("evaluate", "masks", "truth"),
    }[what]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        draw(Path(folder))
        watch = watched(tree / PACKAGE, lambda: command(*asked))
    names = [name for name in sys.modules if name.partition(".")[0] == PACKAGE]
    return {"run": sorted(watch.run), "calls": watch.calls, "imported": len(names)}


def outside(tree: Path, what: str) -> dict[str, Any]:
    """`inside`, in a process that imports the checkout's package."""
    line = [sys.executable, __file__, "--tree", str(tree), "--inside", what]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(tree)})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(tree: Path) -> dict[str, Any]:
    """All figures of a checkout, by the names of `ROWS`."""
    segment, pseudolabel, evaluate = (outside(tree, what) for what in ("segment", "pseudolabel", "evaluate"))
    return {
        **size(tree),
        "segment": len(segment["run"]),
        "segment_calls": len(segment["calls"]),
        "pseudolabel": len(pseudolabel["run"]),
        "pseudolabel_calls": len(pseudolabel["calls"]),
        "evaluate": evaluate["imported"],
        "circles": len(circles(tree)),
        "ways": {"segment": segment, "pseudolabel": pseudolabel},
    }


def name_of(tree: Path) -> str:
    """The checkout's commit, short."""
    asked = ["git", "-C", str(tree), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def markdown(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each figure, one column for each checkout, and the calls of the last one."""
    yielded = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for key, title in ROWS.items():
        yielded.append(f"| {title} | {' | '.join(f'{found[key]:,}' for found in columns.values())} |")
    name, last = list(columns.items())[-1]
    for what, way in last["ways"].items():
        yielded += ["", f"`{what}` in {name}: {' > '.join(way['calls'])}"]
    return "\n".join(yielded) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, action="append", help="a checkout; several stand side by side")
    parser.add_argument("--out", type=Path, help="a folder to write structure.md into")
    parser.add_argument("--modules", action="store_true", help="also name the modules that run")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    trees = [tree.resolve() for tree in chosen.tree or [Path(__file__).parents[1]]]
    if chosen.inside:
        print(json.dumps(inside(trees[0], chosen.inside)))
        return
    found = {name_of(tree): measure(tree) for tree in trees}
    print(markdown(found))
    for name, figures in found.items() if chosen.modules else ():
        for what, way in figures["ways"].items():
            print(name, what, *way["run"], sep="\n  ")
    if chosen.out:
        (chosen.out / "structure.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
