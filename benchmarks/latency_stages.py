"""Times the stages of one answer in the process that runs it, for `latency.py`; it works on older commits too.

python benchmarks/latency_stages.py IMAGE PROMPT SECOND_PROMPT ENGINE  ->  JSON: [[stage, wall s, processor s], ...]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

OVERLAYS = ("medclipsam.drawing.overlay", "medclipsam.overlay")
RUNS = ("medclipsam.runs.one_scan", "medclipsam.scan")
"""Where modules lie, and lay before."""
TORCH = "torch"


def main() -> None:
    """Run every stage once, each in the state that the one before left, and print what it took."""
    path, prompt, second, engine = sys.argv[1:]
    told: list[tuple[str, float, float]] = []
    kept: dict[str, Any] = {}

    def stage(name: str, work: Callable[[], Any]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        kept[name] = work()
        told.append((name, time.perf_counter() - wall, time.process_time() - processor))

    stage("command line", command_line)
    method = "medclipsam.methods.loading" if engine == TORCH else "medclipsam.methods.exported"
    stage("import torch", lambda: __import__("torch") if engine == TORCH else None)
    stage("import the rest", lambda: [first_of(method), first_of(*OVERLAYS), first_of(*RUNS)])
    medclipsam = __import__("medclipsam")
    choice = {} if engine == TORCH else {"encoder_engine": engine}
    stage("load the models", lambda: medclipsam.load("embedded", **choice))
    stage("read the image", lambda: medclipsam.read_image(path))
    segmenter, image = kept["load the models"], kept["read the image"]
    stage("first prompt", lambda: segmenter.segment(image, prompt, always=True))
    stage("second prompt", lambda: segmenter.segment(image, second, always=True))
    stage("draw and pack the overlay", lambda: drawn(image, kept["first prompt"]))
    print(json.dumps(told))


def command_line() -> None:
    """Start as the command does, which also sets up the process."""
    from medclipsam import cli  # noqa: PLC0415
    from medclipsam.cli import segment  # noqa: F401, PLC0415

    given, sys.argv, sys.stdout = sys.argv, ["medclipsam", "--version"], sys.stderr
    with suppress(SystemExit):
        cli.main()
    sys.argv, sys.stdout = given, sys.__stdout__


def first_of(*names: str) -> Any:
    """The first module of these that exists."""
    for name in names:
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise SystemExit(f"none of {', '.join(names)} is here")


def drawn(image: Any, result: Any) -> bytes:
    """The overlay as the command packs it."""
    from io import BytesIO  # noqa: PLC0415

    level = getattr(first_of(*RUNS), "QUICK", None)
    options = {} if level is None else {"compress_level": level}
    stream = BytesIO()
    first_of(*OVERLAYS).draw_overlay(image, result).save(stream, "PNG", **options)
    return stream.getvalue()


if __name__ == "__main__":
    main()
