"""Composes the embedded preset from exported graphs: no torch is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock, Thread

from medclipsam.backbones.sam_exported import ExportedSam
from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.backbones.wordpieces import WordPieces
from medclipsam.config import ZeroShot
from medclipsam.engines import SUFFIXES, Graph, opener, threads, version_of
from medclipsam.engines.store import EXPORT
from medclipsam.memory.shelf import Shelf
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.exported import ExportedEvidence, TowerGraphs
from medclipsam.weights import find

SMALL = ("text", "tower", "weigh", "decoder")
"""Graphs that are opened while the encoder works, in the order in which they are asked."""
ASKED_ALWAYS = ("weigh", "decoder")
"""Those of them that are needed even where image and text were seen before."""


def assembled(
    config: ZeroShot,
    folder: Path,
    engine: str,
    precision: str,
    *,
    weights: dict[str, str],
    seed: int = 0,
    vocabulary: Vocabulary | None = None,
    cache: Path | None = None,
) -> ZeroShotSegmenter:
    """The preset over the graphs of an export.

    Args:
        config: the choices; only what `medclipsam.methods.choosing` lets through.
        folder: of the export.
        engine: `openvino` or `onnx`.
        precision: of the image encoder; all else is computed in single precision.
        weights: hash of each file of weights, for reports.
        seed: of drawn points.
        vocabulary: the words that the model was taught; None where that is not known.
        cache: folder where encodings of images and texts are kept for other processes.
    """
    graphs = {name: Opened(partial(_open, folder, name, engine, precision)) for name in ("encoder", *SMALL)}
    shelf = _shelf(cache, engine, precision, weights) if cache else None
    sam = ExportedSam(
        graphs["encoder"],
        graphs["decoder"],
        name=config.sam,
        sha256=weights.get(config.sam, ""),
        engine=f"{engine} {version_of(engine)}",
        precision=precision,
        shelf=shelf,
    )
    tower = TowerGraphs(tower=graphs["tower"], text=graphs["text"], weigh=graphs["weigh"])
    evidence = ExportedEvidence(sam, tower, WordPieces(find("minilm").folder), vocabulary=vocabulary, shelf=shelf)
    open_ahead([graphs[name] for name in (ASKED_ALWAYS if cache else SMALL)])
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


def _shelf(cache: Path, engine: str, precision: str, weights: Mapping[str, str]) -> Shelf:
    decided_by = {"engine": f"{engine} {version_of(engine)}", "precision": precision, "export": str(EXPORT)}
    return Shelf(cache, of={**decided_by, **weights})


def _open(folder: Path, name: str, engine: str, precision: str) -> Graph:
    return opener(engine)(folder / f"{name}{SUFFIXES[engine]}", _precision(name, precision), threads())


def _precision(name: str, precision: str) -> str:
    return precision if name == "encoder" else "fp32"
