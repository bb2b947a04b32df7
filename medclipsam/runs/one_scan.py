"""Segments one scan: it is read, each prompt is asked of each image, and the answers are written together.

    SCAN --read--> pictures --each prompt--> results --> DIR/CASE_seg.dcm, CASE_PROMPT_mask.nii.gz or .png
                                                         DIR/CASE_sr.dcm               (measurements, where wanted)
                                                         DIR/CASE_PROMPT_overlay.png   (where there are several results)
                                                         DIR/overlay.png               (the one, or a sheet of up to 12)
                                                         DIR/report.json               (all results)

Everything that can be refused is refused before a model is loaded, and DIR changes only after everything succeeded.
What an earlier run on the same scan wrote there, and this one does not, is removed then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, cast

from PIL import Image

from medclipsam.drawing.overlay import draw_overlay, draw_sheet, sheet_choice
from medclipsam.io.atomic import check_folder, staged
from medclipsam.io.limits import DEFAULT_MAX_PIXELS
from medclipsam.io.mask_files import FlatNames, MaskFiles, SegOptions
from medclipsam.io.mask_formats import ScanFormat, formats_for
from medclipsam.io.masks import write_map
from medclipsam.io.naming import case_name, prompt_slug
from medclipsam.io.source import Axis, ReadOptions
from medclipsam.io.window import Window
from medclipsam.methods.contract import Segmenter, StackSegmenter, Weighed, check_hints
from medclipsam.methods.prefetch import encoded_ahead
from medclipsam.report import Report, image_record, make_report, result_record, to_json
from medclipsam.runs.case import answer_case
from medclipsam.runs.pictures import Choice, Pictures, Span, open_pictures
from medclipsam.runs.replaced import REPORT, digests, written_before
from medclipsam.runs.structured_reports import check_reported, write_reports
from medclipsam.runs.windows import WindowChoice, choice_for
from medclipsam.types import NO_HINTS, Hints, MedImage, Progress, Segmentation
from medclipsam.volume.between import Between
from medclipsam.volume.measuring import Measuring
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import DEFAULT_MODE, RULES, VolumeMode, VolumeRule
from medclipsam.volume.together import TwoSteps
from medclipsam.words import check_prompts

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg import SegKind

OVERLAY = "overlay.png"
QUICK = 2
"""Level of zlib for overlays: a third of the default's time, 14 % larger."""


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
    span: Span | None = None
    """Slices of a volume from the first number on, up to but without the second; None: to the end."""
    frame: int | None = None
    """0-based frame of a multi-frame DICOM file, or page of a TIFF."""
    frame_span: Span | None = None
    """Frames or pages from the first number on, up to but without the second; None: to the end."""
    every: bool = False
    """Every slice, frame or page, as is done where none are chosen."""
    series: str | None = None
    """See `medclipsam.io.source.ReadOptions`."""
    volume_mode: VolumeMode = DEFAULT_MODE
    """How the slices of a volume inform each other; own boxes and points, and `always`, leave each on its own."""
    every_nth: int = 1
    """Ask one of so many slices of a volume; the masks of those between are drawn by `medclipsam.volume.between`."""
    axis: Axis = None
    window: Window = None
    """None and `auto`: the file's, but lungs on a CT as `medclipsam.runs.windows` chooses."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    sandbox: bool = False
    formats: tuple[ScanFormat, ...] = ("auto",)
    """Formats of the masks, see `medclipsam.io.mask_files`; the first is the one that the report calls `mask`."""
    seg_kind: SegKind = "binary"
    """See `medclipsam.io.dicom.seg.write_seg`."""
    seg_per_prompt: bool = False
    """See `medclipsam.io.mask_files.SegOptions`."""
    seg_all_slices: bool = False
    structured_report: bool = False
    """Write what was measured as DICOM SR beside each DICOM SEG."""
    save_stages: bool = False
    """Also write saliency and probability, as 16-bit PNG (65535 is 1)."""
    overlays: bool = True
    """Draw the answers; a program that draws them itself does without."""
    name: str | None = None
    """The case id, of a scan that lies elsewhere than where it came from; None: the one of its path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", check_prompts(self.prompts))
        _ = self.choice

    @property
    def choice(self) -> Choice:
        """Which images of the scan are asked for."""
        return Choice(
            slice_index=self.slice_index,
            span=self.span,
            frame=self.frame,
            frame_span=self.frame_span,
            every=self.every,
        )

    @property
    def rule(self) -> VolumeRule:
        """How slices are combined; what a person points at, or wants always, no neighbour may take away."""
        return RULES["slices" if self.always or self.hints else self.volume_mode]

    @property
    def seg(self) -> SegOptions:
        """How a DICOM SEG is written."""
        return SegOptions(kind=self.seg_kind, per_prompt=self.seg_per_prompt, all_slices=self.seg_all_slices)

    @property
    def case(self) -> str:
        """The case id of the scan."""
        return self.name or case_name(self.scan)

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
    pictures = open_pictures(request.scan, request.reading, request.choice, request.name)
    first = pictures.read(0)
    request.hints.check_inside(first.size)
    asked, numbers = pictures.thinned(request.every_nth) if request.every_nth != 1 else (pictures, [])
    formats, warned = formats_for(first, request.formats, request.seg_kind, pictures.corners_lps)
    if request.structured_report:
        check_reported(formats)
    tell("loading models", 0, 0)
    loading = perf_counter()
    segmenter = load()
    check_hints(request.hints, segmenter.info)
    loaded = perf_counter() - loading
    choice = choice_for(segmenter, request.window, asked, request.hints)
    earlier = written_before(request.output, request.case)
    with (
        staged(request.output, REPORT, earlier) as stage,
        _encoded(first, asked, segmenter, choice, request.prompts[0]) as images,
    ):
        run = _Run(request, segmenter, stage, pictures=pictures, formats=formats, tell=tell)
        run.warn(*warned, *(() if "seg" in formats else request.seg.unused))
        answer_case(
            images,
            asked,
            request.prompts,
            run.ask,
            Between(run.keep, numbers, pictures.places_mm or (), pictures.read) if numbers else run.keep,
            rule=request.rule,
            takes_hints=segmenter.info.takes_hints,
            hints=request.hints,
            in_two_steps=run.two_steps(),
            choice=choice,
        )
        tell("writing", 0, 0)
        run.finish(pictures)
        seconds = {"load": loaded, "total": perf_counter() - started}
        report = make_report(segmenter.info.as_dict(), run.images, seed=request.seed, seconds=seconds)
        if pictures.is_volume:
            report |= {"volume_mode": request.volume_mode, "every_nth": request.every_nth}
            report |= {"volumes": run.measuring.rows(pictures.places_mm)}
        report["written"] = digests(stage)
        (stage / REPORT).write_text(to_json(report) + "\n", encoding="utf-8")
    return report


def _encoded(
    first: MedImage, pictures: Pictures, segmenter: Segmenter, choice: WindowChoice | None, prompt: str
) -> AbstractContextManager[Iterator[MedImage]]:
    """Several images are read, and encoded ahead as they are shown for a prompt; the first is read already."""
    images = chain([first], map(pictures.read, range(1, len(pictures))))
    if len(pictures) == 1:
        return nullcontext(images)
    return encoded_ahead(images, lambda image: choice.shown(image, prompt) if choice else image, segmenter)


class _Run:
    """The answers of a run and its files, written as they come, or at the end where they wait for each other."""

    def __init__(
        self,
        request: ScanRequest,
        segmenter: Segmenter,
        stage: Path,
        *,
        pictures: Pictures,
        formats: tuple[ScanFormat, ...],
        tell: Progress,
    ) -> None:
        self.images: list[Report] = []
        """What the report says of each image."""
        self.measuring = Measuring()
        self._request, self._stage, self._segmenter, self._tell = request, stage, segmenter, tell
        self._total = len(pictures) * len(request.prompts)
        self._asked = self._weighed = 0
        self._formats, self._warned = formats, tuple[str, ...]()
        self._overlays: list[tuple[Path, bool]] = []
        self._masks = MaskFiles(
            FlatNames(stage, request.case),
            self._formats,
            whole=request.every or len(pictures) > 1,
            seg=request.seg,
            corners=pictures.corners_lps,
            preset=segmenter.info.name,
        )

    def warn(self, *warnings: str) -> None:
        """Tell the person, with every image."""
        self._warned += warnings

    def ask(self, image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        """What a prompt finds on an image.

        Raises:
            BadInput: hints outside the image, or a text that cannot be used.
        """
        self._tell(f'segmenting "{prompt[:40]}"', min(self._asked, self._total), self._total)
        self._asked += 1
        self._request.hints.check_inside(image.size)
        return self._segmenter.segment(image, prompt, hints=hints, always=self._request.always)

    def two_steps(self) -> TwoSteps | None:
        """The same in two steps, of a method that can."""
        if not self._segmenter.info.weighs_first:
            return None
        segmenter = cast(StackSegmenter, self._segmenter)

        def weigh(image: MedImage, prompt: str) -> Weighed:
            self._tell(f'looking for "{prompt[:40]}"', min(self._weighed, self._total), self._total)
            self._weighed += 1
            return segmenter.weigh(image, prompt)

        def draw(image: MedImage, prompt: str, weighed: Weighed | None) -> Segmentation:
            if weighed is None:
                raise ValueError("a slice that was not weighed")
            self._tell(f'segmenting "{prompt[:40]}"', min(self._asked, self._total), self._total)
            self._asked += 1
            return segmenter.draw(image, prompt, weighed)

        return TwoSteps(weigh=weigh, draw=draw, features_of=segmenter.features_of, recall=segmenter.recall)

    def keep(self, answered: Answered, index: int) -> None:
        """Write what belongs to the answers of one image, and take it into the report."""
        image = replace(answered.image, warnings=(*answered.image.warnings, *self._warned))
        results = [
            result_record(image, result, self._written(image, result), self.measuring.add(image, result))
            for result in answered.results
        ]
        self.images.append(image_record(image, results))

    def finish(self, pictures: Pictures) -> None:
        """Write what needs all results: the masks that waited, reports on them, and the sheet of overlays."""
        self._masks.finish()
        if self._request.structured_report:
            preset = self._segmenter.info.name
            write_reports(self._masks, self.measuring, pictures.places_mm, is_stack=pictures.is_volume, preset=preset)
        if self._overlays and self._total > 1:
            shown = [path for path, found in self._overlays if found] or [path for path, _ in self._overlays]
            draw_sheet([Image.open(shown[index]) for index in sheet_choice(len(shown))]).save(self._stage / OVERLAY)

    def _written(self, image: MedImage, result: Segmentation) -> dict[str, str]:
        """Write what belongs to one result; the names of its files by role."""
        stem = f"{image.name}_{prompt_slug(result.prompt)}"
        files = {role: path.name for role, path in self._masks.add(image, result).items()}
        if self._request.overlays:
            files["overlay"] = self._drawn(image, result, stem)
        for role, values in result.maps.items() if self._request.save_stages else ():
            files[role] = write_map(values, self._stage / f"{stem}_{role}.png").name
        return files

    def _drawn(self, image: MedImage, result: Segmentation, stem: str) -> str:
        """Draw one result; the name of the picture."""
        overlay = self._stage / (OVERLAY if self._total == 1 else f"{stem}_overlay.png")
        draw_overlay(image, result).save(overlay, compress_level=QUICK)
        self._overlays.append((overlay, result.found))
        return overlay.name
