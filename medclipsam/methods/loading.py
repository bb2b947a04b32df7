"""Loads the models that a zero-shot preset names, checks that they fit together, and composes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclipsam.backbones.compact_clip import CompactClip, load_tower
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import PromptableSegmenter, load_sam
from medclipsam.backbones.tower import ImageTextModel
from medclipsam.config import ExplainerKind, Loading, ZeroShot
from medclipsam.errors import BadInput, MissingWeights
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import DenseEvidence, EvidenceSource, TokenEvidence
from medclipsam.prompting.gradcam import GradCam
from medclipsam.prompting.saliency import Explainer, InformationBottleneck
from medclipsam.runtime import pick_device, pick_dtype
from medclipsam.weights import digest, find, lookup


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """How one kind of CLIP is loaded, and what it needs."""

    load: Callable[[ZeroShot, PromptableSegmenter, Path | None], ImageTextModel]
    explainers: tuple[ExplainerKind, ...]
    encoder_of: str | None = None
    """The Segment Anything model whose image encoder it shares."""
    also: tuple[str, ...] = ()
    """Other weights that have a say."""


def load_zeroshot(config: ZeroShot, how: Loading) -> ZeroShotSegmenter:
    """Load every model of a preset, verified.

    Raises:
        BadInput: a device or precision that is not there, or settings that contradict each other.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    clip = _checked(config)
    sam = how.sam or _load_sam(config, how)
    if sam.name != config.sam:
        raise BadInput(f"the preset asks for {config.sam}, not {sam.name}", "give no model, or the right one")
    model = clip.load(config, sam, how.weights)
    hashes = {config.clip: model.identity, config.sam: sam.sha256} | {key: find(key).sha256 for key in clip.also}
    return ZeroShotSegmenter(config, _evidence(config, model), sam, weights=hashes, seed=how.seed)


def _load_sam(config: ZeroShot, how: Loading) -> PromptableSegmenter:
    device = pick_device(how.device)
    return load_sam(config.sam, device=device, dtype=pick_dtype(device, how.precision))


def _checked(config: ZeroShot) -> _Clip:
    """What loads the CLIP of these settings, if its parts fit together."""
    clip = _CLIPS.get(config.clip, _OPEN_CLIP)
    if clip.encoder_of not in (None, config.sam):
        raise BadInput(
            f"the CLIP {config.clip} shares the encoder of {clip.encoder_of}, not that of {config.sam}",
            f"use {clip.encoder_of}",
        )
    if config.explainer not in clip.explainers:
        raise BadInput(
            f"the explainer {config.explainer} does not work with the CLIP {config.clip}",
            f"use {' or '.join(clip.explainers)}",
        )
    return clip


def _load_open_clip(config: ZeroShot, sam: PromptableSegmenter, weights: Path | None) -> ImageTextModel:
    from medclipsam.backbones.clip import load_clip  # noqa: PLC0415  (open_clip is slow to load, and not always needed)

    if weights is None:
        found = find(config.clip)
        return load_clip(found.folder, identity=found.sha256, device=sam.device)
    if weights.is_dir():
        return load_clip(weights, device=sam.device)
    return load_clip(find(config.clip).folder, checkpoint=weights, device=sam.device)


def _load_compact(config: ZeroShot, sam: PromptableSegmenter, weights: Path | None) -> CompactClip:
    file, identity = compact_weights(weights)
    sentences = SentenceEncoder(find("minilm").folder, sam.device)
    return CompactClip(sam, load_tower(file), sentences, identity=identity)


_OPEN_CLIP = _Clip(load=_load_open_clip, explainers=("m2ib", "gradcam"))
_CLIPS = {
    "compact": _Clip(
        load=_load_compact, explainers=("dense", "m2ib", "gradcam"), encoder_of="lite-medsam", also=("minilm",)
    )
}
"""The kinds of CLIP that are not open_clip's."""


def compact_weights(weights: Path | None = None) -> tuple[Path, str]:
    """The file of the embedded CLIP and its SHA-256: the one that comes with the package, or one's own.

    Args:
        weights: the folder of a `finetune` run, or a file of its kind; its hash is told, not compared.

    Raises:
        MissingWeights: it is not there.
        WrongHash: the package's file is not the one that was released.
    """
    if weights is None:
        found = find("compact")
        return found.file, found.sha256
    file = weights / lookup("compact").file if weights.is_dir() else weights
    if weights.is_dir() and not file.is_file():
        raise MissingWeights(f"{weights} holds no {file.name}", "give a run of `medclipsam finetune --preset embedded`")
    return file, digest(file)


def _evidence(config: ZeroShot, model: ImageTextModel) -> EvidenceSource:
    if isinstance(model, CompactClip) and config.explainer == "dense":
        return DenseEvidence(model)
    explainer: Explainer = InformationBottleneck(settings=config.m2ib) if config.explainer == "m2ib" else GradCam()
    return TokenEvidence(model, explainer, config.fit, config.stretch)
