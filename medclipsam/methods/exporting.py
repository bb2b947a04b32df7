"""Makes an export of the embedded model and checks it against torch, in a process of its own.

`python -m medclipsam.methods.exporting` reads a `Task` as JSON and writes the graphs and their record into its folder.
It is a process of its own, because an engine that crashes on some processor must not take a person's command with it,
and so that the memory of torch is given back.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medclipsam.backbones.taught import taught_words
from medclipsam.config import zeroshot_preset
from medclipsam.engines import version_of
from medclipsam.engines.store import Record, read_record, write_record
from medclipsam.io import image_from_array
from medclipsam.methods.exported import assembled, compile_all, texts_of
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.prompting.exported_texts import keep_texts
from medclipsam.types import FloatArray, MedImage

LIMITS = {"fp32": 1e-3, "bf16": 0.1}
"""Largest relative error of the encoder's features, by precision."""
LEAST_DICE = {"fp32": 0.99, "bf16": 0.9}
"""Least Dice with the mask of torch."""
PROMPT = "breast tumor"
CRASHED = "it ended its process"
ENDED_BY_SOMEONE = (-signal.SIGINT, -signal.SIGTERM, -9)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be exported."""

    engine: str
    precision: str
    folder: str
    """Empty; gets the graphs and the record."""
    weights: str | None = None
    """File of the trained part, or a run that holds one; None: what comes with the package."""
    preset: str = "embedded"


def export_in_child(task: Task) -> None:
    """Run a task in a process of its own; the folder then has a record, also where the process crashed.

    Raises:
        KeyboardInterrupt: someone ended the process.
    """
    command = [sys.executable, "-m", "medclipsam.methods.exporting"]
    ran = subprocess.run(command, input=json.dumps(asdict(task)), capture_output=True, text=True, check=False)
    if ran.returncode in ENDED_BY_SOMEONE:
        raise KeyboardInterrupt
    if ran.returncode or read_record(Path(task.folder)) is None:
        lines = ran.stderr.strip().splitlines()
        reason = lines[-1][:200] if ran.returncode > 0 and lines else CRASHED
        write_record(
            Path(task.folder), Record(passed=False, reason=reason, engine=task.engine, precision=task.precision)
        )


def export(task: Task) -> Record:
    """Write the graphs of a task, compare their answers with torch's, and keep what they read of taught words."""
    from medclipsam.backbones.compact_clip import CompactClip, KnownTexts, load_tower  # noqa: PLC0415
    from medclipsam.backbones.graphs import parts_of, save  # noqa: PLC0415
    from medclipsam.backbones.minilm import SentenceEncoder  # noqa: PLC0415
    from medclipsam.backbones.sam_loading import load_sam  # noqa: PLC0415
    from medclipsam.prompting.sources import DenseEvidence  # noqa: PLC0415
    from medclipsam.weights import find  # noqa: PLC0415
    from medclipsam.weights.compact import compact_weights  # noqa: PLC0415

    config = zeroshot_preset(task.preset)
    file, identity = compact_weights(Path(task.weights) if task.weights else None)
    sam, tower, sentences = load_sam(config.sam), load_tower(file), SentenceEncoder(find("minilm").folder)
    plain = ZeroShotSegmenter(
        config, DenseEvidence(CompactClip(sam, tower, sentences, identity=identity)), sam, weights={}
    )
    folder = Path(task.folder)
    save(parts_of(sam.network, tower, sentences.bert, KnownTexts(tower)), task.engine, folder)
    if task.engine == "openvino":
        compile_all(folder, task.precision)
    record = check(plain, assembled(config, folder, task.engine, task.precision, weights={}), task)
    if record.passed:
        keep_texts(folder, texts_of(folder, task.engine, task.precision), taught_words().usual_wordings)
    return record


def check(plain: ZeroShotSegmenter, exported: ZeroShotSegmenter, task: Task) -> Record:
    """Compare the answers of an export with those of torch on a drawn picture.

    The picture is the same everywhere; what an engine gets wrong on a processor, it gets wrong on any.
    """
    picture = drawn_picture()
    one, other = (each.features_of(picture) for each in (plain, exported))
    error = float(np.linalg.norm(one - other) / np.linalg.norm(one))
    masks = [each.segment(picture, PROMPT, always=True) for each in (plain, exported)]
    alike = dice(masks[0].mask, masks[1].mask)
    moved = max(abs(float((masks[0].presence or 0) - (masks[1].presence or 0))), 0.0)
    reason = ""
    if not error <= LIMITS[task.precision]:
        reason = f"its features are {error:.3g} off"
    elif alike < LEAST_DICE[task.precision]:
        reason = f"its mask has a Dice of {alike:.3f} with torch's"
    return Record(
        passed=not reason,
        reason=reason,
        engine=task.engine,
        version=version_of(task.engine),
        precision=task.precision,
        measured={"relative_error": error, "dice": alike, "presence_moved": moved},
    )


def drawn_picture() -> MedImage:
    """A bright disc with a dark spot in noise, as in an ultrasound image."""
    rows, columns = np.mgrid[:240, :300]
    disc = 90 + 80 * (np.hypot(rows - 120, columns - 150) < 90) - 60 * (np.hypot(rows - 108, columns - 174) < 24)
    noisy: FloatArray = (disc + np.random.default_rng(0).normal(0, 18, disc.shape)).clip(0, 255).astype(np.float32)
    return image_from_array(noisy / 255, name="drawn")


def main() -> None:
    """Do the task on standard input."""
    task = Task(**json.load(sys.stdin))
    write_record(Path(task.folder), export(task))


if __name__ == "__main__":
    main()
