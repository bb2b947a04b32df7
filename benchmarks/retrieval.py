"""Measures how fine-tuning on captions helps an image find its caption: the embedded model before and after.

    python benchmarks/retrieval.py ../shared/data/captions_medpix --features runs/medpix --runs runs/retrieval

Retrieval among 50 pairs of the table's test split, top-1 and top-2, both directions, 5 shuffles (MedCLIP-SAMv2, section
4.2). Training sees the train split alone; the val split chooses the step whose weights are kept. Every image is encoded
once, for all runs and all later calls with the same FEATURES; a run that is finished is not repeated. --limit TRAIN VAL
cuts these splits to so many pairs, drawn by a hash of their images' names, where an hour of encoding is too long.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from setting import conditions, spoken

from medclipsam.training.data.captions import Captions, Pair, read_captions, split_pairs
from medclipsam.training.journal import Entry
from medclipsam.training.recipes import CLIP_RECIPES, ClipRecipe
from medclipsam.training.tasks.encoders import compact_encoder
from medclipsam.training.tasks.finetune_clip import FinetuneClip, finetune
from medclipsam.training.tasks.retrieval import MeanStd, Retrieval
from medclipsam.weights.compact import compact_weights

LOSSES = ("infonce", "dcl", "hn-nce", "dhn-nce")
FIGURES = ("image_to_text_top1", "image_to_text_top2", "text_to_image_top1", "text_to_image_top2")
Scores = Mapping[str, MeanStd]
console = Console(stderr=True)


def variants(blocks: int) -> dict[str, ClipRecipe]:
    """What learns: the pooling alone, as is the default, or the text head as well; the blocks never."""
    kept = CLIP_RECIPES["embedded"]
    return {"pooling": kept, "pooling, text head": kept.changed(keep_map=False, freeze_image_blocks=blocks)}


def score(weights: Path | None, pairs: Sequence[Pair], features: Path, folder: Path) -> Scores:
    """Each figure of a run's weights, or of the preset's own: mean and deviation over the shuffles."""
    task = FinetuneClip(compact_encoder(weights), pairs, (), CLIP_RECIPES["embedded"], features=features)
    task.begin(folder, tell)
    task.model.eval()
    with torch.no_grad():
        return Retrieval().evaluate(*task.embed(task.data))


def limited(captions: Captions, train: int, val: int) -> Captions:
    """The same test pairs, and so many of the others."""
    splits = split_pairs(captions.pairs)
    return Captions(pairs=(*_drawn(splits.train)[:train], *_drawn(splits.val)[:val], *splits.test))


def _drawn(pairs: Sequence[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: hashlib.sha256(Path(pair.image.name).name.encode()).hexdigest())


def train(captions: Captions, recipe: ClipRecipe, features: Path, run: Path) -> int:
    """One run, or the rest of it; the step whose weights were kept."""
    encoder = compact_encoder()
    return finetune(
        encoder, captions, run, recipe, device="cpu", resume=True, save_every=16, features=features, observer=tell
    ).best_step


def tell(entry: Entry) -> None:
    """Say where a long run is."""
    if entry["kind"] == "validation" or entry["step"] % 100 == 0:
        console.print(f"{entry['kind']} {entry['step']}/{entry['steps']} {entry.get('top1', '')}")


def over_seeds(runs: Sequence[Scores]) -> dict[str, MeanStd]:
    """Mean and deviation over seeds of the mean over the shuffles."""
    columns = {name: [run[name].mean for run in runs] for name in FIGURES}
    return {name: MeanStd(float(np.mean(each)), float(np.std(each, ddof=1))) for name, each in columns.items()}


def table(rows: Mapping[tuple[str, str], Mapping[str, MeanStd]], facts: Mapping[str, object]) -> str:
    """What README and model card quote."""
    lines = [
        f"Shares in percent, among {facts['candidates']} of {facts['test']} test pairs of `captions_medpix`, "
        f"5 shuffles; trained on {facts['train']} pairs, chosen by {facts['val']}. After: mean +/- deviation over "
        f"seeds {facts['seeds']}; before: over the shuffles. {spoken(facts)}.",
        "",
        "| loss | what learns | image to text, top-1 | top-2 | text to image, top-1 | top-2 |",
        "|---|---|---|---|---|---|",
    ]
    for (loss, learns), figures in rows.items():
        cells = " | ".join(f"{100 * figures[name].mean:.1f} +/- {100 * figures[name].std:.1f}" for name in FIGURES)
        lines.append(f"| {loss} | {learns} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with captions.csv")
    parser.add_argument("--features", type=Path, required=True, help="where the encodings lie or will lie")
    parser.add_argument("--runs", type=Path, required=True, help="where the runs lie or will lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="at least two")
    parser.add_argument("--limit", type=int, nargs=2, metavar=("TRAIN", "VAL"), help="pairs of these splits; else all")
    parser.add_argument("--pooling-only", action="store_true", help="half the runs: not the text head as well")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    captions = read_captions(chosen.data / "captions.csv", chosen.data)
    captions = limited(captions, *chosen.limit) if chosen.limit else captions
    splits = split_pairs(captions.pairs)
    before = score(None, splits.test, chosen.features, chosen.runs)
    rows: dict[tuple[str, str], Mapping[str, MeanStd]] = {("before", ""): before}
    record = {"before": before}
    asked = variants(compact_encoder().network.shape.blocks)
    for learns, recipe in list(asked.items())[: 1 if chosen.pooling_only else None]:
        for loss in LOSSES:
            scores = []
            for seed in chosen.seeds:
                name = f"{loss} {learns} {seed}"
                run = chosen.runs / name.replace(", ", "-").replace(" ", "-")
                console.print(name)
                train(captions, recipe.changed(loss=loss, seed=seed), chosen.features, run)
                scores.append(score(run, splits.test, chosen.features, chosen.runs))
                record[name] = scores[-1]
            rows[loss, learns] = over_seeds(scores)
    facts = {
        "candidates": Retrieval().batch,
        "seeds": ", ".join(map(str, chosen.seeds)),
        **{name: len(getattr(splits, name)) for name in ("train", "val", "test")},
        **conditions(min(chosen.seeds), {"compact": compact_weights()[1]}),
        "recipe": CLIP_RECIPES["embedded"].as_dict(),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "retrieval.md").write_text(table(rows, facts))
    scores_by_run = {name: {figure: value._asdict() for figure, value in each.items()} for name, each in record.items()}
    (chosen.out / "retrieval.json").write_text(json.dumps({"facts": facts, "scores": scores_by_run}, indent=1) + "\n")
    print(table(rows, facts))


if __name__ == "__main__":
    main()
