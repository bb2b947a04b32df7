"""Can the embedded preset's encoder answer from fewer pixels, before and after it learns to?

    python benchmarks/distil.py ../shared/data --side 144 --minutes 15 --most 60 --write benchmarks/results/distil.md

The student is LiteMedSAM's encoder itself on a smaller square, whose cost goes with the number of pixels; its map is
enlarged to the grid of the teacher. It learns the teacher's embeddings of training images, in bf16, for as long as is
asked. Judged by the masks of the whole preset on validation images, as `engines.py` does, all in fp32.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from accuracy_cases import read_cases
from engines import Way, ask
from setting import machine, versions
from torch import Tensor, nn
from torch.nn import functional as F

import medclipsam
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.training.data.index import read_index

BATCH, RATE, CLIP = 4, 2e-4, 1.0
EACH = 60
"""Most training images of a folder."""


class Smaller(nn.Module):
    """An encoder that looks at fewer pixels: (B, 3, 256, 256) -> (B, 256, 64, 64)."""

    def __init__(self, encoder: nn.Module, side: int) -> None:
        super().__init__()
        self.encoder, self.side = encoder, side

    def forward(self, pixels: Tensor) -> Tensor:
        small = F.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)
        return F.interpolate(self.encoder(small), (64, 64), mode="bilinear", align_corners=False)


def loaded(seed: int) -> ZeroShotSegmenter:
    """The preset with torch in fp32, its encoder free to be exchanged."""
    segmenter = medclipsam.load("embedded", device="cpu", seed=seed, encoder_engine="torch", precision="fp32")
    if not isinstance(segmenter, ZeroShotSegmenter):
        raise TypeError("the embedded preset is another method now")
    return segmenter


def batches(root: Path, segmenter: ZeroShotSegmenter, seed: int) -> Iterator[Tensor]:
    """Frames of training images, folders in turn, half of them mirrored, without end."""
    random = np.random.default_rng(seed)
    folders: dict[str, list[str]] = {}
    for image in read_index(root):
        if image.split == "train":
            folders.setdefault(image.folder, []).append(image.image)
    some = {name: random.permutation(images)[:EACH] for name, images in sorted(folders.items())}
    while True:
        chosen = [str(random.choice(some[name])) for name in random.choice(list(some), BATCH, replace=False)]
        frames = torch.cat([segmenter._sam.frame(medclipsam.read_image(root / name)) for name in chosen])
        yield frames.flip(-1) if random.random() < 0.5 else frames


def distilled(student: Smaller, teacher: nn.Module, frames: Iterator[Tensor], minutes: float) -> int:
    """Let the student learn the teacher's embeddings for so long; the number of images that it saw."""
    student.train().requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.0)
    began, seen = perf_counter(), 0
    while (passed := (perf_counter() - began) / 60) < minutes:
        batch = next(frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                goal = teacher(batch).float()
            loss = F.mse_loss(student(batch).float(), goal)
        optimizer.param_groups[0]["lr"] = RATE * (1 - passed / minutes)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), CLIP)
        optimizer.step()
        seen += len(batch)
    student.eval().requires_grad_(requires_grad=False)
    return seen


@torch.no_grad()
def error(student: nn.Module, teacher: nn.Module, frames: Iterator[Tensor]) -> float:
    """Relative error of the embeddings of a few batches."""
    pairs = [(student(batch), teacher(batch)) for batch, _ in zip(frames, range(8), strict=False)]
    wrong, whole = (
        sum(float(each.square().sum()) for each in part) for part in zip(*[(a - b, b) for a, b in pairs], strict=True)
    )
    return float((wrong / whole) ** 0.5)


def way(name: str, encoder: nn.Module, seed: int) -> Way:
    """The preset with this encoder, warm."""
    segmenter = loaded(seed)
    segmenter._sam.network.image_encoder = encoder
    segmenter.prepare([medclipsam.image_from_array(np.eye(256, dtype=np.float32))])
    return Way("torch", name, segmenter)


def report(ways: Sequence[Way], errors: Sequence[float], setting: str) -> str:
    """A row for each encoder."""
    columns = (
        *("encoder", "seconds", "times faster", "relative error of embeddings"),
        *("Dice with the masks of 256 px: mean", "least", "found alike", "Dice with the reference"),
    )
    rows = [setting, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    first = np.median(ways[0].seconds)
    for each, wrong in zip(ways, errors, strict=True):
        seconds = np.median(each.seconds)
        rows.append(
            f"| {each.precision} | {seconds:.3f} | **{first / seconds:.1f}** | {wrong:.3f} | {np.mean(each.alike):.4f} "
            f"| {min(each.alike):.4f} | {sum(each.same)} of {len(each.same)} | {np.mean(each.dice):.3f} |"
        )
    return "\n".join(rows)


def main() -> None:
    chosen = _parser().parse_args()
    plain = loaded(chosen.seed)
    teacher: nn.Module = plain._sam.network.image_encoder
    bare, student = (Smaller(copy.deepcopy(teacher), chosen.side) for _ in range(2))
    seen = distilled(student, teacher, batches(chosen.data, plain, chosen.seed), chosen.minutes)
    names = ("256 px", f"{chosen.side} px, as it is", f"{chosen.side} px, after {chosen.minutes:g} minutes")
    encoders = (teacher, bare, student)
    errors = [error(each, teacher, batches(chosen.data, plain, chosen.seed + 1)) for each in encoders]
    ways = [way(name, encoder, chosen.seed) for name, encoder in zip(names, encoders, strict=True)]
    cases = read_cases(chosen.data, "val", chosen.limit)
    if len(cases) > chosen.most:
        cases = [cases[round(index)] for index in np.linspace(0, len(cases) - 1, chosen.most)]
    for case in cases:
        ask(ways, chosen.data, case)
    setting = (
        f"{len(ways[0].alike)} targets on {len(cases)} validation images; {seen} training images seen in "
        f"{chosen.minutes:g} minutes, seed {chosen.seed}. {machine()}, {torch.get_num_threads()} threads, "
        f"{versions('torch', 'medclipsam')}."
    )
    found = report(ways, errors, setting)
    print(found)
    if chosen.write:
        chosen.write.write_text(found + "\n", "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with index.csv and the images that it names")
    parser.add_argument("--side", type=int, default=144, help="of the student's square, in pixels")
    parser.add_argument("--minutes", type=float, default=15.0, help="of distillation")
    parser.add_argument("--limit", type=int, default=5, help="validation images of each folder")
    parser.add_argument("--most", type=int, default=60, help="validation images in all, spread over the folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    return parser


if __name__ == "__main__":
    main()
