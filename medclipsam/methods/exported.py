"""Composes the embedded preset from exported graphs: no torch is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock, Thread

from medclipsam.backbones.sam_exported import ExportedSam
from medclipsam.backbones.wordpieces import WordPieces
from medclipsam.config import ZeroShot
from medclipsam.engines import SUFFIXES, Graph, opener, threads, version_of
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.exported import ExportedEvidence, TowerGraphs
from medclipsam.weights import find

SMALL = ("text", "tower", "weigh", "decoder")
"""Graphs that are opened while the encoder works, in the order in which they are asked."""


def assembled(
    config: ZeroShot, folder: Path, engine: str, precision: str, *, weights: dict[str, str], seed: int = 0
) -> ZeroShotSegmenter:
    """The preset over the graphs of an export.

    Args:
        config: the choices; only what `medclipsam.methods.choosing` lets through.
        folder: of the export.
        engine: `openvino` or `onnx`.
        precision: of the image encoder; all else is computed in single precision.
        weights: hash of each file of weights, for reports.
        seed: of drawn points.
    """
    graphs = {name: Opened(partial(_open, folder, name, engine, precision)) for name in ("encoder", *SMALL)}
    sam = ExportedSam(
        graphs["encoder"],
        graphs["decoder"],
        name=config.sam,
        sha256=weights.get(config.sam, ""),
        engine=f"{engine} {version_of(engine)}",
        precision=precision,
    )
    tower = TowerGraphs(tower=graphs["tower"], text=graphs["text"], weigh=graphs["weigh"])
    evidence = ExportedEvidence(sam, tower, WordPieces(find("minilm").folder))
    open_ahead([graphs[name] for name in SMALL])
    return ZeroShotSegmenter(config, evidence, sam, weights=weights, seed=seed)


def compile_all(folder: Path, precision: str) -> None:
    """Keep what OpenVINO makes of each graph on this machine."""
    from medclipsam.engines.openvino import compile_graph  # noqa: PLC0415  (optional)

    for name in ("encoder", *SMALL):
        compile_graph(folder / f"{name}.xml", _precision(name, precision), threads())


class Opened:
    """A graph that is opened when it is first asked for, once for all threads."""

    def __init__(self, open_it: Callable[[], Graph]) -> None:
        self._open, self._lock = open_it, Lock()
        self._graph: Graph | None = None

    def __call__(self) -> Graph:
        """The graph."""
        with self._lock:
            self._graph = self._graph or self._open()
            return self._graph


def open_ahead(graphs: list[Opened]) -> None:
    """Begin to open graphs in a thread of their own; what fails there fails again where it is asked for."""

    def work() -> None:
        for graph in graphs:
            graph()

    Thread(target=work, name="medclipsam-open", daemon=True).start()


def _open(folder: Path, name: str, engine: str, precision: str) -> Graph:
    return opener(engine)(folder / f"{name}{SUFFIXES[engine]}", _precision(name, precision), threads())


def _precision(name: str, precision: str) -> str:
    return precision if name == "encoder" else "fp32"
