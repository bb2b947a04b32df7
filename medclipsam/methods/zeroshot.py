"""A text becomes a mask, with no mask to learn from: MedCLIP-SAMv2 (Koleilat et al., MedIA 2025), section 3.

    text  -> CLIP ---\\
                      evidence (M2IB or dense) -> coarse mask -> box, points -> SAM -> mask
    image -> CLIP ---/        |                                                ^
                              '-> presence: is it there at all?     image -> SAM encoder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np

from medclipsam.backbones.bodies import LEAST, OUT_OF_PLACE, known_bodies
from medclipsam.backbones.sam_masks import Promptable, SamMasks
from medclipsam.config import BOX_ONLY_SAM, Coarse, ZeroShot
from medclipsam.memory.latest import Latest
from medclipsam.methods.borders import Inner, inner_of
from medclipsam.methods.contract import MethodInfo, Weighed, check_hints
from medclipsam.methods.greys import NOTE as INVERTED
from medclipsam.methods.greys import positive
from medclipsam.methods.one_side import leftward, on_side
from medclipsam.prompting.blending import blended, inside
from medclipsam.prompting.coarse import coarse_mask, largest_components
from medclipsam.prompting.evidence import Cells, CellSource, Evidence, EvidenceSource
from medclipsam.prompting.growing import MOST_GROWTHS, grown
from medclipsam.prompting.prompts import Prompts, prompts_from
from medclipsam.sides import one_side
from medclipsam.types import (
    MASK_THRESHOLD,
    NO_HINTS,
    BoolArray,
    Familiar,
    FloatArray,
    Hints,
    MedImage,
    NothingFound,
    Segmentation,
)
from medclipsam.weights import lookup
from medclipsam.words import check_prompt

REMEMBERED_IMAGES = 16
PICTURES = ("raster", "dicom")
"""Formats that may hold a picture with a border."""
SETTLED_GROW = 0.15
"""As `Prompting.grow`, for slices of a stack whose evidence was settled where the preset lets no box grow."""


class ZeroShotSegmenter:
    """The pipeline, composed of the stages that its preset names.

    Args:
        config: the choices.
        evidence: a CLIP and its explainer.
        sam: the promptable segmenter.
        weights: hash of each file in use, for reports.
        seed: of noise and of drawn points.
    """

    def __init__(
        self,
        config: ZeroShot,
        evidence: EvidenceSource,
        sam: Promptable,
        *,
        weights: dict[str, str],
        seed: int = 0,
    ) -> None:
        self.config = config
        self._evidence = evidence
        self._sam = sam
        self._weights = weights
        self._seed = seed
        self._views: Latest[Any] = Latest()
        self._shares: Latest[dict[str, float]] = Latest()
        self._positives: Latest[MedImage | None] = Latest()

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        """Segment what `text` names; an empty mask where CLIP finds it nowhere. See `Segmenter.segment`."""
        check_hints(hints, self.info)
        text, hints = check_prompt(text), hints or NO_HINTS
        asked, of_side = self._sided(image, text, hints)
        inner = self._inner(image)
        if inner is None or not inner.holds(hints):
            return of_side(self._segment(image, asked, hints, always=always))
        return of_side(inner.put_back(self._segment(inner.of(image), asked, inner.hints(hints), always=always)))

    def _segment(self, image: MedImage, text: str, hints: Hints, *, always: bool) -> Segmentation:
        """The answer about all of an image, to a text whose side nobody has to tell."""
        seconds: dict[str, float] = {}
        with _timed(seconds, "encode"):
            image, notes = self._positive(image)
            view = self._look(image)
        with _timed(seconds, "saliency"):
            evidence = self._evidence.weigh(image, view, text, self._seed)
        doubt = None if hints else self._doubt(image, evidence)
        evidence = _told(text, replace(evidence, notes=(*evidence.notes, *notes)), guessed=always)
        if doubt and not always:
            return _nothing(text, evidence, seconds, doubt)
        return self._drawn(image, text, evidence, self.config.coarse, hints=hints, seconds=seconds)

    def _inner(self, image: MedImage) -> Inner | None:
        """The part inside a drawn border, of a model that is spared borders.

        Borders are drawn around pictures: slices, which lie in space, keep their squares, which lie on each other.
        """
        is_picture = image.format in PICTURES and image.plane_lps is None
        return inner_of(image.pixels) if self.config.crop_borders and is_picture else None

    def weigh(self, image: MedImage, text: str) -> Weighed:
        """See `StackSegmenter.weigh`; only where `info.weighs_first`."""
        asked, _ = self._sided(image, check_prompt(text), NO_HINTS)
        seconds: dict[str, float] = {}
        with _timed(seconds, "encode"):
            image, notes = self._positive(image)
            view = self._look(image)
        with _timed(seconds, "saliency"):
            cells = self._cells.cells(view, asked)
        cells = replace(cells, notes=(*cells.notes, *notes))
        return Weighed(size=image.size, cells=cells, doubt=self._doubt(image, cells), seconds=seconds)

    def draw(self, image: MedImage, text: str, weighed: Weighed) -> Segmentation:
        """See `StackSegmenter.draw`; where neighbours have decided which parts count, all of them are drawn."""
        asked, of_side = self._sided(image, check_prompt(text), NO_HINTS)
        image, _ = self._positive(image)
        seconds, coarse = dict(weighed.seconds), self.config.coarse
        evidence = _told(asked, self._cells.drawn(image, weighed.cells), guessed=False)
        if weighed.doubt:
            return of_side(_nothing(asked, evidence, seconds, weighed.doubt))
        if not weighed.settled:
            return of_side(self._drawn(image, asked, evidence, coarse, hints=NO_HINTS, seconds=seconds))
        coarse, grow = replace(coarse, min_relative=0.0), self.config.prompting.grow or SETTLED_GROW
        return of_side(self._drawn(image, asked, evidence, coarse, hints=NO_HINTS, seconds=seconds, grow=grow))

    def features_of(self, image: MedImage) -> FloatArray:
        """See `StackSegmenter.features_of`."""
        return self._sam.features(self._positive(image)[0])

    def recall(self, image: MedImage, features: FloatArray) -> None:
        """See `StackSegmenter.recall`."""
        self._sam.recall(self._positive(image)[0], features)

    def prepare(self, images: Sequence[MedImage]) -> None:
        """See `Segmenter.prepare`; at most 16 are remembered."""
        seen = (inner.of(image) if (inner := self._inner(image)) else image for image in images)
        self._sam.set_images([self._positive(image)[0] for image in seen])

    def images_at_once(self, most: int) -> int:
        """See `Segmenter.images_at_once`; where each is seen in several views, these are encoded together."""
        return 1 if self.config.views > 1 else self._sam.images_at_once(most)

    @cached_property
    def info(self) -> MethodInfo:
        """See the contract."""
        return MethodInfo(
            method=ZeroShot.method,
            preset=asdict(self.config),
            weights=self._weights,
            device=str(self._sam.device),
            engine=self._sam.engine,
            precision=self._sam.precision,
            takes_hints=True,
            takes_points=self.config.sam not in BOX_ONLY_SAM,
            weighs_first=isinstance(self._evidence, CellSource),
        )

    @property
    def _cells(self) -> CellSource:
        if not isinstance(self._evidence, CellSource):
            raise TypeError(f"the maps of {self.config.explainer} are not absolute")
        return self._evidence

    def _sided(self, image: MedImage, text: str, hints: Hints) -> tuple[str, Callable[[Segmentation], Segmentation]]:
        """The text to look for, and what makes its answer that to `text`, which may name a side of the patient."""
        asked = None if self.config.tells_sides else one_side(text, pointed=bool(hints))
        left = leftward(image, asked.structure, pointed=bool(hints)) if asked else None
        if asked is None or left is None:
            return text, lambda answer: answer
        return asked.structure, partial(on_side, image=image, asked=asked, left=left, text=text)

    def _positive(self, image: MedImage) -> tuple[MedImage, tuple[str, ...]]:
        """The image with its greys the right way round, and a note where they were not."""
        if not self.config.rights_greys:
            return image, ()
        known = self._positives.of([image.digest])
        if not known:
            known = {image.digest: positive(image)}
            self._positives.keep(known, REMEMBERED_IMAGES)
        turned = known[image.digest]
        return (image, ()) if turned is None else (turned, (INVERTED,))

    def _look(self, image: MedImage) -> Any:
        """The image's view, from memory where this image was seen lately."""
        seen = self._views.of([image.digest])
        if not seen:
            self._sam.set_image(image)
            seen = {image.digest: self._evidence.look(image)}
        self._views.keep(seen, ceil(REMEMBERED_IMAGES / self.config.views))
        return seen[image.digest]

    def _drawn(
        self,
        image: MedImage,
        text: str,
        evidence: Evidence,
        coarse: Coarse,
        *,
        hints: Hints,
        seconds: dict[str, float],
        grow: float | None = None,
    ) -> Segmentation:
        """The mask for what the evidence marks, or what a person points at, whose boxes never grow."""
        grow = 0.0 if hints else self.config.prompting.grow if grow is None else grow
        with _timed(seconds, "prompts"):
            asked = self._prompts(image, evidence, coarse, hints)
        if asked.empty:
            return _nothing(text, evidence, seconds, "no_region")
        with _timed(seconds, "mask"):
            masks, probability = self._ask_sam(image, evidence, asked, 0.0 if hints else self.config.saliency_share)
            for _ in range(MOST_GROWTHS if grow else 0):
                boxes = grown(probability > MASK_THRESHOLD, asked.boxes, grow)
                if boxes == asked.boxes:
                    break
                asked = replace(asked, boxes=boxes)
                masks, probability = self._ask_sam(image, evidence, asked, self.config.saliency_share)
        return self._answer(text, evidence, asked, probability, masks=masks, seconds=seconds)

    def _prompts(self, image: MedImage, evidence: Evidence, coarse: Coarse, hints: Hints) -> Prompts:
        seed_mask = coarse_mask(evidence.saliency, coarse, image.pixels)
        drawn = np.random.default_rng([self._seed, int(image.digest[:8], 16)])
        return prompts_from(seed_mask, self.config.prompting, drawn, boxes=hints.boxes, points=hints.points)

    def _doubt(self, image: MedImage, evidence: Evidence | Cells) -> NothingFound | None:
        """Why the answer is "not found" before anything is drawn; None where it is not."""
        if evidence.familiar and not evidence.familiar.taught:
            return "never_taught"
        threshold = self.config.presence_threshold
        if threshold is None:
            return None
        if self._is_out_of_place(image, evidence.familiar):
            return "wrong_body"
        if evidence.presence >= threshold:
            return None
        if evidence.familiar is None:
            return "below_threshold"
        return "wrong_body" if self._shown_instead(image, next(iter(evidence.familiar.nearest), None)) else "absent"

    def _is_out_of_place(self, image: MedImage, asked: Familiar | None) -> bool:
        """Whether the image shows another part of the body than the one target that is asked for, whatever its map
        says; only of the weights for which it was measured that this hides next to nothing."""
        if asked is None or asked.named is None or self._weights.get("compact") != lookup("compact").sha256:
            return False
        return self._shown_instead(image, asked.named, OUT_OF_PLACE) is not None

    def _shown_instead(self, image: MedImage, target: str | None, least: float = LEAST) -> str | None:
        """The part of the body that an image shows, where that cannot show a target; None where it may, and of a preset
        that does not tell parts of the body."""
        bodies = known_bodies()
        if target is None or not self.config.tells_bodies or self._weights.get(self.config.sam) != bodies.encoder:
            return None
        shares = self._shares.of([image.digest]).get(image.digest)
        if shares is None:
            shares = bodies.seen(self._sam.features(image), image.size)
            self._shares.keep({image.digest: shares}, REMEMBERED_IMAGES)
        return bodies.shown_instead(target, shares, least)

    def _ask_sam(
        self, image: MedImage, evidence: Evidence, asked: Prompts, share: float
    ) -> tuple[SamMasks, FloatArray]:
        """SAM's masks, and the probability (height, width) in which the evidence has its share."""
        multimask = self.config.prompting.multimask
        masks = self._sam.predict(self._sam.set_image(image), asked.boxes, asked.points, multimask)
        drawn: FloatArray = masks.probability.max(axis=0)
        return masks, blended(drawn, inside(evidence.saliency, asked.boxes), share, self.config.least_agreement)

    def _answer(
        self,
        text: str,
        evidence: Evidence,
        asked: Prompts,
        probability: FloatArray,
        *,
        masks: SamMasks,
        seconds: dict[str, float],
    ) -> Segmentation:
        mask: BoolArray = probability > MASK_THRESHOLD
        if self.config.prompting.as_many_parts_as_prompts:
            mask = largest_components(mask, asked.parts, ties=True)
        return Segmentation(
            prompt=text,
            mask=mask,
            probability=probability,
            saliency=evidence.saliency,
            found=bool(mask.any()),
            presence=evidence.presence,
            reason=None if mask.any() else _why_empty(masks),
            boxes=asked.boxes,
            points=asked.points,
            scores=tuple(masks.scores.tolist()),
            notes=evidence.notes,
            seconds=seconds,
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = perf_counter()
    yield
    seconds[stage] = perf_counter() - began


def _told(text: str, evidence: Evidence, *, guessed: bool) -> Evidence:
    """With a note where the model was never taught what the text names."""
    if evidence.familiar is None or evidence.familiar.taught:
        return evidence
    nearest = ", ".join(evidence.familiar.nearest)
    way_out = "what is drawn is a guess" if guessed else "--always draws its guess"
    note = f'the model was never taught "{text[:60]}"; the nearest that it knows: {nearest}; {way_out}'
    return replace(evidence, notes=(*evidence.notes, note))


def _why_empty(masks: SamMasks) -> NothingFound:
    """SAM drew nothing; or it drew something that the map does not bear out."""
    return "no_region" if (masks.probability > MASK_THRESHOLD).any() else "sam_empty"


def _nothing(text: str, evidence: Evidence, seconds: dict[str, float], reason: NothingFound) -> Segmentation:
    empty = np.zeros_like(evidence.saliency)
    return Segmentation(
        prompt=text,
        mask=empty.astype(bool),
        probability=empty,
        saliency=evidence.saliency,
        found=False,
        presence=evidence.presence,
        reason=reason,
        notes=evidence.notes,
        seconds=seconds,
    )
