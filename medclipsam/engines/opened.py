"""Opens the graphs of an export, each once for all who ask in this process, and ahead of them in a thread.

begin(export) --thread--> encoder, tower, ...        while a scan is read
graphs_of(export) ------> the same graphs            whoever needs one waits until it is open
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock, Thread

from medclipsam.engines import SUFFIXES, Graph, opener, threads

ENCODER, TEXT = "encoder", "text"
SMALL = ("tower", "weigh", "decoder")
"""Graphs that are opened while the encoder works, in the order in which they are asked."""
ASKED_ALWAYS = ("weigh", "decoder")
"""Those of them that are needed even where the image was seen before."""
NAMES = (ENCODER, *SMALL, TEXT)
"""All graphs. That of texts is opened when a text comes that was not read before."""
_log = logging.getLogger(__name__)


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


@lru_cache(maxsize=1)
def graphs_of(folder: Path, engine: str, precision: str) -> Mapping[str, Opened]:
    """The graphs of an export by their names; what one asker opened, the next has.

    Args:
        folder: of the export.
        engine: `openvino` or `onnx`.
        precision: of the image encoder; all else is computed in single precision.
    """
    return {name: Opened(partial(_open, folder, name, engine, precision)) for name in NAMES}


def open_ahead(graphs: Mapping[str, Opened], *, image_is_known: bool) -> None:
    """Begin to open the graphs that are needed first, in a thread of their own.

    What fails there fails again where it is asked for. A process that ends meanwhile waits for the thread: a thread
    that is cut off within an engine takes the process with it, and its exit code.
    """
    names = ASKED_ALWAYS if image_is_known else (ENCODER, *SMALL)
    Thread(target=_open_all, args=([graphs[name] for name in names],), name="medclipsam-open").start()


def precision_of(name: str, precision: str) -> str:
    """The precision of a graph, where the encoder has `precision`."""
    return precision if name == ENCODER else "fp32"


def _open_all(graphs: Iterable[Opened]) -> None:
    try:
        for graph in graphs:
            graph()
    except Exception:
        _log.debug("a graph could not be opened ahead", exc_info=True)


def _open(folder: Path, name: str, engine: str, precision: str) -> Graph:
    return opener(engine)(folder / f"{name}{SUFFIXES[engine]}", precision_of(name, precision), threads())
