"""Keeps what a prompt found on one case: masks, labels, maps and an overlay as files, the rest as a record.

image, result --add--> masks/, doubtful/ and labels/ (those of a volume or in DICOM SEG at the end, as one file)
              --end--> overlays/ (of several images a sheet of the dozen that most need a look), Record
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.drawing.overlay import SHEET_MOST, draw_sheet
from medclipsam.drawing.thumbnail import draw_thumbnail
from medclipsam.io.atomic import file_digest, suffixed, write_atomic
from medclipsam.io.mask_files import MaskFiles
from medclipsam.io.mask_formats import ScanFormat, folder_formats
from medclipsam.io.masks import natural_format, write_map
from medclipsam.io.volumes.masks import SUFFIXES as VOLUME_SUFFIXES
from medclipsam.io.volumes.masks import PackedMasks, write_volume_mask
from medclipsam.report import Report, area_mm2
from medclipsam.runs.confidence import Verdict, boundary_score, combined, confidence, judge
from medclipsam.runs.labels import training_labels
from medclipsam.runs.layout import DOUBTFUL, LABELS, MASKS, OVERLAYS, REPORTS, Places
from medclipsam.runs.manifest import Picture, Record
from medclipsam.runs.reading import Arrival
from medclipsam.runs.request import LabelRequest, RunSettings
from medclipsam.runs.structured_reports import write_reports
from medclipsam.types import MedImage, Segmentation
from medclipsam.volume.measuring import Measuring

JPEG_QUALITY = 85
DIGITS = 6
"""Digits of entropies, as they are written down."""


class PromptOutputs:
    """The files and the record of one prompt on one case.

    Args:
        request: gives the folder, the formats, and what confidence is asked for.
        arrived: the first image of the case.
        prompt: what is asked of it.
        settings: those of `run.json`.
    """

    def __init__(self, request: LabelRequest, arrived: Arrival, prompt: str, settings: RunSettings) -> None:
        self.prompt = prompt
        self.seconds = 0.0
        self._request, self._settings, self._case, self._input = request, settings, arrived.case, arrived.sha256
        self._several = arrived.pictures is not None and len(arrived.pictures) > 1
        self._corners = None if arrived.pictures is None else arrived.pictures.corners_lps
        self._stack = arrived.pictures if arrived.pictures is not None and arrived.pictures.is_volume else None
        self._pictures: list[Picture] = []
        self._warnings: dict[str, None] = dict.fromkeys([arrived.case.note] if arrived.case.note else [])
        self._outputs: dict[str, str] = {}
        self._formats: tuple[ScanFormat, ...] = ()
        self._waiting: dict[Path, None] = {}
        """Files that are written at the end."""
        self._masks: dict[str, MaskFiles] = {}
        self._volume: Any = None
        self._volume_labels = PackedMasks()
        self._measuring = Measuring()
        self._shown = _Shown()

    def add(self, image: MedImage, index: int, result: Segmentation) -> None:
        """Take the result of one image and write what belongs to it alone.

        Raises:
            BadInput: a mask that cannot be in one file with the others.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        picture = _picture(image, index, result, self._request.min_confidence)
        self._pictures.append(picture)
        self._warnings |= dict.fromkeys([*image.warnings, *result.notes])
        self._measuring.add(image, result)
        self._shown.add(picture, image, result)
        kind = DOUBTFUL if picture.status == "doubtful" else MASKS
        for path in self._files_of(kind, image).add(image, result).values():
            self._keep(path)
        if self._request.ignore_band is not None:
            self._add_labels(image, result, self._request.ignore_band, doubtful=kind == DOUBTFUL)
        for name, values in result.maps.items() if self._request.save_stages else ():
            self._keep(write_map(values, suffixed(self._places(name).of(image, None, name), ".png")))

    def record(self) -> Record:
        """Write what needs all images; the record of the whole.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        self._finish()
        overlay = suffixed(self._places(OVERLAYS).of(None, None, "overlay"), ".jpg")
        self._keep(write_atomic(overlay, _jpeg(self._shown.drawn())))
        first = self._pictures[0]
        return self._record(
            status=self._status,
            reason=self._why_nothing(),
            presence=max((each.presence for each in self._pictures if each.presence is not None), default=None),
            confidence=combined(
                [each.area_px for each in self._pictures], [each.confidence for each in self._pictures]
            ),
            sam_scores=() if self._several else first.sam_scores,
            box=None if self._several else first.box,
            area_px=sum(picture.area_px for picture in self._pictures),
            area_mm2=_total([picture.area_mm2 for picture in self._pictures]),
            entropy=None if self._several else first.entropy,
            boundary_entropy=None if self._several else first.boundary_entropy,
            measurements=tuple(self._measured()),
            pictures=tuple(self._pictures) if self._several else (),
            warnings=tuple(self._warnings),
            outputs=dict(sorted(self._outputs.items())),
            seconds=round(self.seconds, 3),
        )

    def without_files(self, status: Literal["begun", "refused", "failed"], reason: str | None = None) -> Record:
        """The record of a case that is not answered yet, or will not be."""
        return self._record(status=status, reason=reason)

    @property
    def files(self) -> tuple[str, ...]:
        """What was written so far."""
        return tuple(self._outputs)

    @property
    def _status(self) -> Verdict:
        """That of the best image."""
        there = {picture.status for picture in self._pictures}
        return next(verdict for verdict in get_args(Verdict) if verdict in there)

    def _record(self, **known: Any) -> Record:
        return self._case.record(self.prompt, self._settings["config_sha256"], input_sha256=self._input, **known)

    def _measured(self) -> list[Report]:
        """On the slices of a stack together, else on each image."""
        measuring = self._measuring
        return measuring.image_rows() if self._stack is None else measuring.rows(self._stack.places_mm)

    def _why_nothing(self) -> str | None:
        """The reason that all images share."""
        reasons = {picture.reason for picture in self._pictures}
        return reasons.pop() if len(reasons) == 1 else None

    def _places(self, kind: str) -> Places:
        return Places(self._request.output, kind, self._case, self.prompt)

    def _files_of(self, kind: str, image: MedImage) -> MaskFiles:
        """The mask files of a kind, in formats that the first image of the case decides."""
        if not self._formats:
            self._formats, warned = folder_formats(image, self._request.formats, self._request.seg.kind, self._corners)
            self._warnings |= dict.fromkeys(warned)
        if kind not in self._masks:
            self._masks[kind] = MaskFiles(
                self._places(kind),
                self._formats,
                whole=True,
                seg=self._request.seg,
                corners=self._corners,
                preset=self._settings["preset"]["name"],
            )
        return self._masks[kind]

    def _add_labels(self, image: MedImage, result: Segmentation, band: float, *, doubtful: bool) -> None:
        """Labels to learn from: of a volume they wait for all slices; an image that is not believed has none."""
        labels = training_labels(result, band, doubtful=doubtful)
        if natural_format(image) in VOLUME_SUFFIXES and set(self._formats) & set(VOLUME_SUFFIXES):
            self._volume = image.origin.volume
            self._volume_labels.put(image.origin.index, labels)
        elif not doubtful:
            self._keep(write_atomic(suffixed(self._places(LABELS).of(image, None, "labels"), ".png"), _png(labels)))

    def _finish(self) -> None:
        """Masks and labels that waited, except where not one of the masks is believed."""
        for kind, files in self._masks.items():
            if kind == DOUBTFUL or self._status != "doubtful":
                files.finish()
        if MASKS in self._masks and self._status != "doubtful":
            self._report_on(self._masks[MASKS])
        if self._volume_labels and self._status != "doubtful":
            self._keep(
                write_volume_mask(self._volume, self._volume_labels, self._places(LABELS).of(None, None, "labels"))
            )
        for path in self._waiting:
            if path.exists():
                self._keep(path)

    def _report_on(self, files: MaskFiles) -> None:
        """Structured reports on the masks that are believed, where they are wanted and the masks are DICOM SEG."""
        if not self._request.structured_report:
            return
        folder = self._request.output
        written = write_reports(
            files,
            self._measuring,
            self._stack.places_mm if self._stack else None,
            is_stack=self._stack is not None,
            preset=self._settings["preset"]["name"],
            place=lambda seg: folder / REPORTS / seg.relative_to(folder / MASKS).with_suffix(""),
        )
        for path in written:
            self._keep(path)

    def _keep(self, path: Path) -> None:
        """Note a file with its hash; one that is not written yet is noted at the end."""
        if path.exists():
            self._outputs[path.relative_to(self._request.output).as_posix()] = file_digest(path)
        else:
            self._waiting[path] = None


class _Shown:
    """The pictures that most need a look: of those with a mask the least sure; else the one nearest to having one."""

    def __init__(self) -> None:
        self._drawn: list[tuple[tuple[bool, float], int, Image.Image]] = []

    def add(self, picture: Picture, image: MedImage, result: Segmentation) -> None:
        """Draw a picture, unless better ones are drawn already."""
        found = picture.confidence is not None
        rank = (False, picture.confidence) if picture.confidence is not None else (True, -(picture.presence or 0.0))
        ranks = [each[0] for each in self._drawn]
        most = SHEET_MOST if found else 1
        if len(ranks) < most or rank < ranks[most - 1]:
            self._drawn.append((rank, picture.index, draw_thumbnail(image, result)))
            self._drawn.sort(key=lambda each: each[:2])
            del self._drawn[SHEET_MOST:]

    def drawn(self) -> Image.Image:
        """One picture of all, in the order of the file."""
        found = [each for each in self._drawn if not each[0][0]] or self._drawn[:1]
        pictures = [drawn for _, _, drawn in sorted(found, key=lambda each: each[1])]
        return pictures[0] if len(pictures) == 1 else draw_sheet(pictures)


def _picture(image: MedImage, index: int, result: Segmentation, least: float) -> Picture:
    sure = confidence(result)
    entropy = result.maps.get("entropy")
    at_rim = None if entropy is None else boundary_score(entropy, result.mask)
    return Picture(
        index=index,
        status=judge(sure, least),
        presence=None if result.presence is None else float(result.presence),
        confidence=sure,
        sam_scores=tuple(float(score) for score in result.scores),
        box=result.box.edges if result.box else None,
        area_px=result.area_px,
        area_mm2=area_mm2(image, result),
        reason=result.reason,
        entropy=None if entropy is None else round(float(entropy.mean(dtype=np.float64)), DIGITS),
        boundary_entropy=None if at_rim is None else round(at_rim, DIGITS),
    )


def _total(areas: Sequence[float | None]) -> float | None:
    known = [area for area in areas if area is not None]
    return sum(known) if len(known) == len(areas) else None


def _png(values: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(values).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _jpeg(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
