"""The whole training of the embedded model: encode, train the tower, learn its heads, set its thresholds, write it.

    DATA/index.csv -> encodings (once, resumable) -> training/tower -.-> training/presence -> training/level
                   `-> views (anew at each step) --> training/pixels -'        -> thresholds

RUN/compact.safetensors   written last: the weights; `--weights RUN` takes the folder
    config.toml, run.json settings; what a resumed run must share
    figures.json          Dice and shares on validation images
    targets.json          what was taught, by which words that never were are told from words that were
    training/             log and checkpoints of the runs of the loop; not needed afterwards
    features/             encoded images, unless they are kept elsewhere
    skipped.csv           what could not be read, and why
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.compact import CompactShape, CompactTower
from medclipsam.backbones.compact_clip import load_tower, to_bytes
from medclipsam.backbones.pixel_network import WIDTHS, PixelNetwork
from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.runtime import gains_from_bf16, pick_device
from medclipsam.training import distributed
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.data.skipped import SkippedLog
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.calibration import Judged, calibrate, group_dice, judge
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encoder, Encodings
from medclipsam.training.embedded.heads import choose_share, fit_level, fit_presence
from medclipsam.training.embedded.material import Prepared, prepare, read_images
from medclipsam.training.embedded.pixels import PixelTask, best_network
from medclipsam.training.embedded.task import TOWER, EmbeddedTask, Lessons, teach_words
from medclipsam.training.embedded.variants import with_copies
from medclipsam.training.embedded.vocabulary import promised, taught_by
from medclipsam.training.journal import Observer, follow
from medclipsam.training.loop import Outcome, Task, fit
from medclipsam.training.recipes import EmbeddedData, EmbeddedRecipe, RunOptions, TrainingRecipe
from medclipsam.training.registry import Request, Trained
from medclipsam.training.run_folder import begin_folder, check_folder
from medclipsam.training.settings import part_of
from medclipsam.weights import lookup
from medclipsam.weights.compact import compact_weights
from medclipsam.weights.targets import TARGETS, to_text

TRAINING, FEATURES, FIGURES = "training", "features", "figures.json"
PRESENCE_IMAGES = 2000
"""Training images about which the presence head is asked, spread evenly; or all, where there are fewer."""
WEAKEST_AXIS = 0.01
"""Share of the strongest axis' variance below which sentence axes gain no more."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What a run came to."""

    folder: Path
    steps: Mapping[str, int]
    """For each network that learned, by its name."""
    best_step: Mapping[str, int]
    """Whose weights were kept."""
    images: int
    """Encodings that were learned from."""
    skipped: int
    """Images that could not be read; see `skipped.csv`."""
    dice: float | None
    """On validation images, mean over folders and targets; None where there are none."""


def train_embedded(request: Request) -> Trained:
    """What `medclipsam train embedded` does.

    Raises:
        BadInput: data that cannot be used, or a folder with another run.
        CannotWrite: the folder cannot be written.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    with distributed.process_group(pick_device(request.device)) as device:
        return _train(request, device)


def _train(request: Request, device: torch.device) -> Trained:
    recipe, data = _computable(part_of(request.parts, EmbeddedRecipe), device), part_of(request.parts, EmbeddedData)
    corpus = Corpus.read(Path(data.corpus) if data.corpus else None)
    images = read_images(
        request.data, corpus, recipe, val_share=data.val_share, validation=data.validation, only=data.only
    )
    start = compact_weights(Path(data.weights)) if data.weights else None
    if not (start or recipe.steps):
        raise BadInput("steps 0 leaves the tower of the weights as it is", "name them with --set weights=")
    facts = {
        **recipe.as_dict(),
        "model or data": _fingerprint(images, corpus, start[1] if start else ""),
        "series": data.series,
    }
    check_folder(request.out, facts | {"processes": distributed.world_size()}, resume=request.resume)
    distributed.barrier()
    if distributed.rank() == 0:
        begin_folder(request.out, facts | {"processes": distributed.world_size()}, request.config)
    distributed.barrier()
    cache = FeatureCache(Path(data.features) if data.features else request.out / FEATURES)
    tower = load_tower(start[0]) if start else None
    axes = Axes.of(tower) if tower else None
    encoder = Encoder(request.data, cache, corpus.folder, device)
    variants = with_copies(images["train"], corpus.folder, data.series)[: data.encodings or None]
    observer = follow(request.tell)
    material = prepare(variants, images, corpus, encoder, recipe, axes=axes, series=data.series, observer=observer)
    if distributed.rank() == 0:
        SkippedLog(request.out / "skipped.csv")(material.skipped)
    tower = tower or new_tower(material.axes, material.lessons.sentences, recipe.seed, recipe.width, recipe.blocks)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        tower.grow(recipe.blocks)
    options = part_of(request.parts, RunOptions)
    tower, outcomes = learn(
        tower, material, recipe, request.out / TRAINING, device=device, options=options, observer=observer
    )
    request.tell("setting thresholds", 0, 0)
    figures = finish(tower, material, request.out / TRAINING / "level", seed=recipe.seed, device=device)
    if distributed.rank() == 0:
        write_atomic(request.out / FIGURES, json.dumps(figures, indent=1, sort_keys=True) + "\n")
        taught = promised(taught_by(images["train"]), figures["dice_by_group"], recipe.least_dice)
        write_atomic(request.out / TARGETS, to_text(taught))
        write_atomic(request.out / lookup("compact").file, to_bytes(tower.cpu()))
    distributed.barrier()
    return _trained(request.out, outcomes, material, figures)


def _computable(recipe: EmbeddedRecipe, device: torch.device) -> EmbeddedRecipe:
    """In single precision where bfloat16 takes longer, many times as long where it is emulated."""
    slower = recipe.precision == "bf16" and not gains_from_bf16(device)
    return recipe.changed(precision="fp32") if slower else recipe


def learn(
    tower: CompactTower,
    material: Prepared,
    recipe: EmbeddedRecipe,
    run: Path,
    *,
    device: torch.device,
    options: RunOptions | None = None,
    observer: Observer | None = None,
) -> tuple[CompactTower, dict[str, Outcome]]:
    """Train a tower, its pixel network and its presence head; the tower of the best validation, and what each run of
    the loop came to.

    Args:
        run: gets a folder for each run of the loop; those that were stopped go on.
    """

    how = options or RunOptions()

    def trained(task: Task, recipe: TrainingRecipe, folder: Path) -> Outcome:
        return fit(
            task,
            recipe,
            folder,
            device=str(device),
            resume=(folder / "run.json").is_file(),
            save_every=how.save_every,
            workers=how.workers,
            tensorboard=how.tensorboard,
            observer=observer,
        )

    outcomes: dict[str, Outcome] = {}
    teach_words(tower, material.lessons)
    if recipe.steps:
        tower.take(None)  # its texts will mean something else to it
        task = EmbeddedTask(tower, material.training, material.validation, material.lessons, recipe)
        outcomes["tower"] = trained(task, recipe, run / "tower")
        tower = load_tower(run / "tower" / TOWER)
    tower = tower.to(device).eval()
    if recipe.pixel_steps:
        learning = pixel_recipe(recipe, material.series)
        pixels = pixel_task(tower, material, learning)
        outcome = outcomes["pixel network"] = trained(pixels, learning, run / "pixels")
        take_better(tower, best_network(run / "pixels", pixels.network), outcome)
        tower = stored(tower, run / "pixels" / TOWER).to(device).eval()
        choose_share(tower, lambda: asked(tower, material.validation, material.lessons), recipe.seed)
    step = max(1, len(material.training) // PRESENCE_IMAGES)
    seen = asked(tower, material.training.every(step), material.lessons, drawn=False)
    fit_presence(tower.presence, seen, recipe.seed, run=run / "presence", device=str(device))
    return tower, outcomes


def take_better(tower: CompactTower, learned: PixelNetwork, outcome: Outcome) -> None:
    """Have a tower take the network that learned, unless the one that it has was better on validation images."""
    if tower.pixels is None or outcome.best.get("dice", 0.0) >= outcome.before.get("dice", 0.0):
        tower.take(learned)


def stored(tower: CompactTower, file: Path) -> CompactTower:
    """The tower as it comes back from a file: what is learned last is learned on these weights."""
    if distributed.rank() == 0:
        write_atomic(file, to_bytes(tower.cpu()))
    distributed.barrier()
    return load_tower(file)


def pixel_task(tower: CompactTower, material: Prepared, recipe: EmbeddedRecipe) -> PixelTask:
    """The tower's pixel network, or a new one, with what it learns from."""
    return PixelTask(
        _learning(tower.pixels) if tower.pixels else _new_network(tower.shape.embedding, recipe.seed),
        tower,
        material.lessons,
        recipe,
        root=material.root,
        training=material.pictures,
        validation=material.validation,
    )


def _learning(network: PixelNetwork) -> PixelNetwork:
    """A copy that goes on learning, its maps in full."""
    copied = copy.deepcopy(network).requires_grad_(True)
    copied.share.fill_(1)
    return copied


def _new_network(embedding: int, seed: int) -> PixelNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PixelNetwork(WIDTHS, embedding)


def pixel_recipe(recipe: EmbeddedRecipe, series: int) -> EmbeddedRecipe:
    """The settings of the pixel network's own run; each series has its own order, views, sentences and, where it begins
    anew, initial weights: those of the seed that is higher by its number."""
    return recipe.changed(
        optimizer="adamw",
        steps=recipe.pixel_steps,
        learning_rate=recipe.pixel_rate,
        warmup=0.03,
        ema=0.99,
        seed=recipe.seed + series,
    )


def finish(
    tower: CompactTower, material: Prepared, run: Path | None, *, seed: int, device: torch.device
) -> dict[str, Any]:
    """Learn the level and set both thresholds on validation images, in place; what they give there."""
    judged = asked(tower, material.validation, material.lessons)
    level = tower.level.cpu()
    judged = fit_level(level, judged, seed, run=run, device=str(device))
    tower.to(device)
    figures: dict[str, Any] = {
        **calibrate(tower, judged),
        "examples": len(material.training),
        "sentences": len(material.lessons.bank.texts),
        "pixel_share": float(tower.pixels.share) if tower.pixels else 0.0,
    }
    groups = group_dice(judged, figures.get("dense_shift", 0.0))
    return figures | {"dice_by_group": {name: float(np.mean(values)) for name, values in groups.items()}}


def asked(tower: CompactTower, encodings: Encodings, lessons: Lessons, *, drawn: bool = True) -> list[Judged]:
    """What a tower answers of encoded images to the short names of the targets; see `judge`."""
    return list(judge(tower, encodings, lessons.names, lessons.short, lessons.corpus, drawn=drawn))


def new_tower(axes: Axes, sentences: Tensor, seed: int = 0, width: int = 256, blocks: int = 3) -> CompactTower:
    """An untrained tower that reads features along `axes`, and sentences along their own principal axes.

    Args:
        sentences: (n, 384): vectors of the sentences that a run asks.
        width: channels of a token.
        blocks: transformer blocks.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = CompactTower(CompactShape(width=width, blocks=blocks))
    tower.mean.copy_(axes.mean)
    tower.axes.copy_(axes.matrix * axes.gain)
    tower.sentence_mean.copy_(sentences.mean(dim=0))
    tower.sentence_axes.copy_(half_white(sentences))
    return tower


def half_white(vectors: Tensor) -> Tensor:
    """(n, d) -> (d, d): principal axes whose gain lies halfway to equal variances, one on average.

    The sentence encoder puts "left ventricle" and "right ventricle" at a cosine of 0.95: what tells them apart lies on
    its weak axes.
    """
    centred = (vectors - vectors.mean(dim=0)).double()
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(vectors))
    gain = (variances.clamp_min(0) + WEAKEST_AXIS * variances.max()) ** -0.25
    gain = gain / (gain.square() * variances).mean().sqrt()
    return (axes * gain).float()


def _fingerprint(images: Mapping[str, Sequence[LabelledImage]], corpus: Corpus, start: str) -> str:
    """Stands for the table, the corpus and the weights to start from; the encodings stand for the images."""
    return hashlib.sha256(repr((start, corpus.digest, sorted(images.items()))).encode()).hexdigest()


def _trained(run: Path, outcomes: Mapping[str, Outcome], material: Prepared, figures: Mapping[str, object]) -> Trained:
    dice = figures.get("dice")
    found = Embedded(
        folder=run,
        steps={name: each.steps for name, each in outcomes.items()},
        best_step={name: each.best_step for name, each in outcomes.items()},
        images=len(material.training),
        skipped=len(material.skipped),
        dice=dice if isinstance(dice, float) else None,
    )
    skipped = f", {found.skipped:,} images skipped ({run / 'skipped.csv'} says why)" if found.skipped else ""
    lines = [f"{found.images:,} encodings{skipped}"]
    lines += [f"{name}: {each.steps} steps, weights of step {each.best_step}" for name, each in outcomes.items()]
    if found.dice is not None:
        lines.append(f"validation Dice of the maps, mean over folders and targets: {found.dice:.3f}")
    return Trained(outcome=found, told=(*lines, f"use the weights with --weights {run}"))
