"""What happens to one scan? It is read, each prompt is asked of each picture, and the answers are written together.

    SCAN --read--> pictures --each prompt--> results --> DIR/CASE_seg.dcm, CASE_PROMPT_mask.nii.gz or .png
                                                         DIR/CASE_PROMPT_overlay.png   (where there are several results)
                                                         DIR/overlay.png               (the one, or a sheet of up to 12)
                                                         DIR/report.json               (all results)

Everything that can be refused is refused before a model is loaded, and DIR changes only after everything succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFAULT_MAX_PIXELS
from medclipsam.io.maps import write_map
from medclipsam.io.mask_files import FlatNames, MaskFiles, ScanFormat, SegOptions, formats_for
from medclipsam.io.naming import case_name, prompt_slug
from medclipsam.io.reading import chosen, open_source, picture
from medclipsam.io.source import Axis, ReadOptions, Source
from medclipsam.io.staging import check_folder, staged
from medclipsam.io.window import Window
from medclipsam.methods.contract import Segmenter, check_hints
from medclipsam.methods.prefetch import encoded_ahead
from medclipsam.overlay import draw_overlay, draw_sheet, sheet_choice
from medclipsam.report import Report, image_record, make_report, result_record, to_json
from medclipsam.types import NO_HINTS, Hints, MedImage, Progress, Segmentation
from medclipsam.volume.decision import decide
from medclipsam.volume.measuring import Measuring
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import DEFAULT_MODE, RULES, VolumeMode, VolumeRule
from medclipsam.words import check_prompts

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg import SegKind

OVERLAY = "overlay.png"
REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """What a person asks of one scan.

    Raises:
        BadInput: prompts that cannot be used, or several choices of pictures at once.
    """

    scan: Path
    prompts: tuple[str, ...]
    folder: Path | None = None
    """Where the answers go; None: `medclipsam-CASE` in the current folder."""
    seed: int = 0
    """The seed that the segmenter was loaded with, for the report."""
    hints: Hints = NO_HINTS
    """The person's own boxes and points, in place of those that the text would give."""
    always: bool = False
    """Answer with a mask even where presence is below the preset's threshold."""
    slice_index: int | None = None
    """0-based slice of a volume."""
    span: tuple[int, int | None] | None = None
    """Slices of a volume from the first number on, up to but without the second; None: to the end."""
    frame: int | None = None
    """0-based frame of a multi-frame DICOM file, or page of a TIFF."""
    frame_span: tuple[int, int | None] | None = None
    """Frames or pages from the first number on, up to but without the second; None: to the end."""
    every: bool = False
    """Every slice, frame or page, as is done where none are chosen."""
    series: str | None = None
    """See `medclipsam.io.source.ReadOptions`."""
    volume_mode: VolumeMode = DEFAULT_MODE
    """How the slices of a volume inform each other; own boxes and points, and `always`, leave each on its own."""
    axis: Axis = None
    window: Window = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    sandbox: bool = False
    formats: tuple[ScanFormat, ...] = ("auto",)
    """Of the masks, see `medclipsam.io.mask_files`; the first is the one that the report calls `mask`."""
    seg_kind: SegKind = "binary"
    """See `medclipsam.io.dicom.seg.write_seg`."""
    seg_per_prompt: bool = False
    """See `medclipsam.io.mask_files.SegOptions`."""
    seg_all_slices: bool = False
    save_stages: bool = False
    """Also write saliency and probability, as 16-bit PNG (65535 is 1)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        choices = self.slice_index, self.frame, self.span, self.frame_span, True if self.every else None
        if sum(choice is not None for choice in choices) > 1:
            raise BadInput("slices, frames and all of them exclude each other", "choose one")

    @property
    def case(self) -> str:
        """The case id of the file."""
        return case_name(self.scan)

    @property
    def reading(self) -> ReadOptions:
        """How the scan is read."""
        return ReadOptions(
            axis=self.axis,
            window=self.window,
            max_pixels=self.max_pixels,
            series=self.series,
            sandbox=self.sandbox,
        )

    @property
    def output(self) -> Path:
        """The folder that is written."""
        return self.folder or Path(f"medclipsam-{self.case}")


def segment_scan(request: ScanRequest, load: Callable[[], Segmenter], tell: Progress) -> Report:
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
    check_hints(request.hints, segmenter.info)
    loaded = perf_counter() - loading
    with staged(request.output, last=REPORT) as stage, _encoded(coming, segmenter) as pictures:
        answers = _Answers.of(request, coming, stage, segmenter)
        slices = _Asking(request, segmenter, tell, answers.total)
        decided = decide(
            map(slices.answered, pictures),
            coming.places_mm,
            _rule(request),
            ask=slices.ask if segmenter.info.takes_hints else None,
            again=coming.again,
        )
        measuring = Measuring()
        images = [_recorded(answered, answers, measuring) for answered in decided]
        tell("writing", 0, 0)
        answers.finish()
        seconds = {"load": loaded, "total": perf_counter() - started}
        report = make_report(segmenter.info.as_dict(), images, seed=request.seed, seconds=seconds)
        if coming.is_volume:
            report |= {"volume_mode": request.volume_mode, "volumes": measuring.rows(coming.places_mm)}
        (stage / REPORT).write_text(to_json(report) + "\n", encoding="utf-8")
    return report


def _encoded(coming: _Coming, segmenter: Segmenter) -> AbstractContextManager[Iterator[MedImage]]:
    """Several pictures are read and encoded ahead."""
    if coming.count == 1:
        return nullcontext(coming.pictures)
    return encoded_ahead(coming.pictures, lambda image: image, segmenter)


def _rule(request: ScanRequest) -> VolumeRule:
    """What a person points at, or wants always, no neighbour may take away."""
    on_its_own = request.always or bool(request.hints)
    return RULES["slices" if on_its_own else request.volume_mode]


@dataclass(frozen=True)
class _Coming:
    """The pictures asked for; the first is read and checked already, the others are as they come."""

    pictures: Iterator[MedImage]
    again: Callable[[int], MedImage]
    """Reads the picture that came as number k once more."""
    count: int
    places_mm: tuple[float, ...] | None
    """Where they lie along the stack; None where they are no stack."""
    formats: tuple[ScanFormat, ...]

    @property
    def is_volume(self) -> bool:
        """Whether they are slices of one stack."""
        return self.places_mm is not None and self.count > 1


def _pictures(request: ScanRequest) -> _Coming:
    as_stored = request.frame is not None or request.frame_span is not None
    source = open_source(request.scan, request.reading, as_stored=as_stored)
    return _checked(request, source, _indices(source, request))


def _indices(source: Source, request: ScanRequest) -> range:
    """The images of a source that are asked for: all, unless some are chosen."""
    if request.span is not None or request.frame_span is not None:
        return _spanned(source, request)
    if request.frame is None and request.slice_index is None:
        return range(source.count)
    index = chosen(source, request.frame, request.slice_index)
    return range(index, index + 1)


def _spanned(source: Source, request: ScanRequest) -> range:
    span, option = (request.span, "slices") if source.unit == "slice" else (request.frame_span, "frame")
    if span is None:
        raise BadInput(f"{source.name}: is {source.kind}, made of {source.unit}s", f"choose some by --{option} A:B")
    start, stop = span
    some = range(start, source.count if stop is None else min(stop, source.count))
    if not some:
        raise BadInput(f"{source.name}: has {source.count} {source.unit}s, none of them chosen", "choose others")
    return some


def _checked(request: ScanRequest, source: Source, indices: range) -> _Coming:
    """What does not fit is refused: by the first picture now, by others when they come."""
    first = picture(source, indices[0])
    if len(indices) == 1 and first.pixels.min() == first.pixels.max():
        raise BadInput(f"{first.name}: every pixel has the same value", "give an image that shows something")
    formats, warned = formats_for(first, request.formats, request.seg_kind)

    def fitting(image: MedImage) -> MedImage:
        request.hints.check_inside(image.size)
        return replace(image, warnings=(*image.warnings, *warned)) if warned else image

    def again(number: int) -> MedImage:
        return fitting(picture(source, indices[number]))

    places = source.places_mm
    return _Coming(
        pictures=chain([fitting(first)], map(again, range(1, len(indices)))),
        again=again,
        count=len(indices),
        places_mm=None if places is None else tuple(places[index] for index in indices),
        formats=formats,
    )


@dataclass
class _Asking:
    """Every prompt is asked of a picture while its encoding is remembered."""

    request: ScanRequest
    segmenter: Segmenter
    tell: Progress
    total: int
    count: int = 0

    def answered(self, image: MedImage) -> Answered:
        """What each prompt finds on a picture alone."""
        results = []
        for prompt in self.request.prompts:
            self.tell(f'segmenting "{prompt[:40]}"', self.count, self.total)
            results.append(self._segment(image, prompt, self.request.hints))
            self.count += 1
        return Answered(image, results)

    def ask(self, image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        """Ask again, with boxes that neighbours give."""
        return self._segment(image, prompt, hints)

    def _segment(self, image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        return self.segmenter.segment(image, prompt, hints=hints, always=self.request.always)


def _recorded(answered: Answered, answers: _Answers, measuring: Measuring) -> Report:
    image = answered.image
    results = [
        result_record(image, result, answers.add(image, result), measuring.add(image, result))
        for result in answered.results
    ]
    return image_record(image, results)


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
            FlatNames(stage, request.case),
            coming.formats,
            whole=request.every or coming.count > 1,
            seg=SegOptions(kind=request.seg_kind, per_prompt=request.seg_per_prompt, all_slices=request.seg_all_slices),
            preset=segmenter.info.name,
        )
        return cls(request, stage, masks, coming.count * len(request.prompts))

    def add(self, image: MedImage, result: Segmentation) -> dict[str, str]:
        """Write what belongs to one result; the names of its files by role."""
        stem = f"{image.name}_{prompt_slug(result.prompt)}"
        overlay = self.stage / (OVERLAY if self.total == 1 else f"{stem}_overlay.png")
        draw_overlay(image, result).save(overlay)
        self.overlays.append((overlay, result.found))
        files = {role: path.name for role, path in self.masks.add(image, result).items()} | {"overlay": overlay.name}
        if self.request.save_stages:
            for role, values in result.maps.items():
                files[role] = write_map(values, self.stage / f"{stem}_{role}.png").name
        self.count += 1
        return files

    def finish(self) -> None:
        """Write what needs all results: the masks that waited, and the sheet of overlays."""
        self.masks.finish()
        if self.total > 1:
            shown = [path for path, found in self.overlays if found] or [path for path, _ in self.overlays]
            draw_sheet([Image.open(shown[index]) for index in sheet_choice(len(shown))]).save(self.stage / OVERLAY)
