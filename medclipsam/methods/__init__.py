"""The methods of this package behind one contract: `load` turns a preset, settings or a run folder into a `Segmenter`.

A method is one line of `METHODS`: its settings in `medclipsam.config`, a function that loads it, and, where it is
trained, the file by which a folder is known as one of its runs. Nothing of a method is imported before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from medclipsam.config import EngineKind, Loading, MethodConfig, Precision, Refined, Supervised, ZeroShot, preset
from medclipsam.methods.contract import Segmenter


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way from an image and a text to a mask."""

    config: type[MethodConfig]
    """Its settings."""
    loader: str
    """`module:function`, called with the settings and a `Loading`."""
    takes_hints: bool
    """Whether it can use boxes and points."""
    run_file: str | None = None
    """The file that a finished run of its training holds; None where a preset says what to load."""
    of_run: Callable[[Path], MethodConfig] | None = None
    """The settings of a run folder."""

    def load(self, config: MethodConfig, how: Loading) -> Segmenter:
        """Load models; see `load`."""
        module, function = self.loader.split(":")
        loaded: Segmenter = getattr(import_module(module), function)(config, how)
        return loaded


METHODS: dict[str, Method] = {
    ZeroShot.method: Method(config=ZeroShot, loader="medclipsam.methods.choosing:load_zeroshot", takes_hints=True),
    Refined.method: Method(
        config=Refined,
        loader="medclipsam.methods.refined:load_refined",
        takes_hints=False,
        run_file="ensemble.json",
        of_run=lambda run: Refined(run=run),
    ),
    Supervised.method: Method(
        config=Supervised,
        loader="medclipsam.methods.supervised:load_supervised",
        takes_hints=False,
        run_file="network.json",
        of_run=lambda run: Supervised(run=run),
    ),
}


def load(
    choice: str | MethodConfig = "embedded",
    *,
    device: str = "auto",
    precision: Precision = "auto",
    seed: int = 0,
    weights: Path | str | None = None,
    sam: Any = None,
    sam_weights: Path | str | None = None,
    encoder_engine: EngineKind = "torch",
    cache: Path | str | None = None,
) -> Segmenter:
    """Load every model of a method, verified, ready to segment.

    Args:
        choice: a preset's name, or settings of one's own.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: of Segment Anything's image encoder; all else is computed in single precision. `auto`: half on CUDA,
            single elsewhere. `bf16` halves the encoder's time on processors made for it, and masks differ a little.
        seed: of noise and of drawn points.
        weights: a fine-tuned CLIP in place of the preset's: a checkpoint, or a folder that `medclipsam finetune` wrote;
            or the run folder of a trained method, which then takes the place of the preset.
        sam: the preset's Segment Anything model where it is loaded already; images it has seen are not encoded again.
        sam_weights: a person's own checkpoint of that model; its hash is told, not compared.
        encoder_engine: what computes the embedded preset on a CPU: `torch`, `openvino` (extra `fast`), `onnx` (extra
            `onnx`), or `auto`, the first of these that is installed and gives torch's answers on this machine.
        cache: a folder where encodings of images (and, without torch, of texts) are kept for other processes.

    Raises:
        BadInput: no such preset, device or precision, or settings that contradict each other.
        MissingExtra: an engine that is not installed.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    config = preset(choice) if isinstance(choice, str) else choice
    path = Path(weights) if weights else None
    if path is not None and (run := run_settings(path)):
        config, path = run, None
    how = Loading(
        device=device,
        precision=precision,
        seed=seed,
        weights=path,
        sam=sam,
        sam_weights=Path(sam_weights) if sam_weights else None,
        engine=encoder_engine,
        cache=Path(cache) if cache else None,
    )
    return METHODS[config.method].load(config, how)


def run_settings(folder: Path) -> MethodConfig | None:
    """The settings of the run that a folder holds; None where it holds no finished run of a trained method."""
    for method in METHODS.values():
        if method.run_file and method.of_run and (folder / method.run_file).is_file():
            return method.of_run(folder)
    return None
