"""Which explainer and which prompts for SAM suit the embedded model best? A search on the validation split alone.

    python benchmarks/choose_embedded.py ../shared/data --limit 12 --out benchmarks/results

Each candidate segments the same images; the Dice of every folder and target counts equally. No test image is read.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from accuracy import read_cases, read_mask

import medclipsam
from medclipsam.backbones.sam import load_sam
from medclipsam.config import M2IB, Coarse, Prompting, ZeroShot, preset
from medclipsam.io import read_image
from medclipsam.methods.loading import load
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.types import BoolArray, MedImage

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def candidates() -> Iterator[tuple[str, ZeroShot]]:
    """The embedded preset with one thing changed at a time."""
    base = replace(preset("embedded"), saliency_share=0.0)
    for kind in ("box", "boxes", "points", "both"):
        for margin in (0.0, 0.05) if "box" in kind else (0.0,):
            yield f"dense, {kind}, margin {margin}", replace(base, prompting=Prompting(kind=kind, margin=margin))
    for threshold in (0.3, 0.7):
        coarse = replace(base.coarse, threshold=threshold)
        yield f"dense, box, threshold {threshold}", replace(base, coarse=coarse, prompting=Prompting(kind="box"))
    for layer in (0, 1, 2):
        bottleneck = replace(base, explainer="m2ib", m2ib=M2IB(layer=layer), coarse=Coarse(components=2))
        yield f"m2ib layer {layer}, otsu, box", bottleneck
    yield "grad-cam, otsu, box", replace(base, explainer="gradcam", coarse=Coarse(components=2))


def ask(segmenter: ZeroShotSegmenter, image: MedImage, target: str) -> Iterator[tuple[str, BoolArray]]:
    """The candidate's masks for every share of the saliency map; one decoding serves all."""
    answer = segmenter.segment(image, target, always=True)
    dense = segmenter.config.explainer == "dense" and bool(answer.boxes or answer.points)
    for share in SHARES if segmenter.config.explainer == "dense" else SHARES[:1]:
        blend = (1 - share) * answer.probability + share * answer.saliency if dense else answer.probability
        yield f", saliency share {share}", blend > 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=12, help="images of each folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    sam = load_sam("lite-medsam")
    segmenters = {name: (config, load(config, sam=sam)) for name, config in candidates()}
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in read_cases(chosen.data, "val", chosen.limit):
        image = read_image(chosen.data / case.image)
        for name, (_, segmenter) in segmenters.items():
            for target, path in case.masks.items():
                reference = read_mask(chosen.data / path)
                for suffix, mask in ask(segmenter, image, target) if reference.any() else ():
                    scores[name + suffix][f"{case.dataset}: {target}"].append(dice(mask, reference))
    rows = {name: float(np.mean([np.mean(values) for values in groups.values()])) for name, groups in scores.items()}
    lines = ["| candidate | Dice, mean of folders |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in sorted(rows.items(), key=lambda row: -row[1])]
    table = "\n".join(lines) + "\n"
    record = {
        "medclipsam": medclipsam.__version__,
        "torch": torch.__version__,
        "images_of_each_folder": chosen.limit,
        "groups": {name: {key: float(np.mean(v)) for key, v in groups.items()} for name, groups in scores.items()},
        "configurations": {name: asdict(config) for name, (config, _) in segmenters.items()},
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "choose-embedded.md").write_text(table)
    (chosen.out / "choose-embedded.json").write_text(json.dumps(record, indent=1))
    print(table)


if __name__ == "__main__":
    main()
