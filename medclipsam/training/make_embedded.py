"""How do the embedded weights come about? One command, from the development images to `weights/compact.safetensors`.

    python -m medclipsam.training.make_embedded ../shared/data --cache runs/features

encode (once, resumable) -> fit -> calibrate on the validation split -> write weights, hashes and figures
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
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
from medclipsam.training.calibration import calibrate, group_dice, judge
from medclipsam.training.embedded import Cache, Material, Recipe, fit
from medclipsam.training.features import Example, list_examples, read_shards, with_copies, write_shards
from medclipsam.training.texts import build_bank
from medclipsam.weights import digest, find
from medclipsam.weights.table import write_checksums

REPORT_EVERY = 50
console = Console(stderr=True)


def encode(data: Path, cache: Path, part: int, parts: int) -> None:
    """Write the feature shards of the training and validation splits; several processes may share the work."""
    sam = load_sam("lite-medsam", dtype=torch.bfloat16)
    plain = [example for example in list_examples(data, ["val"]) if example.targets]
    for name, examples in (("val", plain), ("train", with_copies(list_examples(data, ["train"])))):
        chosen = examples[part::parts]
        for done in write_shards(data, chosen, sam.encode, cache / f"{name}-{part}"):
            console.print(f"{name} {done}/{len(chosen)}")


def read_cache(folders: Sequence[Path], leave_out: frozenset[str]) -> Cache:
    """All shards in memory; examples of a target that is left out are dropped."""
    examples: list[Example] = []
    features, masks, first_mask = [], [], []
    seen = 0
    for folder in folders:
        for rows, shard, packed in read_shards(folder):
            starts = seen + np.cumsum([0, *(len(row.masks) for row in rows)])[:-1]
            keep = [index for index, row in enumerate(rows) if not leave_out & set(row.targets)]
            examples += [rows[index] for index in keep]
            first_mask += [int(starts[index]) for index in keep]
            features.append(shard[keep])
            masks.append(_coverage(packed))
            seen += len(packed)
    return Cache(examples, torch.from_numpy(np.concatenate(features)), torch.cat(masks), first_mask)


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
        target = vocabulary.concept(str(generator.choice(example.targets)))
        modality = generator.choice(vocabulary.MODALITY_WORDS[example.modality])
        lines.append(f"{modality} showing {generator.choice(target.wordings)}")
    return lines


def train(
    cache: Path, recipe: Recipe, leave_out: frozenset[str], start: Path | None = None
) -> tuple[CompactTower, dict[str, object]]:
    """Fit and calibrate a tower on what `encode` left; from scratch, or from the weights of an earlier run."""
    training = read_cache(sorted(cache.glob("train-*")), leave_out)
    sentences = SentenceEncoder(find("minilm").folder)
    generator = np.random.default_rng(recipe.seed)
    modalities = {target: row.modality for row in training.examples for target in row.targets}
    bank = build_bank(modalities, generator, leave_out)
    material = Material(
        training,
        bank,
        sentences.encode([text.sentence for text in bank.texts]),
        sentences.encode(captions(training.examples, generator)),
    )
    torch.manual_seed(recipe.seed)
    tower = load_tower(start) if start else CompactTower(CompactShape())
    fit(tower, material, recipe, report=_report)
    validation = read_cache(sorted(cache.glob("val-*")), leave_out)
    names = sorted(bank.by_target)
    judged = list(judge(tower, validation, names, sentences.encode(names)))
    figures: dict[str, object] = {
        **calibrate(tower, judged),
        "examples": len(training.examples),
        "sentences": len(bank.texts),
        "started_from": digest(start) if start else "scratch",
    }
    shift = float(figures["dense_shift"])  # type: ignore[arg-type]
    figures["dice_by_group"] = {name: float(np.mean(values)) for name, values in group_dice(judged, shift).items()}
    return tower, figures


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
    parser.add_argument("--start", type=Path, help="go on from the weights of an earlier run")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--leave-out", nargs="*", default=[], help="targets that training must not see")
    parser.add_argument("--part", default="0/1", help="i/n: encode only the i-th of n parts, and stop")
    parser.add_argument("--train-only", action="store_true", help="learn from what the cache holds by now")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    part, parts = map(int, chosen.part.split("/"))
    if not chosen.train_only:
        encode(chosen.data, chosen.cache, part, parts)
    if parts > 1:
        return
    recipe = Recipe(steps=chosen.steps, seed=chosen.seed, learning_rate=chosen.learning_rate)
    began = time.perf_counter()
    tower, figures = train(chosen.cache, recipe, frozenset(chosen.leave_out), chosen.start)
    save(tower, {**figures, "seconds": time.perf_counter() - began}, recipe, chosen.out)
    console.print(figures)


if __name__ == "__main__":
    main()
