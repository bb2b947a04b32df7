"""How is the embedded model trained? Dense and global contrast between cached image features and sentences.

Every step asks a batch of images a batch of sentences at once. Where the answer is known, each cell of the grid and
the image as a whole learn it: binary cross-entropy and soft Dice on the cells, binary cross-entropy on presence, and
DHN-NCE (MedCLIP-SAMv2, eq. 7-13) between pooled images and their captions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from medclipsam.backbones.compact import SENTENCE, CompactTower
from medclipsam.training.features import Example
from medclipsam.training.losses import HardNegativeLoss
from medclipsam.training.texts import Text, TextBank

FOCUS: Mapping[str, float] = {
    "breast_us_busi": 1.6,
    "brain_mri_lgg": 1.5,
    "cardiac_mri_acdc": 2.0,
    "chest_xray_montgomery": 0.6,
    "chest_xray_shenzhen": 0.6,
    "captions_medpix": 0.5,
}
"""How often a folder is drawn, beside the square root of its size: the hard ones more, the solved ones less."""
SMALLEST_MATRIX = 8
"""Up to so many rows or columns a parameter is learned as a vector is."""
SAME_CAPTION = 0.9
"""Captions whose sentence vectors have a higher cosine are no negatives of each other."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one training run."""

    steps: int = 2800
    batch: int = 24
    learning_rate: float = 1e-3
    """Of AdamW, which learns biases, norms, convolutions and scales."""
    matrix_rate: float = 4e-3
    """Of Muon (Jordan et al. 2024, scaled as Liu et al. 2025 do to AdamW's size of step), which learns the matrices."""
    weight_decay: float = 0.05
    warm_up: int = 100
    feature_noise: float = 0.05
    moved: float = 0.5
    """Share of features that are mirrored, zoomed and shifted as maps, on top of the augmented copies."""
    sentence_noise: float = 0.004
    """For each of the 384 numbers; ten times more drowns what tells left from right."""
    memory: float = 0.995
    """Of the running mean of the weights, which is what a run gives."""
    contrast_weight: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Cache:
    """What `features.read_shards` found, in memory."""

    examples: Sequence[Example]
    features: Tensor
    """(n, 64, 64, CHANNELS) in 8 bits."""
    levels: Tensor
    """(CHANNELS,): what one step of the 8 bits is worth."""
    masks: Tensor
    """(targets of all examples, 64, 64), coverage of each cell in 0..255."""
    first_mask: Sequence[int]
    """Row of an example's first mask."""

    def batch(self, rows: Sequence[int]) -> Tensor:
        """(rows, 64, 64, CHANNELS) as the tower takes them."""
        return self.features[rows].float() * self.levels

    def every(self, step: int) -> Cache:
        """Each `step`-th of the examples that have targets."""
        rows = [row for row, example in enumerate(self.examples) if example.targets][::step]
        return Cache(
            [self.examples[row] for row in rows],
            self.features[rows],
            self.levels,
            self.masks,
            [self.first_mask[row] for row in rows],
        )

    def coverage(self, row: int, targets: frozenset[str]) -> Tensor:
        """(64, 64) in [0, 1]: the union of the named targets' masks."""
        example = self.examples[row]
        rows = [self.first_mask[row] + index for index, target in enumerate(example.targets) if target in targets]
        return self.masks[rows].amax(dim=0).float() / 255


@dataclass(frozen=True)
class Answers:
    """Right answers of a batch: for every image and sentence."""

    known: Tensor
    """(B, K) bool."""
    present: Tensor
    """(B, K) bool: known, and the mask is not empty."""
    missing: Tensor
    """(B, K) bool: known, searched for in this folder, and the mask is empty."""
    coverage: Tensor
    """(number of present pairs, 64, 64), in the order of `present.nonzero()`."""

    @property
    def elsewhere(self) -> Tensor:
        """(B, K) bool: known, and no image of this folder can show it."""
        return self.known & ~self.present & ~self.missing

    def moved(self, moves: Tensor) -> Answers:
        """The same answers after each image was moved; a target that left the view is unknown."""
        image, _ = self.present.nonzero(as_tuple=True)
        coverage = move(self.coverage[..., None], moves[image], outside="zeros")[..., 0]
        still = coverage.amax(dim=(1, 2)) > 0.5
        known, present = self.known.clone(), self.present.clone()
        known[self.present] = still
        present[self.present] = still
        return Answers(known, present, self.missing, coverage[still])


def random_moves(count: int, share: float) -> Tensor:
    """(count, 2, 3) affine maps: mirror, zoom by a third, shift by a sixth; the identity for the others."""
    zoom = torch.empty(count).uniform_(math.log(0.7), math.log(1.35)).exp()
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    moves = torch.zeros(count, 2, 3)
    moves[:, 0, 0], moves[:, 1, 1] = zoom * mirror, zoom
    moves[:, :, 2] = torch.empty(count, 2).uniform_(-1 / 3, 1 / 3)
    still = torch.rand(count) >= share
    moves[still] = torch.eye(2, 3)
    return moves


def move(maps: Tensor, moves: Tensor, outside: str = "border") -> Tensor:
    """Resample channels-last maps (B, rows, columns, C) by maps (B or 1, 2, 3) of the grid; the identity is free."""
    if torch.equal(moves, torch.eye(2, 3)[None]):
        return maps
    size = [len(maps), 1, *maps.shape[1:3]]
    grid = F.affine_grid(moves.expand(len(maps), 2, 3), size, align_corners=False).to(maps.device)
    moved = F.grid_sample(maps.permute(0, 3, 1, 2), grid, padding_mode=outside, align_corners=False)
    return moved.permute(0, 2, 3, 1).contiguous()


def answers(cache: Cache, rows: Sequence[int], texts: Sequence[Text]) -> Answers:
    """Look up what each image should answer to each sentence."""
    known = torch.zeros(len(rows), len(texts), dtype=torch.bool)
    present, missing = torch.zeros_like(known), torch.zeros_like(known)
    masks = []
    for i, row in enumerate(rows):
        for k, text in enumerate(texts):
            named = text.answer(cache.examples[row])
            if named is None:
                continue
            known[i, k] = True
            coverage = cache.coverage(row, named) if named else None
            if coverage is not None and coverage.any():
                present[i, k] = True
                masks.append(coverage)
            missing[i, k] = bool(named) and not present[i, k]
    return Answers(known, present, missing, torch.stack(masks) if masks else torch.zeros(0, 64, 64))


def dense_loss(logits: Tensor, truth: Answers) -> Tensor:
    """Cross-entropy and Dice of cells: (B, K, 64, 64) logits against the known answers.

    What is missing among its like weighs as much as one that is there: more would teach that it never is.
    """
    fine, coverage = logits[truth.present].float(), truth.coverage
    probability = fine.sigmoid()
    overlap = (probability * coverage).sum((1, 2))
    dice = 1 - (2 * overlap + 4) / (probability.sum((1, 2)) + coverage.sum((1, 2)) + 4)
    entropy = F.binary_cross_entropy_with_logits(fine, coverage, reduction="none").mean((1, 2))
    nothing = F.softplus(logits.float()).mean((2, 3))
    missing = nothing[truth.missing].sum() / len(coverage)
    strongest = nothing[truth.known & ~truth.present].amax()
    return (dice + 2 * entropy).mean() + nothing[truth.elsewhere].mean() + missing + 0.1 * strongest


def presence_loss(logits: Tensor, truth: Answers) -> Tensor:
    """Cross-entropy on "is it there at all"; what is there, what is missing and what cannot be there count alike."""
    entropy = F.binary_cross_entropy_with_logits(logits.float(), truth.present.float(), reduction="none")
    groups = [entropy[chosen].mean() for chosen in (truth.present, truth.missing, truth.elsewhere) if chosen.any()]
    return torch.stack(groups).mean()


def one_cycle(step: int, recipe: Recipe) -> float:
    """Warm-up, then cosine to zero."""
    if step < recipe.warm_up:
        return (step + 1) / recipe.warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)))


def sampling_weights(examples: Sequence[Example]) -> np.ndarray:
    """Folders are drawn in proportion to the square root of their size, and as `FOCUS` says."""
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.dataset] = counts.get(example.dataset, 0) + 1
    weights = np.array([FOCUS.get(example.dataset, 1.0) * counts[example.dataset] ** -0.5 for example in examples])
    return weights / weights.sum()


@dataclass(frozen=True)
class Material:
    """What a run learns from: images, sentences, and the frozen vectors of all sentences, encoded once."""

    cache: Cache
    bank: TextBank
    sentences: Tensor
    """(len(bank.texts), 384)."""
    captions: Tensor
    """(n, 384): one caption for every example of the cache."""


def fit(
    tower: CompactTower,
    material: Material,
    recipe: Recipe,
    *,
    report: Callable[[int, dict[str, float]], None],
    compiled: bool = False,
) -> None:
    """Train a tower in place; the same seed gives the same tower on one machine with one number of threads.

    Args:
        report: called after each step with its number and its losses.
        compiled: let torch write the forward and backward pass in C++ first: a minute that a long run gets back.
    """
    torch.manual_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    optimizers = _optimizers(tower, recipe)
    schedules = [LambdaLR(optimizer, lambda step: one_cycle(step, recipe)) for optimizer in optimizers]
    look = torch.compile(_look) if compiled else _look
    examples, bank = material.cache.examples, material.bank
    weights = sampling_weights(examples)
    began = time.perf_counter()
    averaged = AveragedModel(tower, multi_avg_fn=get_ema_multi_avg_fn(recipe.memory))
    tower.train()
    for step in range(recipe.steps):
        rows = generator.choice(len(examples), recipe.batch, p=weights, replace=False)
        targets = [target for row in rows for target in examples[row].targets if target in bank.by_target]
        drawn = bank.draw(targets, generator)
        question = Question(rows, tuple(drawn), tuple(bank.partner(index, generator) for index in drawn))
        losses = _losses(tower, material, question, recipe, look)
        tower.zero_grad(set_to_none=True)
        (losses["dense"] + losses["presence"] + recipe.contrast_weight * losses["contrast"]).backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        averaged.update_parameters(tower)
        report(step, {name: float(loss.detach()) for name, loss in losses.items()} | _elapsed(began))
    tower.load_state_dict(averaged.module.state_dict())
    tower.eval()


@dataclass(frozen=True)
class Question:
    """What one step asks: rows of the cache, and indices of sentences."""

    rows: np.ndarray
    sentences: tuple[int, ...]
    partners: tuple[int, ...]
    """For each sentence, another one of the same meaning, or itself."""


def _optimizers(tower: CompactTower, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for matrices, which learns more in as many steps; AdamW for the rest, without decay on biases and scales."""
    matrices = [p for p in tower.parameters() if _is_matrix(p)]
    decayed = [p for p in tower.parameters() if p.ndim > 1 and not _is_matrix(p)]
    thin = [p for p in tower.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": thin, "weight_decay": 0.0}]
    return [
        torch.optim.Muon(
            matrices, lr=recipe.matrix_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98)),
    ]


def _is_matrix(parameter: Tensor) -> bool:
    """Wide both ways, so that there is something to make orthogonal."""
    return parameter.ndim == 2 and min(parameter.shape) > SMALLEST_MATRIX


def _elapsed(began: float) -> dict[str, float]:
    return {"seconds": time.perf_counter() - began}


Look = Callable[[CompactTower, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def _look(tower: CompactTower, features: Tensor, sentences: Tensor, captions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dense logits (B, K, 64, 64), pooled images and captions (B, embedding)."""
    with torch.autocast("cpu", torch.bfloat16):
        tokens = tower.tokens(features, tower.shape.blocks)
        pooled = tower.pool(tokens)
        cells = tower.cell_embeddings(tokens, features)
        text, caption = tower.embed_text(sentences), tower.embed_text(captions)
    return tower.dense_logits(cells, text), pooled.float(), caption.float()


def _losses(tower: CompactTower, material: Material, asked: Question, recipe: Recipe, look: Look) -> dict[str, Tensor]:
    cache, texts = material.cache, [material.bank.texts[index] for index in asked.sentences]
    truth = answers(cache, asked.rows.tolist(), texts)
    moves = random_moves(len(asked.rows), recipe.moved)
    features = move(cache.batch(asked.rows.tolist()), moves)
    truth = truth.moved(moves)
    features = features + recipe.feature_noise * torch.randn_like(features)
    sentences = _between(material.sentences, asked) + recipe.sentence_noise * torch.randn(len(texts), SENTENCE)
    captions = material.captions[asked.rows]
    logits, pooled, caption = look(tower, features, sentences, captions)
    same = captions @ captions.T > SAME_CAPTION
    return {
        "dense": dense_loss(logits, truth),
        "presence": presence_loss(tower.presence_logits(logits), truth),
        "contrast": HardNegativeLoss()(pooled, caption, same),
    }


def _between(sentences: Tensor, asked: Question) -> Tensor:
    """Each sentence moved part of the way to another of the same meaning: wordings that nobody wrote down."""
    share = 0.5 * torch.rand(len(asked.sentences), 1)
    mixed = torch.lerp(sentences[list(asked.sentences)], sentences[list(asked.partners)], share)
    return F.normalize(mixed, dim=-1)
