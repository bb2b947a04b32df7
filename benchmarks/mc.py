"""How much faster are 30 Monte Carlo passes of MedCLIPSeg than in the released order of work, and is it the same map?

The released code runs 30 whole passes, one after the other, each over a text of 256 tokens of which most are padding.
Ours cuts the text to its words, computes what no noise changes once, and lets samples share passes. Padding is masked
and the same noise is drawn in both; each measurement has a process of its own, so that its peak memory is its own.

    python benchmarks/mc.py [--samples 30] [--threads 2] [--seed 0] [--write TABLE.md]
        [--run RUN --images FOLDER]    and whole answers of a trained run about the first images of a folder

The architecture is BiomedCLIP's (ViT-B/16 and BERT-base, 12 blocks each, adapters before 10 of them); its weights are
random, and so are the text's ids, so that no file is needed.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from setting import machine, versions
from torch import Tensor

import medclipsam
from medclipsam.backbones import architecture
from medclipsam.config import Supervised
from medclipsam.networks.contract import Inputs
from medclipsam.networks.medclipseg.build import assembled
from medclipsam.networks.medclipseg.network import MedClipSeg
from medclipsam.networks.medclipseg.open_clip_towers import OpenClipTowers
from medclipsam.networks.medclipseg.settings import BIOMEDCLIP
from medclipsam.networks.medclipseg.towers import Words

WORDS, CONTEXT = 22, 256
"""Tokens of a sentence such as those of the MedCLIPSeg sheets, and of the context that it is padded to."""
ANSWERS, SENTENCE = 7, "One medium oval-shaped regular tumor at the center in the breast ultrasound image."
NAME = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
MODEL = {
    "embed_dim": 512,
    "vision_cfg": {
        "timm_model_name": "vit_base_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    },
    "text_cfg": {
        "hf_model_name": NAME,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": CONTEXT,
    },
}
DESCRIBED = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}}
WAYS = ("one pass", "released order", "ours", "ours, bf16")


class FixedIds:
    """A tokenizer that gives every text the same ids, padded to the context."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, 256)."""
        words = torch.randint(1000, 30000, (WORDS,), generator=torch.Generator().manual_seed(0))
        return torch.cat([words, torch.zeros(CONTEXT - WORDS, dtype=torch.int64)]).expand(len(texts), -1)

    def unread(self, text: str) -> None:
        """Nothing is left out."""


class PaddedTowers(OpenClipTowers):
    """Every text as long as the context; padding stays masked."""

    def start_text(self, texts: Sequence[str], first: int, *, padded: bool) -> Words:
        """See `Towers`."""
        return super().start_text(texts, first, padded=True)


class PaddedNoise:
    """The noise of one sample for texts with padding: drawn for the words alone."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, values: Tensor) -> Tensor:
        """(1, rows, m, C)."""
        _, rows, count, width = values.shape
        drawn = torch.zeros(1, rows, count, width)
        real = WORDS if count == CONTEXT else count
        drawn[:, :, :real] = torch.randn((rows, real, width), generator=self._generator)
        return drawn


def network(padded: bool) -> MedClipSeg:
    """MedCLIPSeg at BiomedCLIP's size with random weights."""
    kind = PaddedTowers if padded else OpenClipTowers
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / architecture.CONFIG).write_text(json.dumps(DESCRIBED))
        torch.manual_seed(0)
        towers = kind(architecture.build(Path(folder)), FixedIds(), {})  # type: ignore[arg-type]
    torch.manual_seed(1)
    return assembled(replace(BIOMEDCLIP, samples_at_once=4), towers).eval()


def released(asked: MedClipSeg, inputs: Inputs, samples: int, seed: int) -> Tensor:
    """(side, side): the mean of whole passes, one after the other."""
    seeds = torch.randint(2**62, (samples,), generator=torch.Generator().manual_seed(seed)).tolist()
    passes = [asked.one_pass(inputs, PaddedNoise(each))[0, 0] for each in seeds]
    return torch.stack(passes).mean(dim=0)


def ours(asked: MedClipSeg, inputs: Inputs, samples: int, seed: int) -> Tensor:
    """(side, side): the mean of as many samples."""
    return asked.probability(inputs, samples, torch.Generator().manual_seed(seed)).mean(dim=(0, 1))


def measure(way: str, samples: int, seed: int, out: Path) -> None:
    """Time one way and write its map; what it takes is printed as JSON."""
    asked = network(padded=way in ("one pass", "released order"))
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed))
    inputs = Inputs(pixels=pixels, texts=("a",), image_of=torch.zeros(1, dtype=torch.int64))
    run: Callable[[MedClipSeg, Inputs, int, int], Tensor] = ours if way.startswith("ours") else released
    count = 1 if way == "one pass" else samples
    if way.endswith("bf16"):  # weights too: autocast would turn them anew in every pass
        asked.to(torch.bfloat16)
        asked.towers._network.to(torch.bfloat16)  # type: ignore[attr-defined]
        inputs = replace(inputs, pixels=inputs.pixels.bfloat16())
    before = begin_peak()
    with torch.no_grad():
        began, worked = time.perf_counter(), time.process_time()
        probability = run(asked, inputs, count, seed)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
    np.save(out, probability.float().numpy())
    print(json.dumps({"seconds": seconds, "processor": processor, "mib": memory_mib("VmHWM") - before}))


def begin_peak() -> float:
    """Forget the most memory that the process has had, and give what it has now, in MiB (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mib("VmRSS")


def memory_mib(kind: str) -> float:
    """`VmRSS`, what the process has now, or `VmHWM`, the most since `begin_peak`; in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def table(measured: dict[str, dict[str, float]], maps: dict[str, np.ndarray], samples: int) -> str:
    """What was measured, as Markdown."""
    reference, one = measured["released order"], measured["one pass"]
    lines = [
        f"{samples} samples at BiomedCLIP's size with random weights, a text of {WORDS} tokens; {machine()}, "
        f"{torch.get_num_threads()} threads, {versions('torch', 'open_clip_torch', 'timm', 'transformers')}. "
        "The speed-up is of the processor's seconds, which other work on the machine changes less than the clock's. "
        "Memory is what the passes add to the loaded model.",
        "",
        "| order of work | seconds | of the processor | against the released | memory, MiB | against one pass | "
        "largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, found in measured.items():
        ratio = "" if way == "one pass" else f"{reference['processor'] / found['processor']:.1f} x"
        apart = "" if way == "one pass" else f"{np.abs(maps[way] - maps['released order']).max():.1e}"
        memory = f"{found['mib']:.0f} | {found['mib'] / one['mib']:.2f} x"
        lines.append(f"| {way} | {found['seconds']:.1f} | {found['processor']:.1f} | {ratio} | {memory} | {apart} |")
    return "\n".join(lines) + "\n"


def answers(run: Path, images: Path, samples: int) -> str:
    """How long a trained run takes for a whole answer, with one draw and with many, in turns."""
    ways = {count: medclipsam.load(Supervised(run=run, samples=count), device="cpu") for count in (1, samples)}
    seconds: dict[int, list[float]] = {count: [] for count in ways}
    for number, path in enumerate(sorted(images.iterdir())[: ANSWERS + 1]):
        image = medclipsam.read_image(path)
        for count, segmenter in ways.items():
            began = time.perf_counter()
            segmenter.segment(image, SENTENCE)
            if number:  # the first warms up
                seconds[count].append(time.perf_counter() - began)
    one, many = (float(np.median(each)) for each in seconds.values())
    return (
        f"\nA whole answer of a run of `{ways[1].info.name}`, encoding included: {one:.2f} s with one draw, "
        f"{many:.2f} s with {samples}, {many / one:.1f} times; medians of {ANSWERS} images.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--run", type=Path, help="folder of a trained run, to be asked about --images")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.way:
        measure(chosen.way, chosen.samples, chosen.seed, chosen.out)
        return
    measured, maps = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for number, way in enumerate(WAYS):
            out = Path(folder) / f"{number}.npy"
            again = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--out", str(out)]
            told = subprocess.run(again, capture_output=True, text=True, check=True).stdout
            measured[way], maps[way] = json.loads(told.splitlines()[-1]), np.load(out)
    made = table(measured, maps, chosen.samples)
    made += answers(chosen.run, chosen.images, chosen.samples) if chosen.run else ""
    print(made)
    if chosen.write:
        chosen.write.write_text(made)


if __name__ == "__main__":
    main()
