"""Runs graphs with OpenVINO.

A compiled graph is kept in place of its file and opened from there: compiling LiteMedSAM's encoder takes 0.8 s of the
processor, opening what was compiled 0.3 s. OpenVINO's own cache does not tell the precisions apart: what one compiled,
the other opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from medclipsam.engines import Graph
from medclipsam.io.atomic import suffixed, write_atomic
from medclipsam.types import FloatArray

HINTS = {"fp32": "f32", "bf16": "bf16"}
COMPILED = ".compiled"


def open_graph(file: Path, precision: str, threads: int) -> Graph:
    """Open the graph of an `.xml` file from what `compile_graph` made of it."""
    blob = openvino.Tensor(np.memmap(suffixed(file, COMPILED), np.uint8, "r"))
    return _OpenVinoGraph(openvino.Core().import_model(blob, "CPU", _options(precision, threads)))


def compile_graph(file: Path, precision: str, threads: int) -> None:
    """Put what OpenVINO makes of a graph on this machine in the place of its file."""
    made = openvino.Core().compile_model(file, "CPU", _options(precision, threads))
    write_atomic(suffixed(file, COMPILED), made.export_model().getvalue())
    for path in (file, file.with_suffix(".bin")):
        path.unlink()


def _options(precision: str, threads: int) -> dict[str, Any]:
    """No thread is bound to a core: each process would bind its own to the first ones, and shards and workers would
    share them while others idle."""
    return {
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }


class _OpenVinoGraph:
    """A process that answers once has no use for what its answer was computed in: 59 MiB of LiteMedSAM's encoder.

    One that answers again takes them again, once.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._is_first = compiled, True

    def __call__(self, *inputs: Any) -> tuple[FloatArray, ...]:
        """Each call has a request of its own, so that threads do not wait for each other."""
        found = self._computed(inputs)
        if self._is_first:
            self._is_first = False
            with suppress(RuntimeError):  # another thread is computing, and needs it
                self._compiled.release_memory()
        return found

    def _computed(self, inputs: Sequence[Any]) -> tuple[FloatArray, ...]:
        answer = self._compiled.create_infer_request().infer(list(inputs))
        return tuple(np.array(value) for value in answer.values())
