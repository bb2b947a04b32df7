"""Runs graphs with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from medclipsam.engines import Graph
from medclipsam.types import FloatArray


def open_graph(file: Path, precision: str, threads: int) -> Graph:
    """Open the graph of an `.onnx` file.

    Raises:
        ValueError: a precision other than single: it has no other products on a CPU.
    """
    if precision != "fp32":
        raise ValueError(f"ONNX Runtime computes in fp32 on a CPU, not in {precision}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Threads that wait for each other sleep: awake, they take the processor from those who compute beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _OnnxGraph(onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]))


class _OnnxGraph:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._names = [given.name for given in session.get_inputs()]

    def __call__(self, *inputs: Any) -> tuple[FloatArray, ...]:
        return tuple(self._session.run(None, dict(zip(self._names, inputs, strict=True))))
