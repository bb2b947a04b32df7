"""Learns which part of the body an image shows, writes it for `medclipsam/backbones/bodies.py`, and measures it.

    python benchmarks/bodies.py ../shared/data --features RUN/features     encodes up to 25 images a folder, then learns
    python benchmarks/bodies.py ../shared/data                             learns from the encodings kept before
    python benchmarks/bodies.py ../shared/data --keep                      measures the file as it is

Encodings are those of `medclipsam train embedded`, pooled and kept in `--pooled`, so that a run that was stopped goes
on; with `--cached` no image is encoded that its features do not hold. Parts of the body are those that the corpus
names. Measured on validation images, one of each folder and all: for every target of the data that an image is not
known to show, is "cannot show it" said where the corpus says so, and nowhere else? Last, whole folders are left out of
learning in turn, where another shows the same part: a stranger's images.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from setting import machine, versions

from medclipsam.backbones.bodies import FILE, LEAST, OUT_OF_PLACE, Bodies, cells_of, pooled
from medclipsam.io.atomic import write_atomic
from medclipsam.training.data.index import LabelledImage, read_index
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.types import FloatArray
from medclipsam.weights import find

JUDGED = 3
STEPS, RATE, MOMENTUM, DECAY = 400, 0.3, 0.9, 1e-3
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Example:
    """A pooled encoding."""

    image: LabelledImage
    body: str
    vector: FloatArray


def pool(
    root: Path, corpus: Corpus, images: Sequence[LabelledImage], features: Path, *, kept: Path, cached: bool
) -> None:
    """Add the pooled encodings of images to those that are kept."""
    import torch  # noqa: PLC0415  (learning needs none)

    from medclipsam.backbones.compact_clip import load_tower  # noqa: PLC0415
    from medclipsam.training.data.feature_cache import FeatureCache  # noqa: PLC0415
    from medclipsam.training.embedded.axes import Axes  # noqa: PLC0415
    from medclipsam.training.embedded.encodings import Encoder  # noqa: PLC0415
    from medclipsam.training.embedded.variants import Variant  # noqa: PLC0415

    axes = Axes.of(load_tower(find("compact").file))
    encoder = Encoder(root, FeatureCache(features), corpus.folder, torch.device("cpu"))
    known = kept_vectors(kept)
    for number, image in enumerate(images):
        variant = Variant(image=image)
        path = None if image.image in known else encoder._path(variant, axes)
        if path and (path.is_file() or not cached):
            encodings, _ = encoder.encode([variant], axes)
            cells = encodings.read(0).features
            width, height = Image.open(root / image.image).size
            known[image.image] = pooled(cells_of((cells.float() * encodings.levels).numpy(), (height, width)))
        if number % 50 == 0 or number == len(images) - 1:
            np.savez(kept, **known)
            print(f"\r{number + 1}/{len(images)}", end="", flush=True)


def kept_vectors(kept: Path) -> dict[str, FloatArray]:
    """Pooled encodings by the path of the image."""
    return dict(np.load(kept)) if kept.is_file() else {}


def spread(images: Sequence[LabelledImage], most: int) -> list[LabelledImage]:
    """Evenly spread ones of each folder and split, in turns."""
    folders: dict[tuple[str, str], list[LabelledImage]] = {}
    for image in images:
        folders.setdefault((image.split, image.folder), []).append(image)
    some = [each[:: max(1, -(-len(each) // most))] for each in folders.values()]
    return [each[turn] for turn in range(most) for each in some if turn < len(each)]


def learned(examples: Sequence[Example], like: Bodies) -> Bodies:
    """Logistic regression; a folder counts as the square root of its images."""
    vectors = np.stack([each.vector for each in examples]).astype(np.float64)
    centre, scale = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    inputs = np.c_[(vectors - centre) / scale, np.ones(len(vectors))]
    names = sorted({each.body for each in examples})
    wanted = np.eye(len(names))[[names.index(each.body) for each in examples]]
    sizes = Counter(each.image.folder for each in examples)
    counts = np.array([sizes[each.image.folder] ** -0.5 for each in examples])
    weights = descended(inputs, wanted, counts / counts.mean())
    arrays = {"centre": centre, "scale": scale, "weights": weights}
    return replace(like, names=names, **{name: array.astype(np.float32) for name, array in arrays.items()})


def descended(inputs: Matrix, wanted: Matrix, counts: Matrix) -> Matrix:
    """(inputs, classes): the weights after gradient descent with momentum from zero."""
    weights = np.zeros((inputs.shape[1], wanted.shape[1]))
    speed = np.zeros_like(weights)
    for _ in range(STEPS):
        logits = inputs @ weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (odds / odds.sum(axis=1, keepdims=True) - wanted) * counts[:, None]
        speed = MOMENTUM * speed - RATE * (inputs.T @ error / len(inputs) + DECAY * weights)
        weights = weights + speed
    return weights


def possible(corpus: Corpus, images: Sequence[LabelledImage]) -> dict[str, frozenset[str]]:
    """Parts of the body that may show each target: those of its folders, and those that the corpus names."""
    parts: dict[str, set[str]] = {}
    for image in images:
        for target in image.targets:
            body = corpus.body(image)
            parts.setdefault(target, set()).update({body} if body else ())
    return {target: frozenset(found | corpus.concept(target).visible_in) for target, found in parts.items()}


@dataclass(kw_only=True)
class Score:
    """What was said of some images."""

    images: int = 0
    right: int = 0
    """Images of which all was right."""
    unharmed: int = 0
    """Images of which nothing was said that is wrong."""
    named: int = 0
    """Images whose part of the body was named."""
    told: Counter[tuple[bool, bool]] | None = None
    """How often a target cannot be shown, and that is said."""
    overruled: Counter[str] = field(default_factory=Counter)
    """Of targets that are shown and of those that cannot be, and "hidden" and "denied" of them by `OUT_OF_PLACE`."""

    def row(self, name: str) -> str:
        """A row of the table."""
        told, against = self.told or Counter(), self.overruled
        impossible = f"{told[True, True]}/{told[True, True] + told[True, False]}"
        maybe = f"{told[False, False]}/{told[False, False] + told[False, True]}"
        share = (told[True, True] + told[False, False]) / max(1, sum(told.values()))
        return (
            f"| {name} | {self.images} | {self.named / self.images:.3f} | {share:.3f} | {impossible} | {maybe} "
            f"| {self.unharmed / self.images:.3f} | {self.right / self.images:.3f} "
            f"| {against['denied']}/{against['cannot']} | {against['hidden']}/{against['shown']} |"
        )


def judged(bodies: Bodies, examples: Sequence[Example], targets: Sequence[str], score: Score | None = None) -> Score:
    """Ask about every target that an image is not known to show."""
    score = score or Score(told=Counter())
    for each in examples:
        shares = bodies.shares(each.vector)
        told: Counter[tuple[bool, bool]] = Counter()
        for target in targets:
            overruled = bodies.shown_instead(target, shares, OUT_OF_PLACE) is not None
            if target in each.image.targets and target not in each.image.missing:
                score.overruled += Counter(shown=1, hidden=int(overruled))
                continue
            if each.body not in bodies.possible[target]:
                score.overruled += Counter(cannot=1, denied=int(overruled))
            told[each.body not in bodies.possible[target], bodies.shown_instead(target, shares) is not None] += 1
        score.images += 1
        score.named += max(shares, key=lambda part: shares[part]) == each.body
        score.unharmed += not told[False, True]
        score.right += not told[False, True] and not told[True, False]
        score.told = (score.told or Counter()) + told
    return score


def left_out(examples: Sequence[Example], strangers: Sequence[Example], like: Bodies, targets: Sequence[str]) -> Score:
    """Each folder judged by what the others teach, where another shows the same part of the body."""
    score = Score(told=Counter())
    bodies = {each.image.folder: each.body for each in examples}
    for folder, body in sorted(bodies.items()):
        if Counter(bodies.values())[body] > 1:
            others = [each for each in examples if each.image.folder != folder]
            judged(learned(others, like), [each for each in strangers if each.image.folder == folder], targets, score)
    return score


def examples_of(
    corpus: Corpus, images: Sequence[LabelledImage], vectors: Mapping[str, FloatArray], split: str
) -> list[Example]:
    """Those of a split whose encoding and part of the body are known."""
    pairs = ((image, corpus.body(image)) for image in images if image.split == split and image.image in vectors)
    return [Example(image=image, body=body, vector=vectors[image.image]) for image, body in pairs if body]


def main() -> None:
    asked = _parser().parse_args()
    corpus = Corpus.read()
    images = [each for each in read_index(asked.data) if each.split != "test" and each.targets and corpus.body(each)]
    if asked.features:
        some = spread(images, asked.images)
        pool(asked.data, corpus, some, asked.features, kept=asked.pooled, cached=asked.cached)
    vectors = kept_vectors(asked.pooled)
    tower, nothing = load_file(find("compact").file), np.zeros(0, np.float32)
    like = Bodies(
        names=(),
        possible=possible(corpus, images),
        encoder=str(find("lite-medsam").sha256),
        mean=tower["mean"].astype(np.float32),
        axes=tower["axes"].astype(np.float32),
        centre=nothing,
        scale=nothing,
        weights=nothing,
    )
    examples, seen = (examples_of(corpus, images, vectors, split) for split in ("train", "val"))
    if not asked.keep:
        write_atomic(FILE, learned(examples, like).to_bytes())
    text = "\n".join(table(examples, seen, like, quick=asked.quick)) + "\n"
    print("\n" + text)
    if asked.out:
        write_atomic(asked.out / "bodies.md", text)


def table(examples: Sequence[Example], seen: Sequence[Example], like: Bodies, *, quick: bool) -> list[str]:
    """What the written file says of validation images, and what folders that were left out would be told."""
    bodies, targets = Bodies.read(), sorted(like.possible)
    first = list({each.image.folder: each for each in reversed(seen)}.values())
    rows = [
        judged(bodies, first, targets).row("validation, one of each folder"),
        judged(bodies, seen, targets).row("validation"),
    ]
    if not quick:
        rows.append(left_out(examples, [*seen, *_few(examples)], like, targets).row("folders left out of learning"))
    return [
        f"{machine()}, {versions('numpy')}, lite-medsam {like.encoder[:8]}. {len(examples)} training images at hand, "
        f"{len(bodies.names)} parts of the body, {len(targets)} targets; least share {LEAST}, against a map's word "
        f"{OUT_OF_PLACE}.",
        "",
        "| images | n | part named | answers right | cannot, said | may, not denied | nothing wrong said | all right "
        "| cannot, said against a map | shown, hidden by that |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]


def _few(examples: Sequence[Example]) -> list[Example]:
    """The first three of each folder."""
    taken: Counter[str] = Counter()
    few = []
    for each in examples:
        taken[each.image.folder] += 1
        few += [each] if taken[each.image.folder] <= JUDGED else []
    return few


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--features", type=Path, help="the feature cache of a training run, to encode with")
    parser.add_argument("--pooled", type=Path, default=Path("runs/bodies.npz"), help="where pooled encodings are kept")
    parser.add_argument("--images", type=int, default=25, help="of each folder")
    parser.add_argument("--cached", action="store_true", help="take no image that is not encoded yet")
    parser.add_argument("--keep", action="store_true", help="measure the file that is there")
    parser.add_argument("--quick", action="store_true", help="leave no folders out")
    parser.add_argument("--out", type=Path)
    return parser


if __name__ == "__main__":
    main()
