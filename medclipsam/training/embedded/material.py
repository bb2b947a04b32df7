"""What a run of the embedded model learns from: its images, their encodings, the sentences.

DATA/index.csv, captions -> images of both splits -> encodings, sentence vectors: `Prepared`
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.errors import BadInput
from medclipsam.training.data.captions import Skipped
from medclipsam.training.data.index import LabelledImage, read_index
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encoder, Encodings
from medclipsam.training.embedded.pixels import readable
from medclipsam.training.embedded.task import Lessons, prepare_lessons
from medclipsam.training.embedded.variants import Variant
from medclipsam.training.journal import Observer
from medclipsam.training.recipes import EmbeddedRecipe
from medclipsam.weights import find


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run learns from, ready."""

    training: Encodings
    validation: Encodings
    lessons: Lessons
    axes: Axes
    root: Path
    """Folder of the data."""
    pictures: Sequence[LabelledImage]
    """All training images with a target, however many are encoded; none where no pixel network learns."""
    series: int
    """Number of the series of copies and views."""
    skipped: tuple[Skipped, ...]


def read_images(
    root: Path,
    corpus: Corpus,
    recipe: EmbeddedRecipe,
    *,
    val_share: float = 0.15,
    validation: int = 0,
    only: Collection[str] = (),
) -> dict[str, list[LabelledImage]]:
    """The images of the training and the validation split, without what the recipe leaves out.

    Args:
        validation: most validation images of each folder; 0 takes all.
        only: folders that are read, and no others, captions neither; empty reads all.

    Raises:
        BadInput: no `index.csv`, or nothing to learn from.
    """
    left_out = frozenset(recipe.leave_out)
    every = [*read_index(root, val_share=val_share, seed=recipe.seed), *corpus.captioned(root)]
    read = [image for image in every if not only or image.folder in only]
    kept = [image for image in read if not left_out & {image.folder, *image.targets}]
    images = {split: [image for image in kept if image.split == split] for split in ("train", "val")}
    images["val"] = _spread(_with_targets(images["val"]), validation)
    if not any(image.targets for image in images["train"]):
        raise BadInput(f"{root} has no training image with a target", "check the columns split and target of index.csv")
    return images


def _spread(images: Sequence[LabelledImage], most: int) -> list[LabelledImage]:
    """At most so many of each folder, evenly spaced in its order; 0 keeps all."""
    if not most:
        return list(images)
    folders = defaultdict(list)
    for image in images:
        folders[image.folder].append(image)
    return [
        own[place]
        for own in folders.values()
        for place in sorted({int(at) for at in np.linspace(0, len(own) - 1, min(most, len(own)))})
    ]


def prepare(
    variants: Sequence[Variant],
    images: Mapping[str, Sequence[LabelledImage]],
    corpus: Corpus,
    encoder: Encoder,
    recipe: EmbeddedRecipe,
    *,
    axes: Axes | None = None,
    series: int = 0,
    observer: Observer | None = None,
) -> Prepared:
    """Encode the images and the sentences; what is encoded already is read.

    Args:
        variants: what the tower learns from.
        images: those of the training and the validation split.
        axes: those of the tower that training goes on from; None fits axes to the images.
        series: see `EmbeddedData`.
    """
    axes = axes or encoder.axes(variants)
    training, skipped = encoder.encode(variants, axes, observer)
    validation, more = encoder.encode([Variant(image=image) for image in images["val"]], axes, observer)
    pictures, unread = readable(encoder.root, _with_targets(images["train"]) if recipe.pixel_steps else (), observer)
    useless = {each.row: each for each in (*skipped, *more, *unread)}
    sentences = SentenceEncoder(find("minilm").folder, encoder.device)
    lessons = prepare_lessons(training.images, corpus, sentences, recipe)
    return Prepared(
        training=training,
        validation=validation,
        lessons=lessons,
        axes=axes,
        root=encoder.root,
        pictures=pictures,
        series=series,
        skipped=tuple(useless.values()),
    )


def _with_targets(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Those that were searched for a target."""
    return [image for image in images if image.targets]
