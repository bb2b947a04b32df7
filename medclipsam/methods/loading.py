"""Loads the models that a zero-shot preset names, checks that they fit together, and composes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclipsam.backbones.compact_clip import CompactClip, load_tower
from medclipsam.backbones.compact_pair import CompactPair
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.backbones.taught import vocabulary_of
from medclipsam.backbones.tower import ImageTextModel
from medclipsam.config import EMBEDDED_CLIPS, ExplainerKind, Loading, ZeroShot
from medclipsam.errors import BadInput, MissingWeights
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import EvidenceSource
from medclipsam.prompting.gradcam import GradCam
from medclipsam.prompting.saliency import Explainer, InformationBottleneck
from medclipsam.prompting.sources import DenseEvidence, TokenEvidence
from medclipsam.prompting.views import in_views
from medclipsam.runtime import pick_device, pick_dtype
from medclipsam.weights import check_present, digest, find, lookup
from medclipsam.weights.compact import compact_weights, teacher_beside

LITE_MEDSAM = "lite-medsam"


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """How one kind of CLIP is loaded, and what it needs."""

    load: Callable[[ZeroShot, PromptableSegmenter, Path | None], ImageTextModel]
    explainers: tuple[ExplainerKind, ...]
    also: tuple[str, ...] = ()
    """Other weights that have a say."""
    beside: Callable[[Path], bool] = lambda _: False
    """Whether a person's own weights need the files that lie beside the known ones."""


def load_zeroshot(config: ZeroShot, how: Loading) -> ZeroShotSegmenter:
    """Load every model of a preset, verified.

    Raises:
        BadInput: a device or precision that is not there, or settings that contradict each other.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    clip = _checked(config)
    _check_present(config, how, clip)
    sam = how.sam or _load_sam(config, how)
    if sam.name != config.sam:
        raise BadInput(f"the preset asks for {config.sam}, not {sam.name}", "give no model, or the right one")
    model = clip.load(config, sam, how.weights)
    known = {key: find(key).sha256 for key in clip.also}
    hashes = known | {config.clip: model.identity, config.sam: sam.sha256}
    hashes |= {f"{key} of {config.clip}": sha256 for key, sha256 in known.items() if hashes[key] != sha256}
    if isinstance(model, CompactPair):
        hashes |= {f"teacher of {config.clip}": model.teacher_identity}
    return ZeroShotSegmenter(config, _evidence(config, model, sam), sam, weights=hashes, seed=how.seed)


def _check_present(config: ZeroShot, how: Loading, clip: _Clip) -> None:
    """Name everything that is missing at once, not one after the other."""
    for own in (how.weights, how.sam_weights):
        if own is not None and not own.exists():
            raise MissingWeights(f"there are no weights {own}", "check the path")
    keys = [*clip.also, *([] if how.weights else [config.clip])]
    if how.sam is None and how.sam_weights is None:
        keys.append(config.sam)
    beside = [config.clip] if how.weights and clip.beside(how.weights) else []
    check_present(dict.fromkeys(keys), beside)


def _load_sam(config: ZeroShot, how: Loading) -> PromptableSegmenter:
    device = pick_device(how.device)
    return load_sam(
        config.sam, own=how.sam_weights, device=device, dtype=pick_dtype(device, how.precision), cache=how.cache
    )


def _checked(config: ZeroShot) -> _Clip:
    """What loads the CLIP of these settings, if its parts fit together."""
    clip = _CLIPS.get(config.clip, _OPEN_CLIP)
    if config.explainer not in clip.explainers:
        raise BadInput(
            f"the explainer {config.explainer} does not work with the CLIP {config.clip}",
            f"use {' or '.join(clip.explainers)}",
        )
    if config.views != 1 and config.explainer != "dense":
        raise BadInput(f"maps of {config.explainer} are relative: those of several views have no mean", "use one view")
    return clip


def _load_open_clip(config: ZeroShot, sam: PromptableSegmenter, weights: Path | None) -> ImageTextModel:
    from medclipsam.backbones.clip import load_clip, open_clip_files  # noqa: PLC0415  (open_clip is slow to load, and not always needed)

    folder, checkpoint = open_clip_files(config.clip, weights)
    return load_clip(folder, checkpoint=checkpoint, device=sam.device)


def _load_compact(config: ZeroShot, sam: PromptableSegmenter, weights: Path | None) -> CompactClip:
    file, identity = compact_weights(weights, config.clip)
    sentences = SentenceEncoder(find("minilm").folder, sam.device)
    vocabulary = vocabulary_of(weights, config.clip)
    encoder, tower, teacher = _lite_medsam(sam), load_tower(file), teacher_beside(weights)
    if teacher is None:
        return CompactClip(encoder, tower, sentences, identity=identity, vocabulary=vocabulary)
    return CompactPair(
        encoder,
        tower,
        sentences,
        teacher=load_tower(teacher),
        identity=identity,
        teacher_identity=digest(teacher),
        vocabulary=vocabulary,
    )


def _lite_medsam(sam: PromptableSegmenter) -> PromptableSegmenter:
    """LiteMedSAM as published, whose features the embedded CLIP learned; another model may draw the masks."""
    if (sam.name, sam.sha256) == (LITE_MEDSAM, lookup(LITE_MEDSAM).sha256):
        return sam
    return load_sam(LITE_MEDSAM, device=sam.device, dtype=sam.dtype)


def _needs_files_beside(weights: Path) -> bool:
    """Whether the configuration of the CLIP is not with the weights."""
    folder = weights if weights.is_dir() else weights.parent
    return not (folder / "open_clip_config.json").is_file()


_OPEN_CLIP = _Clip(load=_load_open_clip, explainers=("m2ib", "gradcam"), beside=_needs_files_beside)
_COMPACT = _Clip(load=_load_compact, explainers=("dense", "m2ib", "gradcam"), also=("minilm", "words", LITE_MEDSAM))
_CLIPS = dict.fromkeys(EMBEDDED_CLIPS, _COMPACT)
"""The kinds of CLIP that are not open_clip's."""


def _evidence(config: ZeroShot, model: ImageTextModel, sam: PromptableSegmenter) -> EvidenceSource:
    if isinstance(model, CompactClip) and config.explainer == "dense":
        return in_views(DenseEvidence(model), config.views, sam.set_images, model.side)
    explainer: Explainer = InformationBottleneck(settings=config.m2ib) if config.explainer == "m2ib" else GradCam()
    return TokenEvidence(model, explainer, config.fit, config.stretch)
