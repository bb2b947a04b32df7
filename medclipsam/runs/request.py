"""What is asked of a folder; what of it decides the results is hashed, so that a change redoes cases.

in the hash        method, weights, kind of device, precision, seed, version, reading, volume mode, format, ignore band,
                   always, the exponent of confidence
not in the hash    where files lie, shard, engine, batch size, number of the device, sandbox; --min-confidence (the
                   record is judged again)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclipsam import __version__
from medclipsam.errors import BadInput
from medclipsam.io.mask_files import SegOptions
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.io.source import ReadOptions
from medclipsam.methods.contract import MethodInfo
from medclipsam.report import make_report
from medclipsam.runs import confidence
from medclipsam.runs.manifest import SCHEMA
from medclipsam.runs.sharing import WHOLE, Shard
from medclipsam.volume.rules import DEFAULT_MODE, VolumeMode

if TYPE_CHECKING:
    from medclipsam.runs.remote_folder import RemoteSource

MOST_TOGETHER = 16
"""Encodings that a method remembers."""
RULES = 3
"""Raised where the same settings of the same version come to give other masks, so that a folder is labelled again."""
RunSettings = dict[str, Any]
"""What `run.json` says, see `run_settings`."""


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """What a person asks of a folder.

    Raises:
        BadInput: numbers out of range, or results among the scans.
    """

    source: Path
    """See `medclipsam.runs.cases.find_cases`, also for `prompts` and `table`; of an archive how it is called."""
    remote: RemoteSource | None = None
    """What is segmented of an archive, in place of files."""
    output: Path
    prompts: tuple[str, ...] = ()
    table: Path | None = None
    shard: Shard = WHOLE
    seed: int = 0
    """The seed that the segmenter was loaded with."""
    always: bool = False
    """Answer with a mask even where presence is below the preset's threshold."""
    min_confidence: float = 0.0
    """Masks below it go to a folder of their own, in [0, 1]."""
    ignore_band: float | None = None
    """Also write labels to learn from, in which probabilities this near to one half are ignored, in [0, 0.5]."""
    reading: ReadOptions = field(default_factory=ReadOptions)
    """How files are read."""
    volume_mode: VolumeMode = DEFAULT_MODE
    """How the slices of a volume inform each other; `always` leaves each on its own."""
    formats: tuple[ScanFormat, ...] = ("auto",)
    """Formats of the masks, see `medclipsam.io.mask_formats.folder_formats`."""
    seg: SegOptions = field(default_factory=SegOptions)
    """How DICOM SEG is written; each prompt has a file of its own in any case."""
    structured_report: bool = False
    """Write what was measured as DICOM SR beside each DICOM SEG."""
    save_stages: bool = False
    """Also write every map of the method, as 16-bit PNG (65535 is 1)."""
    masks_too: bool = False
    """Take files too that look like masks of the images beside them."""
    safe_names: bool = False
    """Call files by harmless words and hashes, and tell no names of the scans: for results that leave the house."""
    batch_size: int = 8
    """Images that are encoded at once: together on a GPU, where its bits may depend on it, side by side on a CPU."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise BadInput(f"min_confidence is {self.min_confidence}", "give a number from 0 to 1")
        if self.ignore_band is not None and not 0 <= self.ignore_band <= 0.5:
            raise BadInput(f"ignore_band is {self.ignore_band}", "give a number from 0 to 0.5")
        if not 1 <= self.batch_size <= MOST_TOGETHER:
            raise BadInput(f"batch_size is {self.batch_size}", f"give a number from 1 to {MOST_TOGETHER}")
        if self.remote and self.remote.store and "seg" not in self.formats:
            raise BadInput("only DICOM SEG can be stored in an archive, and none is written", "add --format seg")
        if self.remote and (self.table or not self.prompts):
            raise BadInput("scans of an archive have no table of prompts", "give --prompt TEXT for all")
        if self.structured_report and "seg" not in self.formats:
            raise BadInput("a structured report refers to a DICOM SEG, and none is written", "add --format seg")
        if self.source.resolve() == self.output.resolve():
            raise BadInput("the results would lie among the scans", "choose another output folder")


def run_settings(request: LabelRequest, info: MethodInfo) -> RunSettings:
    """What `run.json` says: the settings, their hash, versions, the notice; nothing that differs between two runs.

    Args:
        request: what is asked.
        info: what makes the masks.
    """
    report = make_report(info.as_dict(), [], seed=request.seed, seconds={})
    settings = {name: value for name, value in report.items() if name not in ("schema", "seconds", "images")}
    settings["device"] = str(settings.get("device", "")).partition(":")[0]
    settings["labels"] = {
        "schema": SCHEMA,
        "rules": RULES,
        "confidence": confidence.exponent(),
        "always": request.always,
        "ignore_band": request.ignore_band,
        "reading": {name: value for name, value in asdict(request.reading).items() if name != "sandbox"},
        "volume_mode": request.volume_mode,
        "formats": list(request.formats),
        "seg": asdict(request.seg),
        "structured_report": request.structured_report,
        "save_stages": request.save_stages,
        "safe_names": request.safe_names,
    }
    hashed = {name: value for name, value in settings.items() if name not in ("notice", "versions")}
    content = json.dumps({**hashed, "version": __version__}, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {**settings, "min_confidence": request.min_confidence, "config_sha256": digest}
