"""Do EM aggregation and the text-guided decoder help on another hospital's images? Fundus, both ways, four networks.

    python benchmarks/emclip_ablation.py run ../shared/data WORK --seeds 0
    python benchmarks/emclip_ablation.py table WORK --out benchmarks/results

Each network is trained on one hospital's discs and cups and chosen by that hospital's validation images; then images of
the other hospital are asked. Frozen features of an image are computed once and shared by all networks. Beside Dice
stands how far pixel features of one structure are scattered, which aggregation is said to lessen.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from supervised_cases import Case, read_cases, training_rows
from supervised_runs import conditions
from torch import Tensor
from torch.nn import functional as F

from medclipsam.io.label_files import read_foreground
from medclipsam.methods.supervised import load_network
from medclipsam.methods.supervised_run import NetworkFile
from medclipsam.metrics import compare_paired, summarise
from medclipsam.metrics.overlap import dice
from medclipsam.networks.contract import Batch
from medclipsam.networks.emclip import EmClip, intra_class_variance
from medclipsam.training.data.augment import PLAIN
from medclipsam.training.registry import Request, config_of, find_method
from medclipsam.training.settings import changed
from medclipsam.training.supervised.examples import Examples, KeptFeatures, collate, grouped
from medclipsam.training.supervised.recipe import DATA
from medclipsam.training.supervised.rows import LabelledRow, read_labelled
from medclipsam.training.supervised.squares import Squares

WAYS = (("fundus_refuge", "fundus_drishti"), ("fundus_drishti", "fundus_refuge"))
"""Trained on, asked about."""
NETWORKS: Mapping[str, Mapping[str, bool]] = {
    "neither": {"aggregation": False, "text_decoder": False},
    "+EM": {"aggregation": True, "text_decoder": False},
    "+text decoder": {"aggregation": False, "text_decoder": True},
    "both": {"aggregation": True, "text_decoder": True},
}
CUP, DISC = "optic cup", "optic disc"
Facts = dict[str, Any]


def images_of(data: Path, dataset: str, splits: Sequence[str], most: int) -> list[Case]:
    """The rows of at most so many images of each split, the first of a seeded order."""
    chosen: list[Case] = []
    for split in splits:
        cases = read_cases(data, dataset, (split,))
        images = sorted({case.image for case in cases})
        kept = {images[place] for place in np.random.default_rng(0).permutation(len(images))[:most]}
        chosen += [case for case in cases if case.image in kept]
    return chosen


def train(chosen: argparse.Namespace, source: str, name: str, seed: int) -> Path:
    """The run folder of one network, trained where it is not there yet."""
    run = chosen.work / f"{source}.{name.replace(' ', '-')}.seed{seed}"
    if (run / "network.json").is_file() and (run / "done").is_file():
        return run
    method = find_method("emclip")
    own: dict[str, Any] = {**NETWORKS[name], "seed": seed, "steps": chosen.steps, "width": chosen.width}
    own |= {"copies": chosen.copies, "features": str(chosen.work / "features")}
    parts = changed(method.defaults(), own)
    table = write_table(chosen, source, ("train", "val"), chosen.train_images)
    resume = (run / "run.json").is_file()
    config = config_of("emclip", parts)
    method.train(Request(data=table, out=run, parts=parts, config=config, device="cpu", resume=resume, tell=told))
    (run / "done").write_text("")
    return run


def write_table(chosen: argparse.Namespace, dataset: str, splits: Sequence[str], most: int) -> Path:
    """A CSV of a hospital's rows."""
    cases = images_of(chosen.data, dataset, splits, most)
    rows = training_rows(chosen.data, cases, "short", 0)
    path = chosen.work / f"{dataset}.{'-'.join(splits)}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def ask(chosen: argparse.Namespace, run: Path, target: str) -> Facts:
    """Every row of another hospital: Dice on the image's own grid; scatter of each structure's pixel features."""
    file = NetworkFile.read(run)
    network = load_network(file, run, torch.device("cpu"))
    if not isinstance(network, EmClip):
        raise TypeError(f"{run.name} is a {type(network).__name__}")
    rows = read_labelled(write_table(chosen, target, ("train", "val", "test"), chosen.test_images), DATA)
    groups, squares = grouped(rows, network), Squares(network.settings.side, network.settings.fit)
    kept = KeptFeatures(chosen.work / "features", squares, network, strength=PLAIN, copies=1)
    kept.fill([], groups, lambda entry: told("encoding", int(entry["step"]), int(entry["steps"])))
    examples = Examples(groups, squares, kept=kept)
    found = [asked(network, collate([examples[0, place]]), groups[place], squares) for place in range(len(groups))]
    return {"threshold": file.presence_threshold, "validation": file.figures, "images": found}


@torch.no_grad()
def asked(network: EmClip, batch: Batch, rows: tuple[LabelledRow, ...], squares: Squares) -> Facts:
    """One image."""
    answers = network.answer(batch.features)
    maps = squares.read(rows[0]).frame.inverse(network.probability(batch)[0]).numpy()
    scores = {row.target: dice(each > 0.5, read_foreground(row.mask)) for row, each in zip(rows, maps, strict=True)}
    facts: Facts = {"image": rows[0].image.name, "dice": scores, "scatter": scatter(answers.pixels[0], batch)}
    if answers.assignments:
        facts["entropy"] = float(np.mean([float(each.entropy()) for each in answers.assignments]))
        facts["cosine"] = float(np.mean([float(each.cosine()) for each in answers.assignments]))
    return facts


def scatter(pixels: Tensor, batch: Batch) -> dict[str, float]:
    """Of cup, rim and background, and of all pixels: what a network that tells nothing apart has."""
    cells = F.adaptive_avg_pool2d(batch.masks[:, None], pixels.shape[:2])[:, 0] > 0.5
    masks = dict(zip(batch.targets, cells, strict=True))
    parts = {"cup": masks[CUP], "rim": masks[DISC] & ~masks[CUP], "background": ~masks[DISC]}
    parts["all"] = torch.ones_like(masks[CUP])
    return {name: intra_class_variance(pixels.flatten(0, 1), mask.flatten()) for name, mask in parts.items()}


def run(chosen: argparse.Namespace) -> None:
    """Train and ask whatever is not kept yet."""
    for source, target in WAYS:
        for name in NETWORKS:
            for seed in chosen.seeds:
                kept = chosen.work / f"{source}.{name.replace(' ', '-')}.seed{seed}.json"
                if kept.is_file():
                    continue
                folder = train(chosen, source, name, seed)
                facts = {"source": source, "target": target, "network": name, "seed": seed, **conditions()}
                facts["settings"] = {setting: getattr(chosen, setting) for setting in OPTIONS}
                kept.write_text(json.dumps({**facts, **ask(chosen, folder, target)}))


OPTIONS = ("steps", "width", "copies", "train_images", "test_images")


def table(chosen: argparse.Namespace) -> None:
    """Write what is kept."""
    kept = [json.loads(path.read_text()) for path in sorted(chosen.work.glob("*.json"))]
    lines = list(told_lines(kept))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "emclip-ablation.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def told_lines(kept: Sequence[Facts]) -> Iterator[str]:
    """The table, and under which conditions it holds."""
    first = kept[0]
    settings = ", ".join(f"{name} {value}" for name, value in first["settings"].items())
    seeds = sorted({facts["seed"] for facts in kept})
    yield f"{first['machine']}, {first['threads']} thread; {settings}; seeds {', '.join(map(str, seeds))}"
    yield ""
    yield (
        "| trained on | images of | network | n | Dice disc | Dice cup | minus neither (both targets) | p "
        "| scatter in cup, rim, background | as share of all | entropy | centres' cosine |"
    )
    yield "|---|---|---|---:|---|---|---:|---:|---|---:|---:|---:|"
    for source, target in WAYS:
        of_way = {name: [f for f in kept if (f["source"], f["network"]) == (source, name)] for name in NETWORKS}
        for name, facts in of_way.items():
            if facts:
                yield f"| {source} | {target} | {name} | {' | '.join(cells(facts, of_way['neither']))} |"


def cells(facts: Sequence[Facts], base: Sequence[Facts]) -> list[str]:
    """Of one network, its seeds together."""
    images = [image for fact in facts for image in fact["images"]]
    both = [float(np.mean(list(image["dice"].values()))) for image in images]
    of_base = [float(np.mean(list(image["dice"].values()))) for fact in base for image in fact["images"]]
    told_apart = ["-", "-"]
    if facts is not base and len(of_base) == len(both):
        found = compare_paired(of_base, both)
        told_apart = [f"{found.mean_difference:+.3f}", f"{found.wilcoxon_p:.3g}"]
    scatters = {part: float(np.nanmean([image["scatter"][part] for image in images])) for part in images[0]["scatter"]}
    within = [scatters[part] for part in ("cup", "rim", "background")]
    return [
        str(len(images)),
        *(interval([image["dice"][target] for image in images]) for target in (DISC, CUP)),
        *told_apart,
        ", ".join(f"{value:.3f}" for value in within),
        f"{np.mean(within) / scatters['all']:.2f}",
        *(f"{np.mean([image[name] for image in images]):.2f}" if name in images[0] else "-" for name in ASSIGNED),
    ]


ASSIGNED = ("entropy", "cosine")


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % bootstrap interval over images."""
    found = summarise(values)
    low, high = found.interval if found.interval else (float("nan"), float("nan"))
    return f"{found.mean:.3f} ({low:.3f} to {high:.3f})"


def told(stage: str, done: int, total: int) -> None:
    """Show progress."""
    print(f"\r{stage} {done}/{total} ", end="", flush=True)


def main() -> None:
    """Read the command line."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(required=True)
    one = commands.add_parser("run", help="train and ask")
    one.set_defaults(do=run)
    one.add_argument("data", type=Path, help="the folder with index.csv")
    one.add_argument("work", type=Path, help="keeps runs, features and scores")
    one.add_argument("--seeds", nargs="+", type=int, default=[0])
    one.add_argument("--steps", type=int, default=120)
    one.add_argument("--width", type=int, default=64)
    one.add_argument("--copies", type=int, default=1)
    one.add_argument("--train-images", type=int, default=120, help="at most so many of a split")
    one.add_argument("--test-images", type=int, default=40, help="at most so many of a split of the other hospital")
    other = commands.add_parser("table", help="write the table of what is kept")
    other.set_defaults(do=table)
    other.add_argument("work", type=Path)
    other.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = whole.parse_args()
    chosen.do(chosen)


if __name__ == "__main__":
    main()
