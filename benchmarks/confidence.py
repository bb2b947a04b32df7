"""Fits the confidence of a pseudo-label to its Dice on validation images, and shows on test images how well it holds.

    python benchmarks/confidence.py ../shared/data --out benchmarks/results

Measures masks of the validation split, fits the exponent of `medclipsam.runs.confidence` to them, and writes it with
the hashes of the weights into the one place where it lives (medclipsam/runs/confidence.json; `--keep` leaves it alone);
then measures masks of the test split. To be run after each change of the weights, and `insert_tables.py` after it: a
test compares weights, exponent and card. Masks on images without the target count with Dice 0. `--limit` images of each
folder, drawn by the seed (a larger limit adds to a smaller one); every folder and target weighs alike in the fit. What
is measured lies in `--cache`, by weights and image, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_cases import Case, read_cases
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu, spearmanr
from setting import conditions, spoken

import medclipsam
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.runs import confidence as ours
from medclipsam.types import Segmentation
from medclipsam.weights import find

PLACE = Path(ours.__file__).with_name(ours.FITTED)
REWORDED = "segment the {}"
WRONG = 0.5
"""Below this Dice a mask is wrong."""
LEAST = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
WITNESSES = ("agreement", "sam", "presence")
"""What could speak for a mask: agreement alone does; the others stand beside it in the tables."""
FEWEST = 8
"""Masks that a folder's own correlation needs."""
MOST = 4.0
"""Largest exponent."""
Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """What is known of one mask."""

    group: str
    """Folder and target."""
    image: str
    dice: float
    agreement: float
    sam: float
    presence: float
    contrast: float
    """(inside - outside) / (inside + outside) of the mean saliency."""
    wordings: float | None = None
    """Dice with the mask of the same prompt in other words; None where they were not asked."""


class Measured:
    """The masks of the images of a split, each measured once.

    Args:
        data: the folder of the development images.
        cache: a file of one JSON line for each image, to go on from.
        load: gives the segmenter; called when an image is not in the cache.
        weights: the hashes of the weights, by which the cache is good.
        reword: ask every prompt in other words too.
        without: how the names of the folders begin that are left out.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        load: Callable[[], ZeroShotSegmenter],
        weights: str,
        *,
        reword: bool,
        without: Sequence[str],
    ) -> None:
        self._data, self._cache, self._load, self._reword = data, cache, load, reword
        self._without = tuple(without)
        self._key = f"{weights}{', reworded' if reword else ''}"
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.touch()
        lines = [json.loads(line) for line in cache.read_text().splitlines()]
        self._known = {line["image"]: line["masks"] for line in lines if line["key"] == self._key}

    def masks(self, split: str, limit: int, seed: int) -> list[Mask]:
        """Every mask that is found on the chosen images."""
        cases = [case for case in read_cases(self._data, split, 0) if not case.dataset.startswith(self._without)]
        cases, found = drawn(cases, limit, seed), []
        for number, case in enumerate(cases, 1):
            if case.image not in self._known:
                self._keep(case)
            found += [Mask(**mask) for mask in self._known[case.image]]
            print(f"\r{split} {number}/{len(cases)}", end="", flush=True)
        print()
        return found

    def _keep(self, case: Case) -> None:
        self._known[case.image] = [asdict(mask) for mask in self._ask(self._load(), case)]
        with self._cache.open("a") as stream:
            stream.write(json.dumps({"key": self._key, "image": case.image, "masks": self._known[case.image]}) + "\n")

    def _ask(self, segmenter: ZeroShotSegmenter, case: Case) -> Iterator[Mask]:
        image = medclipsam.read_image(self._data / case.image)
        for target, path in case.masks.items():
            result = segmenter.segment(image, target)
            if not result.found:
                continue
            other = segmenter.segment(image, REWORDED.format(target), always=True).mask if self._reword else None
            yield Mask(
                group=f"{case.dataset}: {target}",
                image=case.image,
                dice=dice(result.mask, read_foreground(self._data / path)),
                agreement=ours.agreement(result.evidence, result.mask),
                sam=float(np.clip(np.mean(result.scores), 0, 1)),
                presence=float(np.clip(result.presence or 0, 0, 1)),
                contrast=contrast(result),
                wordings=None if other is None else dice(result.mask, other),
            )


def drawn(cases: Sequence[Case], limit: int, seed: int) -> list[Case]:
    """The first images of each folder in an order that the seed decides, folder after folder in turn."""
    folders: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        folders[case.dataset].append(case)
    generator = np.random.default_rng(seed)
    mixed = [[members[index] for index in generator.permutation(len(members))] for members in folders.values()]
    return [members[turn] for turn in range(limit) for members in mixed if turn < len(members)]


def contrast(result: Segmentation) -> float:
    """How far the mean saliency inside the mask exceeds that outside, as a share of their sum."""
    inside, outside = (float(result.saliency[part].mean()) for part in (result.mask, ~result.mask))
    return max(0.0, (inside - outside) / (inside + outside))


def column(masks: Sequence[Mask], name: str) -> Values:
    """One value of every mask."""
    return np.array([getattr(mask, name) for mask in masks], np.float64)


def groups_of(masks: Sequence[Mask]) -> Mapping[str, Values]:
    """The indices of each group's masks."""
    found = defaultdict(list)
    for index, mask in enumerate(masks):
        found[mask.group].append(index)
    return {name: np.array(found[name]) for name in sorted(found)}


def sure(masks: Sequence[Mask], exponents: Mapping[str, float]) -> Values:
    """The confidence with these exponents."""
    return np.prod([column(masks, name) ** power for name, power in exponents.items()], axis=0)


def before(masks: Sequence[Mask]) -> Values:
    """The confidence of the first release: the geometric mean of contrast, SAM and presence."""
    return sure(masks, {"contrast": 1 / 3, "sam": 1 / 3, "presence": 1 / 3})


def fit(masks: Sequence[Mask], names: Sequence[str]) -> dict[str, float]:
    """The exponents from 0 to `MOST` with the least mean squared distance to Dice, every group alike."""
    seen = np.log(np.clip([column(masks, name) for name in names], 1e-6, 1))
    weight = np.zeros(len(masks))
    for rows in groups_of(masks).values():
        weight[rows] = 1 / len(rows)
    truth = column(masks, "dice")

    def loss(powers: Values) -> float:
        return float(np.average((np.exp(powers @ seen) - truth) ** 2, weights=weight))

    found = minimize(loss, np.ones(len(names)), bounds=[(0, MOST)] * len(names), method="L-BFGS-B")
    return {name: round(float(power), 2) for name, power in zip(names, found.x, strict=True)}


def left_out(masks: Sequence[Mask], names: Sequence[str]) -> Values:
    """The confidence of each folder's masks by exponents that were fitted on the other folders."""
    found = np.zeros(len(masks))
    for folder in sorted({mask.group.split(":")[0] for mask in masks}):
        inside = np.array([mask.group.startswith(f"{folder}:") for mask in masks])
        others = [mask for mask, own in zip(masks, inside, strict=True) if not own]
        found[inside] = sure(masks, fit(others, names))[inside]
    return found


def distance(values: Values, truth: Values) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def spearman(values: Values, truth: Values) -> float:
    """NaN where there are too few masks."""
    if len(values) < FEWEST or np.ptp(values) == 0:
        return float("nan")
    return float(spearmanr(values, truth).statistic)


def auroc(values: Values, truth: Values) -> float:
    """The share of pairs of a wrong and a right mask in which the wrong one has the lower value; ties count half."""
    wrong, right = values[truth < WRONG], values[truth >= WRONG]
    if not (len(wrong) and len(right)):
        return float("nan")
    return float(mannwhitneyu(right, wrong).statistic) / (len(wrong) * len(right))


def scored(masks: Sequence[Mask], values: Values) -> tuple[float, float, float, float]:
    """Spearman over all masks, its mean over groups, AUROC of wrong masks, root mean squared distance to Dice."""
    truth = column(masks, "dice")
    own = [spearman(values[rows], truth[rows]) for rows in groups_of(masks).values() if len(rows) >= FEWEST]
    return (
        spearman(values, truth),
        float(np.nanmean(own or [np.nan])),
        auroc(values, truth),
        distance(values, truth),
    )


def compared(masks: Sequence[Mask], candidates: Mapping[str, Values]) -> Iterator[str]:
    """One row for each way to be sure."""
    yield "| confidence | Spearman, all | Spearman, mean of folders | AUROC of Dice < 0.5 | distance to Dice (RMS) |"
    yield "|---|---|---|---|---|"
    for name, values in candidates.items():
        if not np.isnan(values).any():
            yield f"| {name} | {' | '.join(map(_shown, scored(masks, values)))} |"


def by_folder(masks: Sequence[Mask], values: Values) -> Iterator[str]:
    """One row for each folder and target."""
    truth, first = column(masks, "dice"), before(masks)
    yield "| images | masks | Dice | confidence | Dice < 0.5 | Spearman | before |"
    yield "|---|---|---|---|---|---|---|"
    for name, rows in groups_of(masks).items():
        right = [_shown(spearman(each[rows], truth[rows])) for each in (values, first)]
        means = f"{truth[rows].mean():.3f} | {values[rows].mean():.3f} | {np.mean(truth[rows] < WRONG):.0%}"
        yield f"| {name} | {len(rows)} | {means} | {' | '.join(right)} |"


def kept(masks: Sequence[Mask], values: Values) -> Iterator[str]:
    """What `--min-confidence` keeps; beside it the same share of masks kept by the confidence of the first release."""
    truth, first = column(masks, "dice"), before(masks)
    yield "| --min-confidence | kept | Dice of the kept | of them Dice < 0.5 | Dice of the rest | as many, before |"
    yield "|---|---|---|---|---|---|"
    for least in LEAST:
        stays = values >= least
        as_many = np.argsort(-first, kind="stable")[: stays.sum()]
        wrong = f"{np.mean(truth[stays] < WRONG):.1%}" if stays.any() else "-"
        means = [_shown(part.mean()) if part.size else "-" for part in (truth[stays], truth[~stays], truth[as_many])]
        yield f"| {least:.1f} | {stays.mean():.0%} | {means[0]} | {wrong} | {means[1]} | {means[2]} |"


def _shown(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def markdown(facts: Mapping[str, Any], val: Sequence[Mask], test: Sequence[Mask]) -> str:
    """All tables."""
    powers = {"agreement": float(facts["exponent"])}
    singles = {name: column(val, name) for name in ("contrast", "agreement", "sam", "presence", "wordings")}
    choices = {
        **singles,
        "before": before(val),
        "ours": sure(val, powers),
        "ours, without the folder": left_out(val, ["agreement"]),
        "with SAM and presence, without the folder": left_out(val, WITNESSES),
    }
    shown = {"before": before(test), "agreement alone": column(test, "agreement"), "ours": sure(test, powers)}
    lines = [
        f"Preset `embedded`, up to {facts['limit']} images of each folder ({facts['test_limit']} of the test split); "
        f"folders left out: {', '.join(f'{start}*' for start in facts['without']) or 'none'}. {spoken(facts)}. "
        f"confidence = agreement^{facts['exponent']:g}, fitted on the validation split. Before: geometric mean of "
        "contrast, SAM, presence.",
        "",
        f"Test split, {len(test)} masks:",
        "",
        *compared(test, shown),
        "",
        *kept(test, sure(test, powers)),
        "",
        *by_folder(test, sure(test, powers)),
        "",
        f"Validation split, {len(val)} masks; the last rows judge each folder by exponents fitted on the others:",
        "",
        *compared(val, choices),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=15, help="images of each folder")
    parser.add_argument("--test-limit", type=int, help="images of each folder of the test split, if not as many")
    parser.add_argument("--reword", action="store_true", help="also measure the agreement with a second wording")
    parser.add_argument("--keep", action="store_true", help="keep the exponent of confidence.json")
    parser.add_argument("--without", nargs="*", default=["broad_"], help="folders that begin so, which nobody taught")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("runs/confidence.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    facts = conditions(chosen.seed, {name: find(name).sha256 for name in ("compact", "lite-medsam", "minilm")})
    load = cache(lambda: medclipsam.load("embedded", device="cpu", seed=chosen.seed))
    measured = Measured(
        chosen.data, chosen.cache, load, str(facts["weights"]), reword=chosen.reword, without=chosen.without
    )
    val = measured.masks("val", chosen.limit, chosen.seed)
    facts |= {
        "without": chosen.without,
        "exponent": ours.exponent() if chosen.keep else fit(val, ["agreement"])["agreement"],
        "limit": chosen.limit,
        "test_limit": chosen.test_limit or chosen.limit,
    }
    if not chosen.keep:
        PLACE.write_text(json.dumps({**facts, "masks": len(val)}, indent=2) + "\n")
    test = measured.masks("test", chosen.test_limit or chosen.limit, chosen.seed)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "confidence.md").write_text(markdown(facts, val, test))
    masks = {"val": [asdict(mask) for mask in val], "test": [asdict(mask) for mask in test]}
    (chosen.out / "confidence.json").write_text(json.dumps({"facts": facts, **masks}, indent=1) + "\n")
    print(markdown(facts, val, test))


if __name__ == "__main__":
    main()
