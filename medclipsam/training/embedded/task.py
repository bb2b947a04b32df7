"""The task by which the shared loop trains the embedded model: contrast between image features and sentences.

Every step asks a batch of encoded images a batch of sentences at once: each cell and each image learn the known answers
(`answers`), and DHN-NCE (MedCLIP-SAMv2, eq. 7-13) draws pooled images and their captions together. Which sentences are
asked, how each image is moved and what noise it gets depend on the seed, the step and the image alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.compact import SENTENCE, CompactTower, strokes_of
from medclipsam.backbones.compact_clip import to_bytes
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.io.atomic import write_atomic
from medclipsam.runtime import generator_for
from medclipsam.training import distributed
from medclipsam.training.data.feature_cache import digest_of_weights
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.data.sampling import Key, Keyed
from medclipsam.training.embedded.answers import (
    Answers,
    answers,
    dense_loss,
    move,
    presence_loss,
    random_moves,
)
from medclipsam.training.embedded.calibration import best_shift, judge, macro_dice
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encodings, as_pixels
from medclipsam.training.embedded.texts import Text, TextBank, build_bank
from medclipsam.training.embedded.variants import more_copies
from medclipsam.training.journal import Observer
from medclipsam.training.losses import HardNegativeLoss
from medclipsam.training.recipes import EmbeddedRecipe

SAME_CAPTION = 0.9
"""Captions whose sentence vectors have a higher cosine are no negatives of each other."""
TOWER = "tower.safetensors"
"""The best tower so far, before its heads are learned."""


@dataclass(frozen=True)
class Lessons:
    """The sentences of a run, and the frozen vectors of all of them, encoded once and kept on the CPU."""

    corpus: Corpus
    bank: TextBank
    sentences: Tensor
    """(len(bank.texts), 384)."""
    captions: Tensor
    """(n, 384): one caption for every training image."""
    names: tuple[str, ...]
    """The targets."""
    short: Tensor
    """(len(names), 384): their names as sentences."""


def prepare_lessons(
    images: Sequence[LabelledImage], corpus: Corpus, sentences: SentenceEncoder, recipe: EmbeddedRecipe
) -> Lessons:
    """Write out all sentences that a run asks of its training images, and encode them."""
    generator = np.random.default_rng(recipe.seed)
    modalities = {target: image.modality for image in images for target in image.targets}
    bank = build_bank(corpus, modalities, generator, frozenset(recipe.leave_out))
    names = tuple(sorted(bank.by_target))
    return Lessons(
        corpus,
        bank,
        sentences.encode([text.sentence for text in bank.texts]).cpu(),
        sentences.encode(captions_of(images, corpus, generator)).cpu(),
        names,
        sentences.encode(list(names)).cpu(),
    )


def teach_words(tower: CompactTower, lessons: Lessons) -> None:
    """Let a tower know the words of a run."""
    kept, bank = lessons.bank.kept, lessons.bank
    tower.know(lessons.sentences[kept], bank.named(lessons.names)[kept], bank.sides[kept])


def captions_of(images: Sequence[LabelledImage], corpus: Corpus, generator: np.random.Generator) -> list[str]:
    """A caption for every image: its own, or one made of a target and the modality."""
    lines = []
    for image in images:
        modality = generator.choice(corpus.words_for(image.modality))
        shown = [target for target in image.targets if target not in image.missing]
        if image.caption or not image.targets:
            lines.append(image.caption or str(modality))
            continue
        concept = corpus.concept(str(generator.choice(shown or image.targets)))
        lines.append(f"{modality} {'showing' if shown else 'without'} {generator.choice(concept.wordings)}")
    return lines


class Asked(NamedTuple):
    """Images of one step."""

    step: int
    rows: tuple[int, ...]
    features: Tensor
    """(B, 64, 64, CHANNELS) in int8."""
    pixels: Tensor
    """(B, 256, 256, 3) in 0..255."""
    masks: tuple[Tensor, ...]
    """(targets, 128, 128) coverage of each image, in 0..255."""


class EncodedImages:
    """Encodings as the loop draws them."""

    def __init__(self, encodings: Encodings) -> None:
        self._encodings = encodings

    def __len__(self) -> int:
        return len(self._encodings)

    def __getitem__(self, key: Key) -> Asked:
        """The image of a (step, row)."""
        step, row = key
        features, pixels, masks = self._encodings.read(row)
        return Asked(step, (row,), features[None], pixels[None], (masks,))


def stacked(examples: Sequence[Asked]) -> Asked:
    """Stack images."""
    features, pixels = (torch.cat(parts) for parts in zip(*((e.features, e.pixels) for e in examples), strict=True))
    rows = tuple(row for example in examples for row in example.rows)
    return Asked(examples[0].step, rows, features, pixels, tuple(mask for each in examples for mask in each.masks))


class Looked(NamedTuple):
    """What a tower makes of a batch."""

    dense: Tensor
    """Logits (B, K, 1, 64, 64)."""
    outline: Tensor
    """(B, 128, 128, outline)."""
    asked: Tensor
    """(K, outline): what each text looks for in it."""
    pooled: Tensor
    """(B, embedding)."""
    captions: Tensor
    """(B, embedding)."""


Look = Callable[[CompactTower, Tensor, Tensor, Tensor, Tensor], Looked]


def look(tower: CompactTower, features: Tensor, pixels: Tensor, sentences: Tensor, captions: Tensor) -> Looked:
    """The whole pass over a batch."""
    tokens = tower.tokens(features, tower.shape.blocks)
    pooled = tower.pool(tokens)
    seen = tower.own(tokens, features, pixels)
    text, caption = tower.embed_text(sentences).float(), tower.embed_text(captions)
    with torch.autocast(features.device.type, enabled=False):
        dense, asked = tower.dense_logits(seen.cells.float(), text), tower.outline.asked(text)
        return Looked(dense, seen.outline.float(), asked, pooled.float(), caption.float())


class EmbeddedNetwork(nn.Module):
    """The whole pass in one `forward`, so that gradients can be averaged over processes."""

    def __init__(self, tower: CompactTower, compiled: bool = False) -> None:
        super().__init__()
        self.tower = tower
        self._look: Look = torch.compile(look) if compiled else look

    def forward(self, features: Tensor, pixels: Tensor, sentences: Tensor, captions: Tensor) -> Looked:
        """See `look`."""
        return self._look(self.tower, features, pixels, sentences, captions)


class EmbeddedTask:
    """The task of `loop.fit`.

    Args:
        tower: learns all but its level, which is learned last (`heads`).
        training: encodings to learn from.
        validation: encodings to choose the best weights by; where none has a target, the last weights are kept.
    """

    collate = staticmethod(stacked)
    score = "dice"

    def __init__(
        self,
        tower: CompactTower,
        training: Encodings,
        validation: Encodings,
        lessons: Lessons,
        recipe: EmbeddedRecipe,
    ) -> None:
        teach_words(tower, lessons)
        tower.level.requires_grad_(False)
        self.tower = tower
        self.model: nn.Module = EmbeddedNetwork(tower, recipe.compiled)
        self.data: Keyed = EncodedImages(training)
        self.weights: Sequence[float] | None = sampling_weights(training.images, lessons.corpus)
        self._images, self._levels, self._validation = training.images, training.levels, validation
        self._lessons, self._recipe = lessons, recipe
        parts = (
            digest_of_weights(tower.state_dict().values()),
            training.name,
            validation.name,
            *(text.sentence for text in lessons.bank.texts),
        )
        self.fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Nothing to do: all is encoded."""

    def loss(self, model: nn.Module, batch: Asked) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of the whole batch over all processes."""
        device = next(self.model.parameters()).device
        images = [self._images[row] for row in batch.rows]
        drawn, sentences = ask(self._lessons, images, batch.step, self._recipe, device)
        texts = [self._lessons.bank.texts[index] for index in drawn]
        features, pixels, truth = self._moved(batch, texts, device)
        captions = self._lessons.captions[list(batch.rows)].to(device)
        looked = model(features, pixels, sentences.to(device), captions)
        with torch.autocast(device.type, enabled=False):
            losses = self._losses(looked, captions, truth.to(device).gathered())
            total = losses["dense"] + losses["presence"] + self._recipe.contrast_weight * losses["contrast"]
        return total, {name: loss.item() for name, loss in losses.items()}

    def validate(self) -> Mapping[str, float]:
        """Dice of the dense maps, mean over folders and targets, at the best of one threshold for all."""
        device = next(self.model.parameters()).device
        lessons = self._lessons
        with torch.autocast(device.type, enabled=False):
            judged = list(judge(self.tower, self._validation, lessons.names, lessons.short, lessons.corpus))
        if not any(case.present for case in judged):
            return {}
        return {"dice": macro_dice(judged, best_shift(judged))}

    def export(self, folder: Path) -> None:
        """Write the tower, its heads not yet learned."""
        write_atomic(folder / TOWER, to_bytes(self.tower))

    def _moved(self, batch: Asked, texts: Sequence[Text], device: torch.device) -> tuple[Tensor, Tensor, Answers]:
        """Features (B, 64, 64, CHANNELS) with their noise, pixels (B, 256, 256, 3), and the answers, all moved."""
        images = [self._images[row] for row in batch.rows]
        draws = [generator_for(self._recipe.seed, f"move {batch.step} {row}") for row in batch.rows]
        moves = torch.cat([random_moves(1, self._recipe.moved, draw) for draw in draws])
        features = move(batch.features.to(device).float() * self._levels.to(device), moves)
        noise = torch.stack([_noise(features.shape[1:], draw.initial_seed(), device) for draw in draws])
        truth = answers(images, batch.masks, texts, self._lessons.corpus).moved(moves)
        pixels = move(as_pixels(batch.pixels.to(device)), moves)
        return features + self._recipe.feature_noise * noise, pixels, truth

    def _losses(self, looked: Looked, captions: Tensor, truth: Answers) -> dict[str, Tensor]:
        parts = looked.dense, looked.outline, looked.pooled, looked.captions, captions
        dense, outline, pooled, caption, captions = map(distributed.gather_rows, parts)
        return {
            "dense": dense_loss(dense[:, :, 0], strokes_of(truth.present, outline, looked.asked), truth),
            "presence": presence_loss(self.tower.presence_logits(dense), truth),
            "contrast": HardNegativeLoss()(pooled, caption, captions @ captions.T > SAME_CAPTION),
        }


def ask(
    lessons: Lessons, images: Sequence[LabelledImage], step: int, recipe: EmbeddedRecipe, device: torch.device
) -> tuple[list[int], Tensor]:
    """The sentences of a step and their vectors (K, 384), the same on every process.

    Each is moved part of the way to another of the same meaning, and a little anywhere: wordings that nobody wrote.

    Args:
        images: this process's part of the batch.
    """
    bank, names = lessons.bank, lessons.names
    mine = {target for image in images for target in image.targets}
    shown = torch.tensor([[int(name in mine) for name in names]], dtype=torch.uint8)
    shown = distributed.gather_rows(shown.to(device)).amax(dim=0).cpu()
    random = generator_for(recipe.seed, f"sentences {step}")
    generator = np.random.default_rng(random.initial_seed())
    drawn = bank.draw([name for name, is_shown in zip(names, shown.tolist(), strict=True) if is_shown], generator)
    partners = [bank.partner(index, generator) for index in drawn]
    share = 0.5 * torch.rand(len(drawn), 1, generator=random)
    mixed = torch.lerp(lessons.sentences[drawn], lessons.sentences[partners], share)
    noise = torch.randn(len(drawn), SENTENCE, generator=random)
    return drawn, F.normalize(mixed, dim=-1) + recipe.sentence_noise * noise


def _noise(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Normal numbers that depend on the seed alone, drawn where they are used."""
    return torch.randn(tuple(shape), generator=torch.Generator(device).manual_seed(seed), device=device)


def folder_weights(images: Sequence[LabelledImage], corpus: Corpus) -> list[float]:
    """Folders are drawn in proportion to the square root of their size, and as the corpus says."""
    counts = Counter(image.folder for image in images)
    return [corpus.folder(image.folder).focus * counts[image.folder] ** -0.5 for image in images]


def sampling_weights(images: Sequence[LabelledImage], corpus: Corpus) -> list[float]:
    """`folder_weights` of encodings: an image that is repeated more often than its folder's others is not drawn more
    often, it is seen in more ways."""
    weights = folder_weights(images, corpus)
    return [weight / more_copies(image) for weight, image in zip(weights, images, strict=True)]
