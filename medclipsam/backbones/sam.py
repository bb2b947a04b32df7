"""Segment Anything: the pixels of the object in a box, or under points, by one slow step and many fast ones.

    set_image (slow, once for an image) -> ImageEmbedding -> predict (fast, once for a set of prompts) -> SamMasks

One class for Segment Anything ViT-B, ViT-L and ViT-H (Kirillov et al., ICCV 2023), MedSAM (Ma et al., Nature
Communications 2024) and LiteMedSAM (bowang-lab, 2024). MedSAM and LiteMedSAM were trained with boxes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.geometry import LITE_MEDSAM, MEDSAM, SEGMENT_ANYTHING, Framing, Placement
from medclipsam.backbones.sam_masks import SamMasks
from medclipsam.backbones.sam_networks import (
    ENCODER,
    VIT_B,
    VIT_H,
    VIT_L,
    SamNetwork,
    VitShape,
    load_lite_medsam,
    load_plain_vit,
)
from medclipsam.errors import BadInput
from medclipsam.memory.latest import Latest
from medclipsam.memory.shelf import Shelf
from medclipsam.runtime import one_thread, precision_of, side_by_side
from medclipsam.types import Box, FloatArray, MedImage, Points
from medclipsam.weights import digest, find
from medclipsam.weights.loading import load_state, without_prefixes

CACHED_IMAGES = 16
IMAGES_AT_ONCE = 8
SIDE_BY_SIDE = 4
"""Images in work at the same time on a CPU; with more of them memory grows, and other parts have the last word."""
SMALL_SIDE = 512
"""Edge of a square, in pixels, of which several are worked on at the same time."""
PROMPTS_AT_ONCE = 32

VITS: Mapping[str, VitShape] = MappingProxyType(
    {"sam-vit-b": VIT_B, "sam-vit-l": VIT_L, "sam-vit-h": VIT_H, "medsam-vit-b": VIT_B}
)
MODELS: Mapping[str, tuple[Callable[[Mapping[str, Tensor]], SamNetwork], Framing]] = MappingProxyType(
    {
        "sam-vit-b": (partial(load_plain_vit, VIT_B), SEGMENT_ANYTHING),
        "sam-vit-l": (partial(load_plain_vit, VIT_L), SEGMENT_ANYTHING),
        "sam-vit-h": (partial(load_plain_vit, VIT_H), SEGMENT_ANYTHING),
        "medsam-vit-b": (partial(load_plain_vit, VIT_B), MEDSAM),
        "lite-medsam": (load_lite_medsam, LITE_MEDSAM),
    }
)
"""How each key of the weights table becomes a network, and how images enter it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageEmbedding:
    """What the image encoder saw; valid for the segmenter that made it."""

    features: Tensor
    """(1, 256, grid, grid), single precision, on the model's device."""
    placement: Placement
    digest: str
    """Identity of the image's content."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the native image."""
        return self.placement.size


class PromptableSegmenter:
    """Segment Anything in two steps, computed by torch; see `Promptable`.

    Args:
        network: the three parts with their weights.
        framing: how images enter its square.
        name: key of the weights table, for reports.
        sha256: hash of the weights, for reports.
        device: where it runs.
        dtype: precision of the image encoder; prompts and masks are always computed in single precision.
        cache: folder where encodings are kept for other processes.
    """

    engine = "torch"

    def __init__(
        self,
        network: SamNetwork,
        framing: Framing,
        *,
        name: str,
        sha256: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache: Path | None = None,
    ) -> None:
        self.name = name
        self.sha256 = sha256
        self.framing = framing
        self.device = torch.device(device)
        self.dtype = dtype
        self.network = network.eval().requires_grad_(False).to(self.device)
        self._position = network.prompt_encoder.get_dense_pe()
        self._embeddings: Latest[ImageEmbedding] = Latest()
        self._blank: Tensor | None = None
        self._shelf = Shelf(cache, of=self._decided_by()) if cache else None

    @property
    def precision(self) -> str:
        """Number format of the image encoder."""
        return precision_of(self.dtype)

    def frame(self, image: MedImage) -> Tensor:
        """(1, 3, side, side): the image as the encoder takes it, on the CPU."""
        return self.framing.fill(image.pixels)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, side, side) frames -> (B, 256, grid, grid), single precision, without gradients."""
        is_reduced = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=is_reduced):
            return self.network.image_encoder(frames.to(self.device)).float()

    def set_image(self, image: MedImage) -> ImageEmbedding:
        """Encode one image, or take it from the last images seen."""
        return self.set_images([image])[0]

    def set_images(self, images: Sequence[MedImage]) -> list[ImageEmbedding]:
        """Encode several images; equal images, and those seen lately, are encoded once.

        On the CPU each is encoded by itself, which keeps results bit-equal whatever the company, and several side by
        side. Threads may call this at the same time.
        """
        wanted = {image.digest: image for image in images}
        ready = self._embeddings.of(wanted)
        ready |= self._from_shelf([image for digest, image in wanted.items() if digest not in ready])
        new = [image for digest, image in wanted.items() if digest not in ready]
        encode = self._encode_each if self.device.type == "cpu" else self._encode_together
        for embedding in encode(new):
            ready[embedding.digest] = embedding
            if self._shelf:
                self._shelf.put(embedding.digest, {"features": embedding.features.cpu().numpy()})
        self._embeddings.keep({digest: ready[digest] for digest in wanted}, CACHED_IMAGES)
        return [ready[image.digest] for image in images]

    def features(self, image: MedImage) -> FloatArray:
        """(1, 256, grid, grid): what the image encoder makes of an image, to be kept for `recall`."""
        return self.set_image(image).features.cpu().numpy()

    def recall(self, image: MedImage, features: FloatArray) -> None:
        """Take the encoding of an image that `set_image` gave before, (1, 256, grid, grid)."""
        embedding = self._embedding(image, torch.from_numpy(features).to(self.device))
        self._embeddings.keep({image.digest: embedding}, CACHED_IMAGES)

    def images_at_once(self, most: int) -> int:
        """How many images, from 1 to `most`, `set_images` should be given so that they take less time than alone.

        On a CPU a small square's encoder leaves threads waiting for each other; a large one's takes much memory.
        """
        if self.device.type != "cpu":
            return most
        return min(most, torch.get_num_threads(), SIDE_BY_SIDE) if self.framing.side <= SMALL_SIDE else 1

    @torch.no_grad()
    def predict(
        self,
        embedding: ImageEmbedding,
        boxes: Sequence[Box] = (),
        points: Points | None = None,
        multimask: bool = False,
    ) -> SamMasks:
        """Segment what the prompts show.

        Args:
            embedding: from `set_image`.
            boxes: pixel edges in the native image; each gives one mask, and is cut to the image.
            points: pixel centres in the native image; with boxes they are repeated for each box, alone they give one
                mask together.
            multimask: let the model propose three masks for each prompt and take the one with the best predicted IoU.

        Raises:
            BadInput: neither box nor point, or one that lies outside the image.
        """
        prompts = _to_square(boxes, points, embedding.placement)
        with one_thread():
            parts = [self._decode(embedding, some, multimask) for some in prompts.split(PROMPTS_AT_ONCE)]
        return SamMasks(
            logits=torch.cat([logits for logits, _ in parts]).numpy(),
            scores=torch.cat([scores for _, scores in parts]).numpy(),
        )

    def _decided_by(self) -> dict[str, str]:
        """What decides the features of an image beside its pixels."""
        return {
            "model": self.sha256,
            "engine": f"torch {torch.__version__}",
            "device": self.device.type,
            "precision": self.precision,
        }

    def _from_shelf(self, images: Sequence[MedImage]) -> dict[str, ImageEmbedding]:
        """The encodings of those images that another process encoded."""
        kept = {image: self._shelf.get(image.digest) for image in images} if self._shelf else {}
        return {
            image.digest: self._embedding(image, torch.from_numpy(arrays["features"]).to(self.device))
            for image, arrays in kept.items()
            if arrays
        }

    def _encode_each(self, images: Sequence[MedImage]) -> list[ImageEmbedding]:
        """Every image in a pass of its own, as many at the same time as `images_at_once` says."""
        return side_by_side(self._encode_alone, images, self.images_at_once(len(images)))

    def _encode_together(self, images: Sequence[MedImage]) -> Iterator[ImageEmbedding]:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            some = images[start : start + IMAGES_AT_ONCE]
            features = self.encode(torch.cat([self.frame(image) for image in some]))
            for image, row in zip(some, features.split(1), strict=True):
                yield self._embedding(image, row)

    def _encode_alone(self, image: MedImage) -> ImageEmbedding:
        """All squares without contrast (slices of air) are one, and encoded once."""
        square = self.frame(image)
        if square.any():
            return self._embedding(image, self.encode(square))
        if self._blank is None:
            self._blank = self.encode(square)
        return self._embedding(image, self._blank)

    def _embedding(self, image: MedImage, features: Tensor) -> ImageEmbedding:
        return ImageEmbedding(features=features, placement=self.framing.place(image.size), digest=image.digest)

    def _decode(self, embedding: ImageEmbedding, prompts: _Prompts, multimask: bool) -> tuple[Tensor, Tensor]:
        """(n, height, width) logits and (n,) scores, on the CPU."""
        sparse, dense = self.network.prompt_encoder(**prompts.on(self.device))
        logits, scores = self.network.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self._position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        best = scores.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        native = embedding.placement.to_native(logits[rows, best][:, None])
        return native.cpu(), scores[rows, best].cpu()


def load_sam(
    key: str,
    *,
    path: Path | None = None,
    sha256: str | None = None,
    own: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    cache: Path | None = None,
) -> PromptableSegmenter:
    """Find, verify and load a Segment Anything model.

    Args:
        key: `sam-vit-b`, `sam-vit-l`, `sam-vit-h`, `medsam-vit-b` or `lite-medsam`.
        path: checkpoint to use instead of looking for it.
        sha256: its expected hash, where it is not the pinned one.
        own: a person's own checkpoint in the layout of `key`, in place of the known one; its hash is told, not
            compared.
        device: where it runs.
        dtype: precision of the image encoder.
        cache: folder where encodings are kept for other processes.

    Raises:
        BadInput: the key names no Segment Anything model, or the checkpoint is damaged or of another model.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    if key not in MODELS:
        raise BadInput(f"{key!r} is not a Segment Anything model", f"choose one of {', '.join(MODELS)}")
    file, identity = (own, digest(own)) if own else _known(key, path, sha256)
    build, framing = MODELS[key]
    state = without_prefixes(load_state(file))
    try:
        with one_thread():  # waking a second costs more than it does here
            network = build({name: tensor.float() for name, tensor in state.items()})
    except BadInput as error:
        remedy = f"name the model that it was made from{_looks_like(state)}"
        raise BadInput(f"{file.name} as {key}: {error.problem}", remedy) from error
    return PromptableSegmenter(network, framing, name=key, sha256=identity, device=device, dtype=dtype, cache=cache)


def _looks_like(state: Mapping[str, Tensor]) -> str:
    """What tensors say of the model that they are of; empty where they say nothing."""
    if f"{ENCODER}patch_embed.seq.0.c.weight" in state:
        return ": it looks like lite-medsam"
    patches = state.get(f"{ENCODER}patch_embed.proj.weight")
    keys = [key for key, shape in VITS.items() if patches is not None and shape.width == len(patches)]
    return f": it looks like {' or '.join(keys)}" if keys else ""


def _known(key: str, path: Path | None, sha256: str | None) -> tuple[Path, str]:
    found = find(key, path, sha256)
    return found.file, found.sha256


@dataclass(frozen=True, eq=False, kw_only=True)
class _Prompts:
    """Prompts in the square's pixels; at least one of the two."""

    corners: Tensor | None
    """(n, 4): x0, y0, x1, y1."""
    clicks: tuple[Tensor, Tensor] | None
    """(1, p, 2) x and y, (1, p) labels."""

    def split(self, count: int) -> list[_Prompts]:
        """Portions of at most `count` boxes, each with all points."""
        if self.corners is None:
            return [self]
        return [_Prompts(corners=corners, clicks=self.clicks) for corners in self.corners.split(count)]

    def on(self, device: torch.device) -> dict[str, Any]:
        """Arguments of the prompt encoder: the points repeated for each box."""
        points = None
        if self.clicks is not None:
            repeats = 1 if self.corners is None else len(self.corners)
            points = tuple(part.expand(repeats, *part.shape[1:]).to(device) for part in self.clicks)
        boxes = None if self.corners is None else self.corners.to(device)
        return {"points": points, "boxes": boxes, "masks": None}


def _to_square(boxes: Sequence[Box], points: Points | None, placement: Placement) -> _Prompts:
    if not boxes and not points:
        raise BadInput("there is nothing to segment with", "give at least one box or point")
    corners = clicks = None
    if boxes:
        native = np.array([box.clipped(placement.size).edges for box in boxes]).reshape(-1, 2, 2)
        corners = torch.from_numpy(placement.edges_to_square(native)).reshape(-1, 4)
    if points:
        _check_inside(points, placement.size)
        centres = torch.from_numpy(placement.centres_to_square(points.xy))
        clicks = centres[None], torch.from_numpy(points.labels)[None]
    return _Prompts(corners=corners, clicks=clicks)


def _check_inside(points: Points, size: tuple[int, int]) -> None:
    height, width = size
    x, y = points.xy.T
    outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
    if outside.any():
        worst = tuple(points.xy[outside][0].tolist())
        raise BadInput(f"point {worst} lies outside the image of {width} x {height} pixels")
