"""Chooses what computes a zero-shot preset: torch, or an engine that needs none; nothing heavy is loaded to decide.

    --encoder-engine torch                 torch
    --encoder-engine openvino, onnx        that engine, or one line on why not
    --encoder-engine auto                  the first engine that is installed and gives torch's answers here; else torch

At its first use an engine's graphs are exported and checked, once for each machine, engine and set of weights.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext, suppress

from medclipsam.backbones.taught import vocabulary_of
from medclipsam.config import EMBEDDED_CLIPS, Loading, ZeroShot
from medclipsam.engines import PACKAGES, check_installed, installed
from medclipsam.engines.opened import graphs_of, open_ahead
from medclipsam.engines.store import Record, Wanted, alone, publishing, read_record
from medclipsam.errors import BadInput, CannotWrite, UserError
from medclipsam.methods.contract import Segmenter
from medclipsam.weights import check_present, find, hash_ahead, lookup
from medclipsam.weights.compact import compact_weights, teacher_beside

GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")
"""What is there where a machine may have a GPU that torch can use."""
PARTS = ("minilm", "words")
"""Keys of the weights that the embedded CLIP needs beside its own and LiteMedSAM's."""
_log = logging.getLogger(__name__)


def load_zeroshot(config: ZeroShot, how: Loading) -> Segmenter:
    """Load every model of a preset, verified; see `medclipsam.methods.loading.load_zeroshot`.

    Raises:
        BadInput: an engine that cannot compute these settings, or that fails on this machine.
        MissingExtra: an engine that is not installed.
    """
    for engine in _asked(how):
        why_not = unfit(config, how)
        if why_not is None:
            wanted = _wanted(config, how, engine)
            with suppress(CannotWrite) if how.engine == "auto" else nullcontext():
                record = prepared(wanted, how)
                if record.passed:
                    return _load_exported(config, how, wanted)
                why_not = f"it does not give torch's answers on this machine: {record.reason}"
        if how.engine != "auto" and why_not:
            raise BadInput(f"--encoder-engine {engine}: {why_not}", "use --encoder-engine torch")
    if how.sam is None and how.sam_weights is None:
        hash_ahead(config.needs)
    from medclipsam.methods.loading import load_zeroshot as load_with_torch  # noqa: PLC0415  (torch takes 1.6 s)

    return load_with_torch(config, how)


def begin(config: ZeroShot, how: Loading) -> None:
    """Begin to open the graphs that `load_zeroshot` is going to want, in a thread of their own.

    Nothing is begun where torch will compute, or an engine is yet to be prepared; what is wrong, `load_zeroshot` says.
    """
    with suppress(UserError):
        for engine in _asked(how):
            if unfit(config, how) is not None:
                continue
            wanted = _wanted(config, how, engine)
            record = read_record(wanted.folder)
            if record is None:
                return
            if record.passed:
                open_ahead(graphs_of(wanted.folder, engine, wanted.precision), image_is_known=how.cache is not None)
                return


def unfit(config: ZeroShot, how: Loading) -> str | None:
    """Why an engine cannot compute these settings; None where it can."""
    reasons = {
        "only the embedded CLIP and LiteMedSAM are exported": config.clip not in EMBEDDED_CLIPS
        or config.sam != "lite-medsam",
        "only the dense explainer is exported": config.explainer != "dense",
        "only boxes with one mask each are exported": config.prompting.kind not in ("box", "boxes")
        or config.prompting.multimask,
        "a model that is loaded already, or Segment Anything weights of your own, are torch's": how.sam is not None
        or how.sam_weights is not None,
        "a run of self-training that keeps its teacher is torch's": teacher_beside(how.weights) is not None,
        f"it computes on a CPU, and the device is {how.device}": not _on_cpu(how.device),
        "it computes in fp32 or bf16": how.precision == "fp16",
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def prepared(wanted: Wanted, how: Loading) -> Record:
    """What is known of an export, made and checked now if nobody did before.

    Raises:
        CannotWrite: the user's cache cannot be written.
    """
    known = read_record(wanted.folder)
    if known is not None:
        return known
    with alone():
        known = read_record(wanted.folder)  # another process may have made it while this one waited
        if known is None:
            _log.warning("preparing %s for this machine, once: about half a minute", wanted.engine)
            _export(wanted, how)
            known = read_record(wanted.folder)
    return known or Record(passed=False, reason="its record cannot be read")


def _export(wanted: Wanted, how: Loading) -> None:
    from medclipsam.methods.exporting import Task, export_in_child  # noqa: PLC0415  (once for each machine)

    _verify(wanted, how)
    with publishing(wanted.folder) as stage:
        trained, _ = compact_weights(how.weights, next(key for key in wanted.weights if key in EMBEDDED_CLIPS))
        task = Task(
            engine=wanted.engine,
            precision=wanted.precision,
            folder=str(stage.absolute()),
            weights=str(trained.absolute()),
        )
        export_in_child(task)


def _load_exported(config: ZeroShot, how: Loading, wanted: Wanted) -> Segmenter:
    from medclipsam.methods.exported import assembled  # noqa: PLC0415  (not always needed)

    weights = dict(wanted.weights)
    return assembled(
        config,
        wanted.folder,
        wanted.engine,
        wanted.precision,
        weights=weights,
        seed=how.seed,
        vocabulary=vocabulary_of(how.weights, config.clip),
        cache=how.cache,
    )


def _asked(how: Loading) -> list[str]:
    """The engines to try, best first."""
    if how.engine == "torch":
        return []
    if how.engine == "auto":
        return [engine for engine in PACKAGES if installed(engine)]
    check_installed(how.engine)
    return [how.engine]


def _wanted(config: ZeroShot, how: Loading, engine: str) -> Wanted:
    return Wanted(engine=engine, precision=_precision(how), weights=_weights(config, how))


def _weights(config: ZeroShot, how: Loading) -> dict[str, str]:
    """SHA-256 of each file of weights that has a say.

    Pinned files are not read again for it: an export was made of files that had these hashes, and is what computes.
    """
    keys = (*PARTS, config.clip, config.sam)
    check_present(key for key in keys if not (how.weights and key == config.clip))
    own = {config.clip: compact_weights(how.weights)[1]} if how.weights else {}
    return {key: own.get(key) or lookup(key).sha256 or find(key).sha256 for key in keys}


def _verify(wanted: Wanted, how: Loading) -> None:
    """Read the files of weights before an export is made of them.

    Raises:
        WrongHash: a file is not the one that is pinned.
    """
    for key in wanted.weights:
        if not (how.weights and key in EMBEDDED_CLIPS):
            find(key)


def _precision(how: Loading) -> str:
    return "fp32" if how.precision == "auto" else how.precision


def _on_cpu(device: str) -> bool:
    """Whether torch would compute on the CPU: `auto` does where there is no sign of a GPU."""
    if device != "auto":
        return device == "cpu"
    return sys.platform != "darwin" and not any(map(os.path.exists, GPU_FILES))
