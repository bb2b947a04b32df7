"""Chooses settings of training by strangers: how good is the model on a source that it never saw?

    python benchmarks/held_out.py ../shared/data runs/left-out --set features=DIR --set steps=600 --set pixel_steps=0
    python benchmarks/held_out.py ../shared/data runs/left-out --set features=DIR --only other_chest_ct

A source is a folder of the data: a hospital, a scanner or a data set. Each that shares a target with another one is
left out in turn: `medclipsam train embedded` learns from all others (RUNS/SOURCE, with every `--set` of that command),
and the source's images are asked for the targets that the others taught. Its test images are not, so that they stay
unseen by any choice. Settings are compared by the mean over left-out sources; then the shipped weights learn from all.
With `--set weights=FILE` each fold goes on from weights, and sources that these learned from are no strangers.

Every fold goes on where it was stopped, and one that is finished is read; `--only` runs some, and the table names those
that are still to come. Dice is that of the dense map alone (128 x 128 cells, no Segment Anything), with the thresholds
that the other sources chose. Encodings are shared by `features=FOLDER`: one image costs one encoding for all folds.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_cases import spread
from judging import digest_of
from setting import machine, versions

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.training.data.index import LabelledImage, read_index
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.recipes import EmbeddedData, EmbeddedRecipe
from medclipsam.training.registry import Request, find_method
from medclipsam.training.settings import Parts, changed, part_of, read_pairs, to_toml
from medclipsam.weights.targets import targets_beside

SCORES = "left-out.json"
TITLE = "a fold of benchmarks/held_out.py"


def sources(images: Iterable[LabelledImage], corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """Folder -> those of its targets that training images of another folder show; folders without one are no fold."""
    shown: dict[str, set[str]] = defaultdict(set)
    taught: dict[str, set[str]] = defaultdict(set)
    for image in images:
        if image.folder in corpus.folders:
            there = set(image.targets) - set(image.missing)
            shown[image.folder] |= there
            if image.split == "train":
                taught[image.folder] |= there
    found = {}
    for folder, targets in sorted(shown.items()):
        others = set().union(*(taught[other] for other in taught if other != folder))
        found[folder] = tuple(sorted(targets & others))
    return {folder: shared for folder, shared in found.items() if shared}


def unseen(known: Mapping[str, tuple[str, ...]], weights: str) -> dict[str, tuple[str, ...]]:
    """The sources that the weights to start from did not learn from; all of them without such weights.

    Raises:
        BadInput: the weights do not say what they learned from.
    """
    if not weights:
        return dict(known)
    targets = targets_beside(Path(weights))
    if targets is None:
        raise BadInput(
            f"{weights} does not say what it learned from", "start from scratch, or put targets.json beside it"
        )
    seen = {kind for target in targets for kind in target.images}
    return {source: shared for source, shared in known.items() if source.replace("_", " ") not in seen}


def strangers(images: Iterable[LabelledImage], source: str, limit: int) -> list[LabelledImage]:
    """The images of a left-out source that are asked: not its test images; evenly spread, 0 takes all."""
    return spread([image for image in images if image.folder == source and image.split != "test"], limit)


def fold(data: Path, runs: Path, source: str, parts: Parts, device: str) -> Path:
    """Train without a source, or go on, or do nothing where it is done; the folder of the run.

    Raises:
        BadInput: the folder holds a run of other settings.
    """
    run, parts = runs / source, changed(parts, {"leave_out": (source,)})
    text = to_toml(parts, TITLE)
    if (run / "config.toml").is_file() and (run / "config.toml").read_text() != text:
        raise BadInput(f"{run} holds a run of other settings", "give another folder of runs")
    if not (run / "compact.safetensors").is_file():
        resume = (run / "run.json").is_file()
        request = Request(data=data, out=run, parts=parts, config=text, device=device, resume=resume)
        print("\n".join(find_method("embedded").train(request).told))
    return run


def score(
    data: Path, run: Path, images: Sequence[LabelledImage], targets: Sequence[str], settings: EmbeddedData
) -> list[dict[str, Any]]:
    """For each target: Dice and share found on the left-out images, and Dice on the sources that the run saw."""
    import torch  # noqa: PLC0415  (slow to load, and tables are made without it)

    from medclipsam.backbones.compact_clip import load_tower  # noqa: PLC0415
    from medclipsam.backbones.minilm import SentenceEncoder  # noqa: PLC0415
    from medclipsam.training.data.feature_cache import FeatureCache  # noqa: PLC0415
    from medclipsam.training.embedded.axes import Axes  # noqa: PLC0415
    from medclipsam.training.embedded.calibration import judge  # noqa: PLC0415
    from medclipsam.training.embedded.encodings import Encoder  # noqa: PLC0415
    from medclipsam.training.embedded.make import FEATURES, FIGURES  # noqa: PLC0415
    from medclipsam.training.embedded.variants import Variant  # noqa: PLC0415
    from medclipsam.weights import find  # noqa: PLC0415
    from medclipsam.weights.compact import compact_weights  # noqa: PLC0415

    corpus = Corpus.read(Path(settings.corpus) if settings.corpus else None)
    cache = FeatureCache(Path(settings.features) if settings.features else run / FEATURES)
    encoder = Encoder(data, cache, corpus.folder, torch.device("cpu"))
    variants = [Variant(image=image) for image in images]
    start = Path(settings.weights) if settings.weights else None
    axes = Axes.of(load_tower(compact_weights(start)[0])) if start else encoder.axes(variants)
    encodings, _ = encoder.encode(variants, axes)
    tower, short = load_tower(compact_weights(run)[0]).eval(), SentenceEncoder(find("minilm").folder).encode(targets)
    home = json.loads((run / FIGURES).read_text())["dice_by_group"]
    return scores(judge(tower, encodings, targets, short, corpus), home)


def scores(judged: Iterable[Any], home: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row for each folder and target; the thresholds lie at zero, where training put them.

    Args:
        judged: what `calibration.judge` says of left-out images.
        home: Dice of `FOLDER: TARGET` on validation images of the sources that the run saw.
    """
    from medclipsam.training.embedded.calibration import group_dice  # noqa: PLC0415  (torch is slow to load)

    cases = [case for case in judged if case.present]
    rows = []
    for group, dice in sorted(group_dice(cases).items()):
        folder, _, target = group.partition(": ")
        seen = [value for name, value in home.items() if name.partition(": ")[2] == target]
        rows.append(
            {
                "source": folder,
                "target": target,
                "n": len(dice),
                "dice": float(np.mean(dice)),
                "found": float(np.mean([case.presence >= 0 for case in cases if case.group == group])),
                "home": float(np.mean(seen)) if seen else None,
            }
        )
    return rows


def overall(rows: Sequence[Mapping[str, Any]]) -> float:
    """The number to choose by: mean over sources of the mean over their targets; NaN of none."""
    by_source: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_source[row["source"]].append(row["dice"])
    return float(np.mean([np.mean(values) for values in by_source.values()])) if by_source else float("nan")


def table(rows: Sequence[Mapping[str, Any]], missing: Sequence[str], recipe: EmbeddedRecipe, more: str) -> str:
    """One row for each left-out source and target."""
    lines = [
        f"Dense map alone, on images of the left-out source that are not for testing; {recipe.steps} steps of "
        f"the tower and {recipe.pixel_steps} of its pixel network, of {recipe.batch_size} images, seed {recipe.seed}; "
        f"{more}.",
        "",
        "| left out | target | n | never saw the source: Dice (found) | the same run on sources that it saw | fall |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        home = f"{row['home']:.3f} | {row['home'] - row['dice']:+.3f}" if row["home"] is not None else "- | -"
        lines.append(
            f"| {row['source']} | {row['target']} | {row['n']} | {row['dice']:.3f} ({row['found']:.0%}) | {home} |"
        )
    count = len({row["source"] for row in rows})
    lines += ["", f"Mean over {count} left-out sources: {overall(rows):.3f}."]
    return "\n".join([*lines, *(["", f"Not run: {', '.join(missing)}."] if missing else [])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv")
    parser.add_argument("runs", type=Path, help="gets a folder for each left-out source")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], help="key=value of `medclipsam train embedded`"
    )
    parser.add_argument("--steps", type=int, help="the same as --set steps=N")
    parser.add_argument(
        "--only", action="append", default=[], metavar="SOURCE", help="a source to leave out; repeat it"
    )
    parser.add_argument(
        "--images", type=int, default=24, help="images of a left-out source that are asked; 0 takes all"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    defaults = find_method("embedded").defaults()
    steps = [f"steps={chosen.steps}"] if chosen.steps else []
    parts = changed(defaults, read_pairs([*chosen.sets, *steps], defaults))
    settings, images = part_of(parts, EmbeddedData), read_index(chosen.data)
    known = unseen(sources(images, Corpus.read(Path(settings.corpus) if settings.corpus else None)), settings.weights)
    unknown = sorted(set(chosen.only) - known.keys())
    if unknown:
        raise BadInput(f"{unknown[0]} is no stranger that shares a target", f"there are {', '.join(known)}")
    for source in chosen.only or known:
        run = fold(chosen.data, chosen.runs, source, parts, chosen.device)
        if not (run / SCORES).is_file():
            asked = strangers(images, source, chosen.images)
            rows = score(chosen.data, run, asked, known[source], settings)
            write_atomic(run / SCORES, json.dumps(rows, indent=1) + "\n")
        write(chosen.runs, chosen.out, chosen.data, known, parts)
    print((chosen.out / "held-out.md").read_text())


def write(runs: Path, out: Path, data: Path, known: Iterable[str], parts: Parts) -> None:
    """The tables of the folds that are done."""
    files = {source: runs / source / SCORES for source in known}
    rows = [row for file in files.values() if file.is_file() for row in json.loads(file.read_text())]
    missing = [source for source, file in files.items() if not file.is_file()]
    more = f"{machine()}, {versions('torch', 'medclipsam')}, data index.csv {digest_of(data / 'index.csv')}"
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "settings": to_toml(parts, TITLE),
        "mean": overall(rows) if rows else None,
        "not_run": missing,
        "rows": rows,
    }
    write_atomic(out / "held-out.json", json.dumps(record, indent=1) + "\n")
    write_atomic(out / "held-out.md", table(rows, missing, part_of(parts, EmbeddedRecipe), more))


if __name__ == "__main__":
    main()
