"""Which models does a preset need, and where are they? From a preset's name to a `Segmenter` that can start."""

from __future__ import annotations

from pathlib import Path

from medclipsam.backbones.compact_clip import CompactClip, load_tower
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import PromptableSegmenter, load_sam
from medclipsam.backbones.tower import ImageTextModel
from medclipsam.config import Precision, ZeroShot, preset
from medclipsam.errors import BadInput, MissingWeights
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.prompting.evidence import DenseEvidence, EvidenceSource, TokenEvidence
from medclipsam.prompting.gradcam import GradCam
from medclipsam.prompting.saliency import Explainer, InformationBottleneck
from medclipsam.runtime import pick_device, pick_dtype
from medclipsam.weights import digest, find, lookup


def load(
    name: str | ZeroShot = "embedded",
    *,
    device: str = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    weights: Path | str | None = None,
    sam: PromptableSegmenter | None = None,
) -> ZeroShotSegmenter:
    """Load every model of a preset, verified, ready to segment.

    Args:
        name: a preset's name, or a configuration of one's own.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: of Segment Anything's image encoder; all else is computed in single precision. `auto`: half on CUDA,
            single elsewhere. `bf16` halves the encoder's time on processors made for it, and masks differ a little.
        seed: of noise and of drawn points.
        weights: a fine-tuned CLIP in place of the preset's: a folder that `medclipsam finetune` wrote, or a checkpoint.
        sam: the preset's Segment Anything model where it is loaded already; images it has seen are not encoded again.

    Raises:
        BadInput: no such preset, device or precision, or settings that contradict each other.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    config = checked(preset(name) if isinstance(name, str) else name)
    if sam is None:
        chosen = pick_device(device)
        sam = load_sam(config.sam, device=chosen, dtype=pick_dtype(chosen, precision))
    elif sam.name != config.sam:
        raise BadInput(f"the preset asks for {config.sam}, not {sam.name}", "give no model, or the right one")
    model = _load_image_text_model(config, sam, Path(weights) if weights else None)
    return ZeroShotSegmenter(config, _evidence(config, model), sam, weights=_hashes(config, model, sam), seed=seed)


def checked(config: ZeroShot) -> ZeroShot:
    """The same, if its parts fit together.

    Raises:
        BadInput: the embedded CLIP without the encoder that it shares, or the dense explainer without that CLIP.
    """
    if config.clip == "compact" and config.sam != "lite-medsam":
        raise BadInput(f"the embedded CLIP shares LiteMedSAM's encoder, not that of {config.sam}", "use lite-medsam")
    if config.explainer == "dense" and config.clip != "compact":
        raise BadInput(f"the dense explainer needs the embedded CLIP, not {config.clip}", "use m2ib or gradcam")
    return config


def _load_image_text_model(config: ZeroShot, sam: PromptableSegmenter, weights: Path | None) -> ImageTextModel:
    if config.clip == "compact":
        return _load_compact(sam, weights)
    from medclipsam.backbones.clip import load_clip  # noqa: PLC0415  (open_clip is slow to load, and not always needed)

    if weights is None:
        found = find(config.clip)
        return load_clip(found.folder, identity=found.sha256, device=sam.device)
    if weights.is_dir():
        return load_clip(weights, device=sam.device)
    return load_clip(find(config.clip).folder, checkpoint=weights, device=sam.device)


def _load_compact(sam: PromptableSegmenter, weights: Path | None) -> CompactClip:
    file, identity = compact_weights(weights)
    sentences = SentenceEncoder(find("minilm").folder, sam.device)
    return CompactClip(sam, load_tower(file), sentences, identity=identity)


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


def _hashes(config: ZeroShot, model: ImageTextModel, sam: PromptableSegmenter) -> dict[str, str]:
    """SHA-256 of every file of weights that has a say."""
    hashes = {config.clip: model.identity, config.sam: sam.sha256}
    return hashes | {"minilm": find("minilm").sha256} if config.clip == "compact" else hashes


def _evidence(config: ZeroShot, model: ImageTextModel) -> EvidenceSource:
    if isinstance(model, CompactClip) and config.explainer == "dense":
        return DenseEvidence(model)
    explainer: Explainer = InformationBottleneck(settings=config.m2ib) if config.explainer == "m2ib" else GradCam()
    return TokenEvidence(model, explainer, config.fit, config.stretch)
