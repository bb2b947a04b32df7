"""What happens to one scan? It is read, each prompt is asked of each picture, and the answers are written together.

    SCAN --read--> pictures --each prompt--> results --> DIR/CASE_seg.dcm, CASE_PROMPT_mask.nii.gz or .png
                                                         DIR/CASE_PROMPT_overlay.png   (where there are several results)
                                                         DIR/overlay.png               (the one, or a sheet of up to 12)
                                                         DIR/report.json               (all results)

Everything that can be refused is refused before a model is loaded, and DIR changes only after everything succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFAULT_MAX_PIXELS
from medclipsam.io.mask_files import MaskFiles, ScanFormat, formats_for
from medclipsam.io.naming import case_name, prompt_slug
from medclipsam.io.reading import chosen, open_source, picture
from medclipsam.io.source import Axis, ReadOptions
from medclipsam.io.staging import check_folder, staged
from medclipsam.io.window import Window
from medclipsam.methods.contract import Segmenter
from medclipsam.overlay import draw_overlay, draw_sheet, sheet_choice
from medclipsam.report import Report, image_record, make_report, result_record, to_json
from medclipsam.types import Box, FloatArray, MedImage, Points, Segmentation
from medclipsam.words import check_prompts

if TYPE_CHECKING:
    from medclipsam.io.seg import SegKind

OVERLAY = "overlay.png"
REPORT = "report.json"
Tell = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is (0: not known)."""


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """What a person asks of one scan.

    Raises:
        BadInput: prompts that cannot be used, or a slice and a frame or all of them at once.
    """

    scan: Path
    prompts: tuple[str, ...]
    folder: Path | None = None
    """Where the answers go; None: `medclipsam-CASE` in the current folder."""
    seed: int = 0
    """The seed that the segmenter was loaded with, for the report."""
    boxes: tuple[Box, ...] = ()
    """The person's own boxes, in place of those that the text would give."""
    points: Points | None = None
    always: bool = False
    """Answer with a mask even where presence is below the preset's threshold."""
    slice_index: int | None = None
    """0-based slice of a volume."""
    frame: int | None = None
    """0-based frame of a multi-frame DICOM file, or page of a TIFF."""
    every: bool = False
    """Every slice, frame or page."""
    axis: Axis = None
    window: Window = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    sandbox: bool = False
    formats: tuple[ScanFormat, ...] = ("auto",)
    """Of the masks, see `medclipsam.io.mask_files`; the first is the one that the report calls `mask`."""
    seg_kind: SegKind = "binary"
    """See `medclipsam.io.seg.write_seg`."""
    save_stages: bool = False
    """Also write saliency and probability, as 16-bit PNG (65535 is 1)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        if self.every + (self.slice_index is not None) + (self.frame is not None) > 1:
            raise BadInput("one slice, one frame and all of them exclude each other", "choose one")

    @property
    def case(self) -> str:
        """The case id of the file."""
        return case_name(self.scan)

    @property
    def reading(self) -> ReadOptions:
        """How the scan is read."""
        return ReadOptions(axis=self.axis, window=self.window, max_pixels=self.max_pixels, sandbox=self.sandbox)

    @property
    def output(self) -> Path:
        """The folder that is written."""
        return self.folder or Path(f"medclipsam-{self.case}")


def segment_scan(request: ScanRequest, load: Callable[[], Segmenter], tell: Tell) -> Report:
    """Segment one scan and write masks, overlays and the report into `request.output`.

    Args:
        request: what is asked.
        load: gives the segmenter; called once, after the scan was found good.
        tell: hears of the progress.

    Returns:
        The report, as written.

    Raises:
        BadInput: a scan, slice, box or point that cannot be used.
        CannotWrite: an output folder that cannot be written.
    """
    started = perf_counter()
    check_folder(request.output)
    tell("reading", 0, 0)
    coming = _pictures(request)
    tell("loading models", 0, 0)
    loading = perf_counter()
    segmenter = load()
    loaded = perf_counter() - loading
    with staged(request.output, last=REPORT) as stage:
        answers = _Answers.of(request, coming, stage, segmenter)
        images = [_segment(picture, segmenter, answers, tell) for picture in coming.pictures]
        tell("writing", 0, 0)
        answers.finish()
        seconds = {"load": loaded, "total": perf_counter() - started}
        report = make_report(segmenter.describe(), images, seed=request.seed, seconds=seconds)
        (stage / REPORT).write_text(to_json(report) + "\n", encoding="utf-8")
    return report


@dataclass(frozen=True)
class _Coming:
    """The pictures asked for; the first is read and checked already, the others are as they come."""

    pictures: Iterator[MedImage]
    count: int
    formats: tuple[ScanFormat, ...]


def _pictures(request: ScanRequest) -> _Coming:
    source = open_source(request.scan, request.reading, as_stored=request.frame is not None)
    if request.every:
        return _checked(request, (picture(source, index) for index in range(source.count)), source.count)
    if source.count > 1 and request.frame is None and request.slice_index is None:
        raise BadInput(
            f"{request.case}: holds {source.count} pictures", "choose --slice N of a volume, --frame N else, or all"
        )
    image = picture(source, chosen(source, request.frame, request.slice_index))
    if image.pixels.min() == image.pixels.max():
        raise BadInput(f"{image.name}: every pixel has the same value", "give an image that shows something")
    return _checked(request, iter([image]), 1)


def _checked(request: ScanRequest, pictures: Iterator[MedImage], count: int) -> _Coming:
    """What does not fit is refused: by the first picture now, by others when they come."""
    first = next(pictures)
    formats, warned = formats_for(first, request.formats, request.seg_kind)

    def fitting(image: MedImage) -> MedImage:
        _check_places(image, request)
        return replace(image, warnings=(*image.warnings, *warned)) if warned else image

    return _Coming(chain([fitting(first)], map(fitting, pictures)), count, formats)


def _check_places(image: MedImage, request: ScanRequest) -> None:
    for box in request.boxes:
        box.clipped(image.size)
    if request.points is not None:
        inside = (request.points.xy >= 0) & (request.points.xy <= np.array(image.size[::-1]) - 1)
        if not inside.all():
            x, y = request.points.xy[~inside.all(axis=1)][0]
            height, width = image.size
            raise BadInput(f"point ({x:g}, {y:g}) lies outside the image of {width} x {height} pixels")


def _segment(image: MedImage, segmenter: Segmenter, answers: _Answers, tell: Tell) -> Report:
    request, records = answers.request, []
    for prompt in request.prompts:
        tell(f'segmenting "{prompt[:40]}"', answers.count, answers.total)
        result = segmenter.segment(image, prompt, boxes=request.boxes, points=request.points, always=request.always)
        records.append(result_record(image, result, answers.add(image, result)))
    return image_record(image, records)


@dataclass
class _Answers:
    """The files of a run, written as results come, or at the end where they wait for each other."""

    request: ScanRequest
    stage: Path
    masks: MaskFiles
    total: int
    count: int = 0
    overlays: list[tuple[Path, bool]] = field(default_factory=list)

    @classmethod
    def of(cls, request: ScanRequest, coming: _Coming, stage: Path, segmenter: Segmenter) -> _Answers:
        """Nothing is written yet."""
        masks = MaskFiles(
            stage,
            request.case,
            coming.formats,
            whole=request.every,
            seg_kind=request.seg_kind,
            preset=str(segmenter.describe()["preset"]["name"]),
        )
        return cls(request, stage, masks, coming.count * len(request.prompts))

    def add(self, image: MedImage, result: Segmentation) -> dict[str, str]:
        """Write what belongs to one result; the names of its files by role."""
        stem = f"{image.name}_{prompt_slug(result.prompt)}"
        overlay = self.stage / (OVERLAY if self.total == 1 else f"{stem}_overlay.png")
        draw_overlay(image, result).save(overlay)
        self.overlays.append((overlay, result.found))
        files = {**self.masks.add(image, result), "overlay": overlay.name}
        if self.request.save_stages:
            for role, values in (("saliency", result.saliency), ("probability", result.probability)):
                files[role] = _write_map(values, self.stage / f"{stem}_{role}.png")
        self.count += 1
        return files

    def finish(self) -> None:
        """Write what needs all results: the masks that waited, and the sheet of overlays."""
        self.masks.finish()
        if self.total > 1:
            shown = [path for path, found in self.overlays if found] or [path for path, _ in self.overlays]
            draw_sheet([Image.open(shown[index]) for index in sheet_choice(len(shown))]).save(self.stage / OVERLAY)


def _write_map(values: FloatArray, path: Path) -> str:
    Image.fromarray((values * 65535).round().astype(np.uint16)).save(path)
    return path.name
