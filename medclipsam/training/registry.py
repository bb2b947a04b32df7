"""The methods that `medclipsam train` knows: one table; a method more is one entry here and its own module.

    name -> TrainableMethod: what DATA is, the dataclasses of its settings, the function that trains

Modules are named by strings and loaded when they are asked for, so that help and `--show-config` load no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclipsam.errors import BadInput
from medclipsam.training.settings import Parts, to_toml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from medclipsam.types import Progress


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a method is asked to train."""

    data: Path
    """What the method learns from; see `TrainableMethod.data`."""
    out: Path
    """Folder of the run: new, or one to go on in."""
    parts: Parts
    """The settings, as `TrainableMethod.defaults` has them, with the user's changes."""
    config: str
    """The same as TOML, for the run's folder."""
    device: str = "auto"
    """Name of the device, such as cpu or cuda:1."""
    resume: bool = False
    """Whether to go on from the last checkpoint in the folder."""
    tell: Progress = lambda stage, done, total: None
    """Hears how far it is."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of it."""

    outcome: DataclassInstance
    """Figures, for programs."""
    told: tuple[str, ...]
    """Lines for a person."""


@dataclass(frozen=True, kw_only=True)
class TrainableMethod:
    """How a method is trained."""

    help: str
    """What it trains, in a phrase."""
    data: str
    """What DATA is."""
    settings: Mapping[str, str]
    """Part -> `module:NAME` of the dataclass instance that holds its defaults."""
    function: str
    """`module:NAME` of the function: `Request` -> `Trained`."""

    def defaults(self) -> dict[str, DataclassInstance]:
        """The settings as they are where nothing was said."""
        return {part: _named(place) for part, place in self.settings.items()}

    def train(self, request: Request) -> Trained:
        """Train; errors are those of the method."""
        trained = _named(self.function)(request)
        if not isinstance(trained, Trained):
            raise TypeError(f"{self.function} gave {type(trained).__name__}")
        return trained


_CLIP = "medclipsam.training.tasks.finetune_clip:train_clip"
_CAPTIONS = "a CSV or JSONL table of images and captions, a .tar shard, or a folder of shards"
_REFINE = "medclipsam.refine.run:train_refined"
_SUPERVISED = "medclipsam.training.supervised.make:train_supervised"
_MASKS = (
    "a CSV of image, mask, target or text, and where known split, group, present, dataset; a folder with such an "
    "index.csv; or a folder with images/, masks/ and texts.csv"
)
_LABELS = "what `medclipsam pseudolabel` wrote"


def _medclipseg(network: str, recipe: str, towers: str) -> TrainableMethod:
    return TrainableMethod(
        help=f"Train MedCLIPSeg on images, masks and texts, on the frozen towers of {towers}.",
        data=_MASKS,
        settings={
            "recipe": f"medclipsam.training.supervised.recipe:{recipe}",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": f"medclipsam.networks.medclipseg.settings:{network}",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    )


METHODS: Mapping[str, TrainableMethod] = {
    "embedded": TrainableMethod(
        help="Train the embedded model, which comes with this package, from scratch or further.",
        data="a folder with index.csv: image, mask, target, and where known split, group, present, dataset, modality",
        settings={
            "recipe": "medclipsam.training.recipes:EMBEDDED",
            "data": "medclipsam.training.recipes:EMBEDDED_DATA",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function="medclipsam.training.embedded.make:train_embedded",
    ),
    "embedded-open": TrainableMethod(
        help="The same from scratch, narrower, on sources alone whose stated licence allows commercial use.",
        data="the same; folders that open_sources.toml does not name are not read",
        settings={
            "recipe": "medclipsam.training.recipes:EMBEDDED_OPEN",
            "data": "medclipsam.training.embedded.open_sources:EMBEDDED_OPEN_DATA",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function="medclipsam.training.embedded.make:train_embedded",
    ),
    "clip": TrainableMethod(
        help="Fine-tune BiomedCLIP or another open_clip model on captions, as the paper does.",
        data=_CAPTIONS,
        settings={
            "recipe": "medclipsam.training.recipes:CLIP_PAPER",
            "data": "medclipsam.training.recipes:CAPTION_TABLE",
            "model": "medclipsam.training.recipes:START_PAPER",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_CLIP,
    ),
    "clip-released": TrainableMethod(
        help="The same with the settings of the authors' released script.",
        data=_CAPTIONS,
        settings={
            "recipe": "medclipsam.training.recipes:CLIP_RELEASED",
            "data": "medclipsam.training.recipes:CAPTION_TABLE",
            "model": "medclipsam.training.recipes:START_PAPER",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_CLIP,
    ),
    "clip-embedded": TrainableMethod(
        help="Fine-tune the embedded model on captions.",
        data=_CAPTIONS,
        settings={
            "recipe": "medclipsam.training.recipes:CLIP_EMBEDDED",
            "data": "medclipsam.training.recipes:CAPTION_TABLE",
            "model": "medclipsam.training.recipes:START_EMBEDDED",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_CLIP,
    ),
    "refine-unet": TrainableMethod(
        help="Train an ensemble of small U-Nets on pseudo-labels.",
        data=_LABELS,
        settings={
            "recipe": "medclipsam.refine.recipe:UNET",
            "data": "medclipsam.refine.recipe:LABELLED_SCANS",
            "run": "medclipsam.refine.recipe:RUN_OPTIONS",
        },
        function=_REFINE,
    ),
    "refine-nnunet": TrainableMethod(
        help="Train nnU-Net on pseudo-labels, as the paper does; needs the extra nnunet.",
        data=_LABELS,
        settings={
            "recipe": "medclipsam.refine.recipe:NNUNET",
            "data": "medclipsam.refine.recipe:LABELLED_SCANS",
            "run": "medclipsam.refine.recipe:RUN_OPTIONS",
        },
        function=_REFINE,
    ),
    "refine-embedded": TrainableMethod(
        help="Train the embedded model further on pseudo-labels of its own, without a GPU.",
        data=_LABELS,
        settings={
            "recipe": "medclipsam.refine.recipe:EMBEDDED",
            "data": "medclipsam.refine.recipe:LABELLED_SCANS",
            "teacher": "medclipsam.refine.recipe:TEACHER",
            "run": "medclipsam.refine.recipe:RUN_OPTIONS",
        },
        function="medclipsam.refine.embedded.run:train_embedded_further",
    ),
    "medclipseg": _medclipseg("BIOMEDCLIP", "MEDCLIPSEG", "BiomedCLIP"),
    "medclipseg-unimedclip": _medclipseg("UNIMEDCLIP", "MEDCLIPSEG", "UniMedCLIP, from --set folder"),
    "medclipseg-clip": _medclipseg("CLIP", "MEDCLIPSEG", "OpenAI's CLIP ViT-B/16, from --set folder"),
    "medclipseg-embedded": _medclipseg("EMBEDDED", "MEDCLIPSEG_EMBEDDED", "the towers of this package, on a CPU"),
    "medclipseg-released": TrainableMethod(
        help="Make a run of a checkpoint that the authors of MedCLIPSeg released; nothing is trained.",
        data="the checkpoint, a .pth file",
        settings={
            "network": "medclipsam.networks.medclipseg.settings:RELEASED",
        },
        function="medclipsam.training.supervised.released:convert_released",
    ),
    "unet": TrainableMethod(
        help="Train a U-Net on images and masks; it reads no text, and learns one structure.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:UNET",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.settings:UNET",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
    "biclip": TrainableMethod(
        help="Train BiCLIP: a sentence becomes a picture of the lesion, and a U-Net reads both.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:BICLIP",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.biclip_settings:BICLIP",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
    "biclip-small": TrainableMethod(
        help="The same with a sixteenth of the weights, for a CPU.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:BICLIP_SMALL",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.biclip_settings:BICLIP_SMALL",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
    "ef-unet": TrainableMethod(
        help="Train EF-UNet, which is BiCLIP without text refiner, cycle and consistency.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:EF_UNET",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.biclip_settings:EF_UNET",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
    "ef-unet-small": TrainableMethod(
        help="The same with a sixteenth of the weights, for a CPU.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:BICLIP_SMALL",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.biclip_settings:EF_UNET_SMALL",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
    "emclip": TrainableMethod(
        help="Train a network in the spirit of EM-CLIP on the embedded towers, for several structures at once.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:EMCLIP",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.emclip_settings:EMCLIP",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
    "emclip-light": TrainableMethod(
        help="The same on BiomedCLIP, whose weights are fetched first.",
        data=_MASKS,
        settings={
            "recipe": "medclipsam.training.supervised.recipe:EMCLIP",
            "data": "medclipsam.training.supervised.recipe:DATA",
            "network": "medclipsam.networks.emclip_settings:EMCLIP_LIGHT",
            "run": "medclipsam.training.recipes:RUN_OPTIONS",
        },
        function=_SUPERVISED,
    ),
}


def find_method(name: str) -> TrainableMethod:
    """A method by its name.

    Raises:
        BadInput: there is none; the nearest name is told.
    """
    if name in METHODS:
        return METHODS[name]
    nearest = get_close_matches(name, METHODS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"choose one of {', '.join(METHODS)}"
    raise BadInput(f"unknown method {name[:60]!r}", hint)


def config_of(name: str, parts: Parts) -> str:
    """The commented TOML of a method's settings."""
    return to_toml(parts, f"Settings of `medclipsam train {name}`; give the file with --config.")


def _named(place: str) -> Any:
    """What `module:NAME` names."""
    module, name = place.split(":")
    return getattr(import_module(module), name)
