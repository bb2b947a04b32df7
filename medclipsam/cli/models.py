"""The models that a command asks for: the options that choose them, and what loads them.

def segment(scan: ..., *, load: ChosenModels, ...)      `load()` gives the segmenter
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import medclipsam
from medclipsam.cli import options, settle
from medclipsam.cli.gathered import Gathered
from medclipsam.config import PRESETS, EngineKind, Loading, MethodConfig, Precision, ZeroShot, preset
from medclipsam.errors import BadInput

if TYPE_CHECKING:
    from medclipsam.methods.contract import Segmenter

SAM_KEYS: Mapping[options.SamName, str] = MappingProxyType(
    {
        "vit_b": "sam-vit-b",
        "vit_l": "sam-vit-l",
        "vit_h": "sam-vit-h",
        "medsam": "medsam-vit-b",
        "lite-medsam": "lite-medsam",
    }
)
"""The key of each in the table of weights."""


@dataclass(frozen=True)
class Models:
    """What `medclipsam.load` is asked for, in whichever process does the work."""

    preset: str | MethodConfig
    device: str = "auto"
    precision: Precision = "auto"
    seed: int = 0
    weights: Path | None = None
    offline: bool = False
    sam: options.SamName | None = None
    sam_weights: Path | None = None
    engine: EngineKind = "torch"
    cache: Path | None = None
    views: int = 1

    def __call__(self) -> Segmenter:
        """Load them.

        Raises:
            BadInput, MissingWeights, WrongHash: see `medclipsam.load`.
        """
        if self.offline:
            os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
        segmenter = medclipsam.load(
            self._choice(),
            device=self.device,
            precision=self.precision,
            seed=self.seed,
            weights=self.weights,
            sam_weights=self.sam_weights,
            encoder_engine=self.engine,
            cache=self.cache,
        )
        settle()
        return segmenter

    @property
    def anywhere(self) -> Models:
        """The same, for processes that work in other folders."""
        return replace(
            self,
            weights=self.weights and self.weights.absolute(),
            sam_weights=self.sam_weights and self.sam_weights.absolute(),
            cache=self.cache and self.cache.absolute(),
        )

    def check(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that the method cannot answer, before anything is read or loaded.

        Raises:
            BadInput: a side of the patient, said in a way that the preset cannot tell.
        """
        from medclipsam.sides import one_side

        config = self._settings()
        if isinstance(config, ZeroShot) and not config.tells_sides:
            for text in prompts:
                one_side(text)

    def begin(self) -> None:
        """Begin with what takes longest of loading an engine, in a thread of its own, while others read the scan."""
        from medclipsam.methods.choosing import begin

        config = self._settings()
        if isinstance(config, ZeroShot) and not (self.weights or self.sam or self.sam_weights):
            begin(config, Loading(device=self.device, precision=self.precision, engine=self.engine, cache=self.cache))

    def _settings(self) -> MethodConfig | None:
        """None for a preset that there is not, of which `load` says so."""
        from medclipsam.methods import run_settings

        run = run_settings(self.weights) if self.weights else None
        return run or (PRESETS.get(self.preset) if isinstance(self.preset, str) else self.preset)

    def _choice(self) -> str | MethodConfig:
        """The preset, with another Segment Anything model or more views where they are asked for."""
        if self.sam is None and self.views == 1:
            return self.preset
        config = self._settings() or preset(str(self.preset))
        if not isinstance(config, ZeroShot):
            asked, lacks = ("--sam", "Segment Anything model") if self.sam else ("--views", "evidence to average")
            raise BadInput(f"{asked}: {config.name} has no {lacks}", f"leave {asked} out")
        return replace(config, views=self.views, sam=SAM_KEYS[self.sam] if self.sam else config.sam)


def models_of(
    *,
    preset: options.Preset = "embedded",
    device: options.Device = "auto",
    precision: options.EncoderPrecision = "auto",
    encoder_engine: options.EncoderEngine = "auto",
    cache: options.Cache = None,
    seed: options.Seed = 0,
    weights: options.FineTuned = None,
    sam: options.SamKind = None,
    sam_weights: options.OwnSam = None,
    offline: options.Offline = False,
    views: options.Views = 1,
) -> Models:
    """The models that these options name."""
    return Models(preset, device, precision, seed, weights, offline, sam, sam_weights, encoder_engine, cache, views)


ChosenModels = Annotated[Models, Gathered(models_of)]
