"""What does the frozen encoder see in each training image? Encoded once, pooled, kept in half precision.

One LiteMedSAM encoding costs far more than a training step of the small tower above it, so every image and a few
augmented copies are encoded once and written as shards; training then reads memory.

    index.csv -> Example (image, targets, copy) -> augment -> encoder -> 32x32x256 float16 + masks as bits
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from medclipsam.training.augment import PLAIN, Strength, augment

FRAME = 256
GRID = 32
SHARD = 128

COPIES: Mapping[str, float] = {
    "breast_us_busi": 3,
    "brain_mri_brisc": 12,
    "brain_mri_lgg": 1.6,
    "chest_xray_montgomery": 4,
    "chest_xray_shenzhen": 2,
    "lung_ct_covid20": 1.5,
    "polyp_kvasir": 2,
    "cardiac_mri_acdc": 0.5,
    "fundus_refuge": 1.5,
    "fundus_drishti": 3,
    "liver_ct_lits": 0.8,
    "skin_ham10000": 6,
    "captions_medpix": 0.6,
}
"""How many encodings each training image of a folder gets on average; small folders are repeated more often."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One encoding: an image, the masks that are known for it, and which augmented copy it is (0 = the plain image)."""

    dataset: str
    modality: str
    split: str
    image: str
    targets: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    caption: str = ""
    copy: int = 0

    def generator(self) -> np.random.Generator:
        """Randomness that depends on the image and the copy alone."""
        digest = hashlib.sha256(f"{self.image}#{self.copy}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def list_examples(root: Path, splits: Iterable[str]) -> list[Example]:
    """Every plain image of the wanted splits, with all of its targets."""
    wanted = set(splits)
    grouped: dict[str, list[dict[str, str]]] = {}
    with (root / "index.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            if row["split"] in wanted:
                grouped.setdefault(row["image"], []).append(row)
    examples = [_from_index(rows) for rows in grouped.values()]
    return examples + [example for example in _captioned(root) if example.split in wanted]


def with_copies(examples: Iterable[Example], copies: Mapping[str, float] = COPIES) -> list[Example]:
    """Repeat training images as `copies` says, in passes, so that an early stop still saw every folder."""
    planned: list[tuple[float, str, Example]] = []
    for example in examples:
        budget = copies.get(example.dataset, 1.0)
        whole, rest = int(budget), budget - int(budget)
        count = whole + bool(example.generator().random() < rest)
        for copy in range(count):
            order = copy / max(count, 1)
            variant = Example(**{**asdict(example), "copy": copy if whole else copy + 1})
            planned.append((order, hashlib.sha256(f"{example.image}{copy}".encode()).hexdigest(), variant))
    return [variant for _, _, variant in sorted(planned, key=lambda item: item[:2])]


def load(root: Path, example: Example) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The augmented frame (256, 256, 3) in [0, 1] and its masks (targets, 256, 256)."""
    pixels = np.asarray(Image.open(root / example.image).convert("RGB"), np.float32) / np.float32(255)
    masks = [np.asarray(Image.open(root / mask).convert("L")) > 0 for mask in example.masks]
    stack = np.stack(masks).astype(np.uint8) if masks else np.zeros((0, *pixels.shape[:2]), np.uint8)
    strength = PLAIN if example.copy == 0 else _strength(example.dataset)
    return augment(pixels, stack, FRAME, strength, example.generator())


def write_shards(root: Path, examples: list[Example], encode: Callable[[Tensor], Tensor], out: Path) -> Iterator[int]:
    """Encode what is missing under `out`, one shard at a time; yields the number of examples done so far."""
    out.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(examples), SHARD):
        path = out / f"{start // SHARD:05d}.npz"
        chosen = examples[start : start + SHARD]
        if not path.exists():
            _write_shard(root, chosen, encode, path)
        yield start + len(chosen)


def read_shards(out: Path) -> Iterator[tuple[list[Example], NDArray[np.float16], NDArray[np.uint8]]]:
    """Examples, features (n, 32, 32, 256) and packed masks (total targets, 8192) of each finished shard."""
    for path in sorted(out.glob("?????.npz")):
        with np.load(path, allow_pickle=False) as shard:
            rows = json.loads(str(shard["examples"]))
            examples = [
                Example(**{**row, "targets": tuple(row["targets"]), "masks": tuple(row["masks"])}) for row in rows
            ]
            yield examples, shard["features"], shard["masks"]


def _write_shard(root: Path, examples: list[Example], encode: Callable[[Tensor], Tensor], path: Path) -> None:
    features = np.empty((len(examples), GRID, GRID, 256), np.float16)
    packed = []
    for row, example in enumerate(examples):
        pixels, masks = load(root, example)
        with torch.inference_mode():
            embedding = encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).float()
        features[row] = F.avg_pool2d(embedding, embedding.shape[-1] // GRID)[0].permute(1, 2, 0).numpy()
        packed += [np.packbits(mask) for mask in masks]
    bits = np.stack(packed) if packed else np.zeros((0, FRAME * FRAME // 8), np.uint8)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, examples=json.dumps([asdict(example) for example in examples]), features=features, masks=bits)
    partial.rename(path)


def _strength(dataset: str) -> Strength:
    """Coded-channel MRI often loses its codes; other folders use the default."""
    return Strength(single_channel=0.6) if dataset == "brain_mri_lgg" else Strength()


def _from_index(rows: list[dict[str, str]]) -> Example:
    first = rows[0]
    return Example(
        dataset=first["dataset"],
        modality=first["modality"],
        split=first["split"],
        image=first["image"],
        targets=tuple(row["target"] for row in rows),
        masks=tuple(row["mask"] for row in rows),
    )


def _captioned(root: Path) -> list[Example]:
    folder = root / "captions_medpix"
    with (folder / "captions.csv").open(newline="") as table:
        return [
            Example(
                dataset="captions_medpix",
                modality=row["modality"],
                split=row["split"],
                image=f"captions_medpix/{row['image']}",
                caption=". ".join(
                    part for part in (row["title"], row["plane"], row["location"], row["caption"]) if part
                ),
            )
            for row in csv.DictReader(table)
        ]
