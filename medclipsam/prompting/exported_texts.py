"""Reads texts by an exported graph, without torch; those of taught words were read when the graph was made.

    texts.safetensors     beside the graphs: (n, D + 384), each text and its sentence vector; the n wordings as metadata

Reading takes the tokenizer and MiniLM, the largest of the graphs. Most prompts are taught words and wait for neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from medclipsam.engines import Graph
from medclipsam.memory.shelf import Shelf, on_shelf
from medclipsam.prompting.evidence import CACHED_TEXTS
from medclipsam.types import FloatArray

if TYPE_CHECKING:
    from medclipsam.backbones.wordpieces import Unread, WordPieces

KEPT = "texts.safetensors"
VECTORS, WORDINGS = "vectors", "wordings"
SENTENCE = 384
"""Length of a sentence vector."""


class ExportedTexts:
    """Texts as the embedded model reads them.

    Args:
        graph: gives the graph: rows of word pieces (1, n, 384) -> text (1, D), sentence vector (1, 384); see
            `CompactClip.read`.
        pieces: gives the tokenizer; called once, where a text is not kept.
        kept: see `read_kept`.
        shelf: where other texts are kept for other processes.
    """

    def __init__(
        self,
        graph: Callable[[], Graph],
        pieces: Callable[[], WordPieces],
        *,
        kept: Mapping[str, FloatArray] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._graph, self._pieces, self._kept, self._shelf = graph, cache(pieces), kept or {}, shelf
        self._both = lru_cache(maxsize=CACHED_TEXTS)(self._found)

    def read(self, wording: str) -> tuple[FloatArray, FloatArray]:
        """(D,) the text, (384,) its sentence vector, of unit length."""
        both = self._both(wording)
        return both[:-SENTENCE], both[-SENTENCE:]

    def unread(self, wording: str) -> Unread | None:
        """What is left out at the end of a wording; None if nothing, as of every one that is kept."""
        return None if wording in self._kept else self._pieces().unread(wording)

    def compute(self, wording: str) -> FloatArray:
        """(D + 384,): the text and its sentence vector, by the graph."""
        (ids,) = self._pieces().ids([wording])
        return np.concatenate([row[0] for row in self._graph()(self._pieces().rows(ids)[None])])

    def _found(self, wording: str) -> FloatArray:
        if wording in self._kept:
            return self._kept[wording]
        return on_shelf(self._shelf, wording, ["text"], lambda: [self.compute(wording)])[0]


def keep_texts(folder: Path, texts: ExportedTexts, wordings: Iterable[str]) -> None:
    """Read wordings by the graph and keep them beside it, but for those that are too long to be read whole."""
    kept = {wording: texts.compute(wording) for wording in wordings if texts.unread(wording) is None}
    told = {WORDINGS: json.dumps(list(kept), ensure_ascii=False)}
    save_file({VECTORS: np.stack(list(kept.values()))}, folder / KEPT, told)


def read_kept(folder: Path) -> dict[str, FloatArray]:
    """What `keep_texts` kept in a folder, by wording; nothing where there is no such file, or a damaged one."""
    try:
        with safe_open(folder / KEPT, framework="numpy") as file:
            wordings = json.loads(file.metadata()[WORDINGS])
            return dict(zip(wordings, file.get_tensor(VECTORS), strict=True))
    except (SafetensorError, OSError, TypeError, KeyError, ValueError):
        return {}
