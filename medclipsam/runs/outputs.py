"""What is kept of one prompt on one file? Its masks, labels and overlay as files, the rest as a record.

picture, result --add--> masks/, doubtful/ and labels/ (those of a volume or in DICOM SEG at the end, as one file)
                --end--> overlays/ (of several pictures a sheet of the dozen that most need a look), Record
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.io.atomic import file_digest, write_atomic
from medclipsam.io.mask_files import ScanFormat, formats_for
from medclipsam.io.masks import MaskFormat, natural_format, write_mask
from medclipsam.io.volumes.masks import SUFFIXES as VOLUME_SUFFIXES
from medclipsam.io.volumes.masks import PackedMasks, write_volume_mask
from medclipsam.overlay import SHEET_MOST, draw_sheet
from medclipsam.report import area_mm2
from medclipsam.runs.arrivals import Arrival
from medclipsam.runs.confidence import Verdict, combined, confidence, judge
from medclipsam.runs.labels import training_labels
from medclipsam.runs.layout import DOUBTFUL, LABELS, MASKS, OVERLAYS, place
from medclipsam.runs.manifest import Picture, Record
from medclipsam.runs.request import LabelRequest
from medclipsam.runs.thumbnail import draw_thumbnail
from medclipsam.types import MedImage, Segmentation

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg import SegMasks

JPEG_QUALITY = 85


class Answer:
    """The files and the record of one prompt on one file.

    Args:
        request: gives the folder, the formats, and what confidence is asked for.
        arrived: the first picture of the file.
        prompt: what is asked of it.
        config_sha256: of the run's settings.
        preset: what makes the masks, told in a DICOM SEG.
    """

    def __init__(
        self, request: LabelRequest, arrived: Arrival, prompt: str, config_sha256: str, preset: str = ""
    ) -> None:
        self._request = request
        self._case = arrived.case.name
        self._input = arrived.sha256
        self._several = arrived.count > 1
        self._config = config_sha256
        self._pictures: list[Picture] = []
        self._warnings: dict[str, None] = {}
        self._outputs: dict[str, str] = {}
        self._preset = preset
        self._format: ScanFormat | None = None
        self._volume: Any = None
        self._segs: dict[str, SegMasks] = {}
        """By kind."""
        self._slices = {kind: PackedMasks() for kind in (MASKS, DOUBTFUL, LABELS)}
        self._shown = _Shown()
        self.prompt = prompt
        self.seconds = 0.0

    def add(self, image: MedImage, index: int, result: Segmentation) -> None:
        """Take the result of one picture and write what belongs to it alone.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        picture = _picture(image, index, result, self._request.min_confidence)
        self._pictures.append(picture)
        self._warnings |= dict.fromkeys(image.warnings)
        self._shown.add(picture, image, result)
        self._format = self._format or self._chosen_format(image)
        for kind, values in self._maps(picture, result).items():
            if self._format in VOLUME_SUFFIXES:
                self._volume = image.origin.volume
                self._slices[kind].put(image.origin.index, values)
            elif self._format == "seg" and kind != LABELS:
                self._add_to_seg(kind, image, values)
            else:
                self._write_alone(kind, image, values)

    def record(self) -> Record:
        """Write what needs all pictures; the record of the whole.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        self._write_volumes()
        overlay = place(self._request.output, OVERLAYS, self.prompt, f"{self._case}.jpg")
        self._keep(write_atomic(overlay, _jpeg(self._shown.drawn())))
        first = self._pictures[0]
        return Record(
            case=self._case,
            prompt=self.prompt,
            status=self._status,
            reason=self._why_nothing(),
            input_sha256=self._input,
            config_sha256=self._config,
            presence=max((each.presence for each in self._pictures if each.presence is not None), default=None),
            confidence=combined(
                [picture.area_px for picture in self._pictures], [picture.confidence for picture in self._pictures]
            ),
            sam_scores=() if self._several else first.sam_scores,
            box=None if self._several else first.box,
            area_px=sum(picture.area_px for picture in self._pictures),
            area_mm2=_total([picture.area_mm2 for picture in self._pictures]),
            pictures=tuple(self._pictures) if self._several else (),
            warnings=tuple(self._warnings),
            outputs=dict(sorted(self._outputs.items())),
            seconds=round(self.seconds, 3),
        )

    def without_files(self, status: Literal["begun", "refused", "failed"], reason: str | None = None) -> Record:
        """The record of a case that is not answered yet, or will not be."""
        return Record(
            case=self._case,
            prompt=self.prompt,
            status=status,
            reason=reason,
            input_sha256=self._input,
            config_sha256=self._config,
        )

    @property
    def files(self) -> tuple[str, ...]:
        """What was written so far."""
        return tuple(self._outputs)

    @property
    def _status(self) -> Verdict:
        """That of the best picture."""
        there = {picture.status for picture in self._pictures}
        return next(verdict for verdict in get_args(Verdict) if verdict in there)

    def _why_nothing(self) -> str | None:
        """The reason that all pictures share."""
        reasons = {picture.reason for picture in self._pictures}
        return reasons.pop() if len(reasons) == 1 else None

    def _maps(self, picture: Picture, result: Segmentation) -> dict[str, NDArray[Any]]:
        """What is written of a picture, by kind."""
        doubtful = picture.status == "doubtful"
        maps: dict[str, NDArray[Any]] = {DOUBTFUL if doubtful else MASKS: result.mask}
        if self._request.ignore_band is not None:
            maps[LABELS] = training_labels(result, self._request.ignore_band, doubtful=doubtful)
        return maps

    def _chosen_format(self, image: MedImage) -> ScanFormat:
        """By the first picture of a file; a DICOM object that can have no SEG gets a PNG, and a warning."""
        wanted = self._request.mask_format
        if wanted == "seg":
            (chosen,), warned = formats_for(image, ("auto",))
            self._warnings |= dict.fromkeys(warned)
            return chosen
        if wanted == "auto":
            return natural_format(image)
        return wanted

    def _add_to_seg(self, kind: str, image: MedImage, mask: NDArray[np.bool_]) -> None:
        from medclipsam.io.dicom.seg import SegMasks  # noqa: PLC0415

        self._segs.setdefault(kind, SegMasks(preset=self._preset)).add(image, self.prompt, mask)

    def _write_alone(self, kind: str, image: MedImage, values: NDArray[Any]) -> None:
        path = place(self._request.output, kind, self.prompt, image.name)
        if kind != LABELS:
            format: MaskFormat = "npy" if self._format == "npy" else "png"
            self._keep(write_mask(image, values, path, format=format))
        elif self._pictures[-1].status != "doubtful":
            self._keep(write_atomic(path.with_name(f"{path.name}.png"), _png(values)))

    def _write_volumes(self) -> None:
        """Masks and labels of a volume, except where not one of its masks is believed."""
        for kind, slices in self._slices.items():
            if slices and (kind == DOUBTFUL or self._status != "doubtful"):
                path = place(self._request.output, kind, self.prompt, self._case)
                self._keep(write_volume_mask(self._volume, slices, path))
        for kind, masks in self._segs.items():
            if kind == DOUBTFUL or self._status != "doubtful":
                self._keep(masks.write(place(self._request.output, kind, self.prompt, self._case)))

    def _keep(self, path: Path) -> None:
        self._outputs[path.relative_to(self._request.output).as_posix()] = file_digest(path)


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
