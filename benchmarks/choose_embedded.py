"""Searches the explainer and the prompts for SAM that suit the embedded model best, on the validation split alone.

    python benchmarks/choose_embedded.py ../shared/data prompts --limit 12 --out benchmarks/results
    python benchmarks/choose_embedded.py ../shared/data agreement --limit 8 --out benchmarks/results

Each candidate segments the same images; the Dice of every folder and target counts equally. No test image is read.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from accuracy_cases import read_cases

import medclipsam
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.config import M2IB, Coarse, Prompting, ZeroShot, zeroshot_preset
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.methods import load
from medclipsam.methods.zeroshot import ZeroShotSegmenter, blended, inside
from medclipsam.metrics.overlap import dice
from medclipsam.types import BoolArray, MedImage
from medclipsam.weights import find

SHARES = (0.0, 0.25, 0.5, 0.65, 0.75, 0.85, 1.0)
AGREEMENTS = (0.3, 0.4, 0.5, 0.6, 0.7)


def explainers() -> Iterator[tuple[str, ZeroShot]]:
    """One preset for each way to find the evidence; Otsu and two components, which no explainer was tuned for."""
    base = replace(zeroshot_preset("embedded"), saliency_share=0.0, coarse=Coarse(components=2), prompting=Prompting())
    yield "dense", replace(base, explainer="dense")
    for layer in (0, 1, 2):
        for beta in (0.01, 0.1, 1.0):
            settings = M2IB(layer=layer, beta=beta)
            yield f"m2ib, layer {layer}, beta {beta}", replace(base, explainer="m2ib", m2ib=settings)
    yield "grad-cam", replace(base, explainer="gradcam")


def prompts() -> Iterator[tuple[str, ZeroShot]]:
    """The dense explainer with one thing changed at a time."""
    base = replace(zeroshot_preset("embedded"), explainer="dense", saliency_share=0.0)
    for kind, margin in (("box", 0.0), ("box", 0.05), ("boxes", 0.05), ("points", 0.0), ("both", 0.05)):
        yield f"{kind}, margin {margin}", replace(base, prompting=Prompting(kind=kind, margin=margin))
    for kind in ("box", "boxes"):
        for relative in (0.1, 0.3, 1.0):
            coarse = replace(base.coarse, min_relative=relative)
            prompting = Prompting(kind=kind, margin=0.05)
            yield f"{kind}, parts above {relative} of the strongest", replace(base, coarse=coarse, prompting=prompting)
    for threshold in (0.3, 0.7):
        coarse = replace(base.coarse, threshold=threshold)
        yield f"box, threshold {threshold}", replace(base, coarse=coarse, prompting=Prompting(margin=0.05))


def agreement() -> Iterator[tuple[str, ZeroShot]]:
    """The preset as it is, but for the share of its map, of which every one is tried."""
    yield "preset", replace(zeroshot_preset("embedded"), saliency_share=0.0)


QUESTIONS = {"explainers": explainers, "prompts": prompts, "agreement": agreement}


def ask(segmenter: ZeroShotSegmenter, image: MedImage, target: str) -> Iterator[tuple[str, BoolArray]]:
    """The candidate's masks for every share of the saliency map and every agreement; one decoding serves all."""
    answer = segmenter.segment(image, target, always=True)
    dense = segmenter.config.explainer == "dense" and bool(answer.boxes or answer.points)
    for share in SHARES if segmenter.config.explainer == "dense" else SHARES[:1]:
        for least in (0.0, *(AGREEMENTS if share else ())):
            saliency = inside(answer.saliency, answer.boxes)
            blend = blended(answer.probability, saliency, share, least) if dense else answer.probability
            yield f", saliency share {share}, least agreement {least}", blend > 0.5


Groups = dict[str, dict[str, list[float]]]


def search(data: Path, candidates: Iterable[tuple[str, ZeroShot]], limit: int) -> Groups:
    """Dice of every candidate, by folder and target, on the same validation images."""
    sam = load_sam("lite-medsam")
    segmenters = {name: load(config, sam=sam) for name, config in candidates}
    scores: Groups = defaultdict(lambda: defaultdict(list))
    for case in read_cases(data, "val", limit):
        image = read_image(data / case.image)
        for target, path in case.masks.items():
            reference = read_foreground(data / path)
            for name, segmenter in segmenters.items() if reference.any() else ():
                for suffix, mask in ask(segmenter, image, target):
                    scores[name + suffix][f"{case.dataset}: {target}"].append(dice(mask, reference))
    return scores


def table(scores: Groups, limit: int) -> str:
    """Candidates, best first."""
    rows = {name: float(np.mean([np.mean(values) for values in groups.values()])) for name, groups in scores.items()}
    lines = [
        f"Validation split, {limit} images of each folder.",
        "",
        "| candidate | Dice, mean of folders |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(f"| {name} | {rows[name]:.3f} |" for name in sorted(rows, key=lambda row: -rows[row]))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("question", choices=list(QUESTIONS))
    parser.add_argument("--limit", type=int, default=12, help="images of each folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    candidates = list(QUESTIONS[chosen.question]())
    scores = search(chosen.data, candidates, chosen.limit)
    record = {
        "medclipsam": medclipsam.__version__,
        "torch": torch.__version__,
        "weights": find("compact").sha256,
        "images_of_each_folder": chosen.limit,
        "groups": {name: {key: float(np.mean(v)) for key, v in groups.items()} for name, groups in scores.items()},
        "configurations": {name: asdict(config) for name, config in candidates},
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"choose-{chosen.question}.md").write_text(table(scores, chosen.limit) + "\n")
    (chosen.out / f"choose-{chosen.question}.json").write_text(json.dumps(record, indent=1))
    print(table(scores, chosen.limit))


if __name__ == "__main__":
    main()
