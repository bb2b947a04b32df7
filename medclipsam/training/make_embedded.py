"""How do the embedded weights come about? One command, from the development images to `weights/compact.safetensors`.

    python -m medclipsam.training.make_embedded ../shared/data --cache runs/features

encode (once, resumable) -> fit -> calibrate on the validation split -> write weights, hashes and figures
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactShape, CompactTower
from medclipsam.backbones.compact_clip import load_tower, to_bytes
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import load_sam
from medclipsam.io.atomic import atomic_path
from medclipsam.training import vocabulary
from medclipsam.training.calibration import Judged, calibrate, group_dice, judge
from medclipsam.training.embedded import Cache, Material, Recipe, fit
from medclipsam.training.features import (
    Axes,
    Example,
    encode_example,
    list_examples,
    read_shards,
    with_copies,
    write_shards,
)
from medclipsam.training.level import fit_level
from medclipsam.training.presence import fit_presence
from medclipsam.training.texts import build_bank
from medclipsam.weights import digest, find
from medclipsam.weights.table import write_checksums

REPORT_EVERY = 50
IMAGES_FOR_AXES = 64
PRESENCE_EVERY = 5
"""Of so many training images one teaches the presence head."""
WEAKEST_AXIS = 0.01
"""Share of the strongest axis' variance below which sentence axes gain no more."""
console = Console(stderr=True)


def encode(data: Path, cache: Path, part: int, parts: int) -> None:
    """Write the feature shards of the training and validation splits; several processes may share the work."""
    encoder = load_sam("lite-medsam", dtype=torch.bfloat16).encode
    training = with_copies(list_examples(data, ["train"]))
    plain = [example for example in list_examples(data, ["val"]) if example.targets]
    axes = _axes(data, cache, training, encoder)
    for name, examples in (("val", plain), ("train", training)):
        chosen = examples[part::parts]
        for done in write_shards(data, chosen, encoder, axes, cache / f"{name}-{part}"):
            console.print(f"{name} {done}/{len(chosen)}")


def _axes(data: Path, cache: Path, examples: Sequence[Example], encoder: Callable[[Tensor], Tensor]) -> Axes:
    """The principal axes on a few training images, fitted once for a cache."""
    path = cache / "axes.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        chosen = examples[:: max(1, len(examples) // IMAGES_FOR_AXES)]
        Axes.fitted(encode_example(data, example, encoder)[0] for example in chosen).save(path)
    return Axes.load(path)


def read_cache(cache: Path, split: str, leave_out: frozenset[str]) -> Cache:
    """All shards of a split in memory; examples of a target or folder that is left out are dropped."""
    examples: list[Example] = []
    features, masks, first_mask = [], [], []
    seen = 0
    for folder in sorted(cache.glob(f"{split}-*")):
        for rows, shard, packed in read_shards(folder):
            starts = seen + np.cumsum([0, *(len(row.masks) for row in rows)])[:-1]
            keep = [index for index, row in enumerate(rows) if not leave_out & {row.dataset, *row.targets}]
            examples += [rows[index] for index in keep]
            first_mask += [int(starts[index]) for index in keep]
            features.append(shard[keep])
            masks.append(_coverage(packed))
            seen += len(packed)
    axes = Axes.load(cache / "axes.npz")
    return Cache(
        examples, torch.from_numpy(np.concatenate(features)), axes.step * axes.gain, torch.cat(masks), first_mask
    )


def _coverage(packed: np.ndarray) -> Tensor:
    """Packed 256x256 masks -> (n, 64, 64) coverage in 0..255."""
    if not len(packed):
        return torch.zeros(0, 64, 64, dtype=torch.uint8)
    masks = torch.from_numpy(np.unpackbits(packed, axis=1).reshape(-1, 1, 256, 256))
    return (F.avg_pool2d(masks.float(), 4)[:, 0] * 255).round().byte()


def captions(examples: Sequence[Example], generator: np.random.Generator) -> list[str]:
    """A caption for every example: its own, or one made of a target and the modality."""
    lines = []
    for example in examples:
        if example.caption:
            lines.append(example.caption)
            continue
        shown = [target for target in example.targets if target not in example.missing]
        target = vocabulary.concept(str(generator.choice(shown or example.targets)))
        modality = generator.choice(vocabulary.MODALITY_WORDS[example.modality])
        lines.append(f"{modality} {'showing' if shown else 'without'} {generator.choice(target.wordings)}")
    return lines


def gather(training: Cache, sentences: SentenceEncoder, leave_out: frozenset[str], seed: int) -> Material:
    """The images of a cache, and all sentences that a run asks of them."""
    generator = np.random.default_rng(seed)
    modalities = {target: row.modality for row in training.examples for target in row.targets}
    bank = build_bank(modalities, generator, leave_out)
    return Material(
        training,
        bank,
        sentences.encode([text.sentence for text in bank.texts]),
        sentences.encode(captions(training.examples, generator)),
    )


def train(
    cache: Path, recipe: Recipe, leave_out: frozenset[str], start: Path | None = None, compiled: bool = False
) -> tuple[CompactTower, dict[str, object]]:
    """Learn a tower, and calibrate it on the validation split."""
    tower, material = learn(cache, recipe, leave_out, start, compiled)
    judged = asked(tower, read_cache(cache, "val", leave_out), sorted(material.bank.by_target))
    judged = fit_level(tower.level, judged, recipe.seed)
    figures: dict[str, object] = {
        **calibrate(tower, judged),
        "examples": len(material.cache.examples),
        "sentences": len(material.bank.texts),
        "started_from": digest(start) if start else "scratch",
    }
    shift = float(figures["dense_shift"])  # type: ignore[arg-type]
    figures["dice_by_group"] = {name: float(np.mean(values)) for name, values in group_dice(judged, shift).items()}
    return tower, figures


def learn(
    cache: Path, recipe: Recipe, leave_out: frozenset[str], start: Path | None = None, compiled: bool = False
) -> tuple[CompactTower, Material]:
    """Fit a tower on what `encode` left, and its presence head last; from scratch, or from the weights of another."""
    sentences = SentenceEncoder(find("minilm").folder)
    material = gather(read_cache(cache, "train", leave_out), sentences, leave_out, recipe.seed)
    tower = load_tower(start) if start else new_tower(Axes.load(cache / "axes.npz"), material.sentences, recipe.seed)
    fit(tower, material, recipe, report=_report, compiled=compiled)
    tower.known = material.sentences
    seen = asked(tower, material.cache.every(PRESENCE_EVERY), sorted(material.bank.by_target))
    fit_presence(tower.presence, seen, recipe.seed)
    return tower, material


def asked(tower: CompactTower, cache: Cache, names: Sequence[str]) -> list[Judged]:
    """What a tower answers of the images of a cache to the short names of these targets."""
    return list(judge(tower, cache, names, SentenceEncoder(find("minilm").folder).encode(names)))


def new_tower(axes: Axes, sentences: Tensor, seed: int = 0) -> CompactTower:
    """An untrained tower that reads features along `axes`, and sentences along their own principal axes.

    Args:
        sentences: (n, 384): vectors of the sentences that a run asks.
    """
    torch.manual_seed(seed)
    tower = CompactTower(CompactShape())
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


def _report(step: int, losses: dict[str, float]) -> None:
    if step % REPORT_EVERY == 0:
        console.print(f"step {step}  " + "  ".join(f"{name} {value:.3f}" for name, value in losses.items()))


def save(tower: CompactTower, figures: dict[str, object], recipe: Recipe, out: Path) -> None:
    """Write weights, figures and hashes."""
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "compact.safetensors") as partial:
        partial.write_bytes(to_bytes(tower))
    with atomic_path(out / "compact.json") as partial:
        partial.write_text(json.dumps({"recipe": vars(recipe), "validation": figures}, indent=1, sort_keys=True))
    write_checksums(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv")
    parser.add_argument("--cache", type=Path, required=True, help="where the encoded features lie or will lie")
    parser.add_argument("--out", type=Path, default=Path("weights"))
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--matrix-rate", type=float, default=Recipe.matrix_rate)
    parser.add_argument("--memory", type=float, default=Recipe.memory, help="of the running mean of the weights")
    parser.add_argument("--start", type=Path, help="go on from the weights of an earlier run")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--leave-out", nargs="*", default=[], help="targets or folders that training must not see")
    parser.add_argument("--part", default="0/1", help="i/n: encode only the i-th of n parts, and stop")
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler; quicker steps after a minute")
    parser.add_argument("--train-only", action="store_true", help="learn from what the cache holds by now")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    part, parts = map(int, chosen.part.split("/"))
    if not chosen.train_only:
        encode(chosen.data, chosen.cache, part, parts)
    if parts > 1:
        return
    recipe = Recipe(
        steps=chosen.steps,
        seed=chosen.seed,
        learning_rate=chosen.learning_rate,
        matrix_rate=chosen.matrix_rate,
        memory=chosen.memory,
        warm_up=min(Recipe.warm_up, chosen.steps // 10),
    )
    began = time.perf_counter()
    tower, figures = train(chosen.cache, recipe, frozenset(chosen.leave_out), chosen.start, chosen.compile)
    save(tower, {**figures, "seconds": time.perf_counter() - began}, recipe, chosen.out)
    console.print(figures)


if __name__ == "__main__":
    main()
