"""What does the frozen encoder see in each training image? Encoded once, pooled, kept in half precision.

One LiteMedSAM encoding costs far more than a training step of the small tower above it, so every image and a few
augmented copies are encoded once and written as shards; training then reads memory. To fit there, the 256 channels are
turned onto their first principal axes, which the tower keeps, and rounded to 8 bits.

    index.csv -> Example (image, targets, copy) -> augment -> encoder -> Axes -> 64x64x128 int8 + masks as bits
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medclipsam.backbones.compact import CHANNELS, GRID
from medclipsam.io.label_files import read_foreground
from medclipsam.training.augment import PLAIN, Strength, augment

FRAME = 256
SHARD = 64
DEVIATIONS = 6.0
"""Where 8 bits end, in standard deviations of a channel."""

COPIES: Mapping[str, float] = {
    "breast_us_busi": 2.5,
    "brain_mri_brisc": 14,
    "brain_mri_lgg": 1.2,
    "chest_xray_montgomery": 3,
    "chest_xray_shenzhen": 1.2,
    "lung_ct_covid20": 1.2,
    "polyp_kvasir": 1.6,
    "cardiac_mri_acdc": 0.6,
    "fundus_refuge": 1.2,
    "fundus_drishti": 2.5,
    "liver_ct_lits": 0.8,
    "skin_ham10000": 6,
    "captions_medpix": 0.25,
}
"""How many encodings each training image of a folder gets on average; small folders are repeated more often."""
EMPTY_COPIES = 2.0
"""Images whose searched-for targets are missing are rare, and repeated this much more often."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One encoding: an image, the masks that are known for it, and which augmented copy it is (0 = the plain image)."""

    dataset: str
    modality: str
    split: str
    image: str
    targets: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Those of `targets` that were searched for and are not there: their masks are empty."""
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
    """Repeat training images as `copies` says, spread so that an early stop keeps every folder's share."""
    planned: list[tuple[float, Example]] = []
    for example in examples:
        budget = copies.get(example.dataset, 1.0) * (EMPTY_COPIES if example.missing else 1.0)
        whole, rest = int(budget), budget - int(budget)
        count = whole + bool(example.generator().random() < rest)
        for copy in range(count):
            variant = replace(example, copy=copy if whole else copy + 1)
            planned.append(((copy + _share(variant)) / count, variant))
    return [variant for _, variant in sorted(planned, key=lambda item: item[0])]


def _share(example: Example) -> float:
    """A number in [0, 1) that depends on the image and the copy alone."""
    return int(hashlib.sha256(f"{example.image}{example.copy}".encode()).hexdigest()[:12], 16) / 16**12


def load(root: Path, example: Example) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The augmented frame (256, 256, 3) in [0, 1] and its masks (targets, 256, 256)."""
    pixels = np.asarray(Image.open(root / example.image).convert("RGB"), np.float32) / np.float32(255)
    masks = [read_foreground(root / mask) for mask in example.masks]
    stack = np.stack(masks).astype(np.uint8) if masks else np.zeros((0, *pixels.shape[:2]), np.uint8)
    strength = PLAIN if example.copy == 0 else _strength(example.dataset)
    return augment(pixels, stack, FRAME, strength, example.generator())


@dataclass(frozen=True)
class Axes:
    """The principal axes of the encoder's channels, and the steps of 8 bits along each."""

    mean: Tensor
    """(256,)."""
    matrix: Tensor
    """(256, CHANNELS), orthonormal columns."""
    step: Tensor
    """(CHANNELS,): one level of 8 bits."""

    @classmethod
    def fitted(cls, encodings: Iterable[Tensor]) -> Axes:
        """From (1, 256, 64, 64) encodings of a few images."""
        cells = torch.cat([encoding.flatten(2)[0].T for encoding in encodings]).double()
        mean = cells.mean(dim=0)
        covariance = (cells - mean).T @ (cells - mean) / len(cells)
        variances, directions = torch.linalg.eigh(covariance)
        chosen = variances.argsort(descending=True)[:CHANNELS]
        step = DEVIATIONS / 127 * variances[chosen].clamp_min(1e-12).sqrt()
        return cls(mean.float(), directions[:, chosen].float().contiguous(), step.float())

    @property
    def gain(self) -> Tensor:
        """(CHANNELS,): brings strong and weak axes nearer to each other, which learns faster; halfway to white."""
        return (self.step * 127 / DEVIATIONS).rsqrt()

    def rounded(self, encoding: Tensor) -> NDArray[np.int8]:
        """(1, 256, 64, 64) -> (64, 64, CHANNELS)."""
        turned = (encoding[0].permute(1, 2, 0) - self.mean) @ self.matrix
        return (turned / self.step).round().clamp(-127, 127).to(torch.int8).numpy()

    def save(self, path: Path) -> None:
        """Write all three as one file."""
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, mean=self.mean.numpy(), matrix=self.matrix.numpy(), step=self.step.numpy())
        partial.rename(path)

    @classmethod
    def load(cls, path: Path) -> Axes:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(*(torch.from_numpy(stored[name]) for name in ("mean", "matrix", "step")))


def write_shards(
    root: Path, examples: list[Example], encode: Callable[[Tensor], Tensor], axes: Axes, out: Path
) -> Iterator[int]:
    """Encode what is missing under `out`, one shard at a time; yields the number of examples done so far."""
    out.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(examples), SHARD):
        path = out / f"{start // SHARD:05d}.npz"
        chosen = examples[start : start + SHARD]
        if not path.exists():
            _write_shard(root, chosen, encode, axes, path)
        yield start + len(chosen)


def read_shards(out: Path) -> Iterator[tuple[list[Example], NDArray[np.int8], NDArray[np.uint8]]]:
    """Examples, features (n, 64, 64, CHANNELS) and packed masks (total targets, 8192) of each finished shard."""
    for path in sorted(out.glob("?????.npz")):
        with np.load(path, allow_pickle=False) as shard:
            rows = json.loads(str(shard["examples"]))
            examples = [Example(**{name: _frozen(value) for name, value in row.items()}) for row in rows]
            yield examples, shard["features"], shard["masks"]


def _frozen(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


def encode_example(
    root: Path, example: Example, encode: Callable[[Tensor], Tensor]
) -> tuple[Tensor, NDArray[np.uint8]]:
    """(1, 256, 64, 64) and the masks (targets, 256, 256) of one augmented image."""
    pixels, masks = load(root, example)
    with torch.inference_mode():
        return encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).float(), masks


def _write_shard(
    root: Path, examples: list[Example], encode: Callable[[Tensor], Tensor], axes: Axes, path: Path
) -> None:
    features = np.empty((len(examples), GRID, GRID, CHANNELS), np.int8)
    packed = []
    for row, example in enumerate(examples):
        encoding, masks = encode_example(root, example, encode)
        features[row] = axes.rounded(encoding)
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
        missing=tuple(row["target"] for row in rows if row["present"] == "0"),
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
