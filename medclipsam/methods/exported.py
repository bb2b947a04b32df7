"""Composes the embedded preset from exported graphs: no torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medclipsam.backbones.sam_exported import SIDE, ExportedSam
from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.config import ZeroShot
from medclipsam.engines import threads, version_of
from medclipsam.engines.opened import NAMES, graphs_of, open_ahead, precision_of
from medclipsam.engines.store import EXPORT
from medclipsam.memory.shelf import Shelf
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.exported import ExportedEvidence, TowerGraphs
from medclipsam.prompting.exported_texts import ExportedTexts, read_kept
from medclipsam.prompting.views import in_views
from medclipsam.weights import find

if TYPE_CHECKING:
    from medclipsam.backbones.wordpieces import WordPieces


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
    graphs = graphs_of(folder, engine, precision)
    open_ahead(graphs, image_is_known=cache is not None)
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
    tower = TowerGraphs(tower=graphs["tower"], weigh=graphs["weigh"])
    texts = ExportedTexts(graphs["text"], _word_pieces, kept=read_kept(folder), shelf=shelf)
    evidence = ExportedEvidence(sam, tower, texts, vocabulary=vocabulary, shelf=shelf)
    heard = in_views(evidence, config.views, sam.set_images, SIDE)
    return ZeroShotSegmenter(config, heard, sam, weights=weights, seed=seed)


def compile_all(folder: Path, precision: str) -> None:
    """Keep what OpenVINO makes of each graph on this machine."""
    from medclipsam.engines.openvino import compile_graph  # noqa: PLC0415  (optional)

    for name in NAMES:
        compile_graph(folder / f"{name}.xml", precision_of(name, precision), threads())


def texts_of(folder: Path, engine: str, precision: str) -> ExportedTexts:
    """What reads texts by the graph of an export, none of them kept."""
    return ExportedTexts(graphs_of(folder, engine, precision)["text"], _word_pieces)


def _word_pieces() -> WordPieces:
    from medclipsam.backbones.wordpieces import WordPieces  # noqa: PLC0415  (texts that are kept need no tokenizer)

    return WordPieces(find("minilm").folder)


def _shelf(cache: Path, engine: str, precision: str, weights: Mapping[str, str]) -> Shelf:
    decided_by = {"engine": f"{engine} {version_of(engine)}", "precision": precision, "export": str(EXPORT)}
    return Shelf(cache, of={**decided_by, **weights})
