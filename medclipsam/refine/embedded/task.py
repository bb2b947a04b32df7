"""The task by which the shared loop trains the embedded model on a folder's own pseudo-labels.

    weak view   (as encoded)    --teacher, student--> guide: the teacher's map, or the student's where that is surer
    strong view (moved, noisy)  --student-----------> map: learns the label, and where that is ignored the guide

Labels come from the teacher, so that they teach nothing new on the views that they were made from; what is learned is
to say the same of other views (FixMatch, Sohn et al., NeurIPS 2020), and so of other images of the same kind. Views
are augmented copies, with their labels moved alike, and the features of each moved and made noisy. Other texts keep the
maps that the teacher has for them, and a picture the presence that it has for it: a map with a clear outline has other
strongest cells, which presence is judged by. The decoder learns; the blocks below it and all heads stay.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactTower, Seen, outlined
from medclipsam.backbones.compact_clip import to_bytes
from medclipsam.backbones.compact_pair import surer
from medclipsam.io.atomic import write_atomic
from medclipsam.networks.losses import soft_dice
from medclipsam.refine.dataset import PictureSet
from medclipsam.refine.recipe import SelfTrainingRecipe
from medclipsam.runtime import generator_for
from medclipsam.training.data.feature_cache import digest_of_weights
from medclipsam.training.data.sampling import Key, Keyed
from medclipsam.training.embedded.answers import move, random_moves
from medclipsam.training.embedded.encodings import Encodings, as_pixels
from medclipsam.training.journal import Observer
from medclipsam.types import MASK_THRESHOLD

LEARNS = ("middle.", "finest.", "cells.", "outline.", "dense_bias")
"""Names of the weights that learn: from the last tokens to cells and outline, and where "this cell shows it" begins."""
STUDENT = "student.safetensors"
"""The best student so far."""
AGREEMENT = "agreement"
"""The figure that students are chosen by; see `SelfTraining.validate`."""
JUDGED_AT_ONCE = 8


class Views(NamedTuple):
    """Encoded views of one step."""

    step: int
    rows: tuple[int, ...]
    features: Tensor
    """(B, 64, 64, CHANNELS) in int8."""
    pixels: Tensor
    """(B, 256, 256, 3) in 0..255."""
    labels: Tensor
    """(B, 2, 128, 128): coverage by the inside and by the ignored pixels, in [0, 1]."""


class Weak(NamedTuple):
    """What teacher and student say of weak views."""

    dense: Tensor
    """(B, 1, N, 64, 64): the teacher's logits of the prompt."""
    others: Tensor
    """(B, K - 1, 128, 128) in [0, 1]: its maps of the other texts."""
    guide: Tensor
    """(B, 128, 128) in [0, 1]: the surer map of the prompt."""


class EncodedViews:
    """Encodings as the loop draws them."""

    def __init__(self, encodings: Encodings) -> None:
        self._encodings = encodings

    def __len__(self) -> int:
        return len(self._encodings)

    def __getitem__(self, key: Key) -> Views:
        """The view of a (step, row)."""
        step, row = key
        features, pixels, masks = self._encodings.read(row)
        return Views(step, (row,), features[None], pixels[None], masks[None].float() / 255)


def stacked(views: Sequence[Views]) -> Views:
    """Stack views."""
    rows = tuple(row for view in views for row in view.rows)
    parts = zip(*((view.features, view.pixels, view.labels) for view in views), strict=True)
    return Views(views[0].step, rows, *(torch.cat(part) for part in parts))


class Maps(nn.Module):
    """A tower from features to maps in one `forward`, so that gradients can be averaged over processes."""

    def __init__(self, tower: CompactTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, features: Tensor, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 64, 64, CHANNELS), (B, 256, 256, 3) in [0, 1] and (K, embedding) -> dense logits (B, K, N, 64, 64) and
        the strokes on them (B, K, 128, 128)."""
        return self.decoded(self.tower.view(features, pixels), texts)

    def decoded(self, seen: Seen, texts: Tensor) -> tuple[Tensor, Tensor]:
        """The same of images that were seen."""
        return self.tower.dense_logits(seen.cells, texts), self.tower.strokes(seen.outline, texts)

    def shown(self, dense: Tensor, strokes: Tensor) -> Tensor:
        """(B, 128, 128): the map of the first text above its threshold."""
        return outlined(self.tower.settled(dense[:, :1]), strokes[:, :1])[:, 0]


class SelfTraining:
    """The task of `loop.fit`.

    Args:
        teacher: the model that made the labels; left as it is.
        training: views to learn from.
        held_out: views of other pictures, to judge students by.
        data: the pictures of both, which say how much each counts.
        prompt: (1, embedding), what the labels show.
        others: (n, embedding), texts whose maps stay.
    """

    collate = staticmethod(stacked)
    score = AGREEMENT

    def __init__(
        self,
        teacher: CompactTower,
        training: Encodings,
        held_out: Encodings,
        data: PictureSet,
        *,
        prompt: Tensor,
        others: Tensor,
        recipe: SelfTrainingRecipe,
    ) -> None:
        self._teacher = Maps(teacher.eval().requires_grad_(False))
        self._student = Maps(copy.deepcopy(teacher))
        for name, weight in self._student.tower.named_parameters():
            weight.requires_grad_(name.startswith(LEARNS))
        self.model: nn.Module = self._student
        self.data: Keyed = EncodedViews(training)
        self.weights: Sequence[float] | None = data.weights([image.group for image in training.images])
        self._judged = torch.tensor(data.weights([image.group for image in held_out.images]))
        self._training, self._held_out, self._recipe = training, held_out, recipe
        self._prompt, self._others = prompt, others
        parts = (digest_of_weights(teacher.state_dict().values()), training.name, held_out.name, repr(self.weights))
        self.fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Bring what stays to where the student is."""
        device = next(self._student.parameters()).device
        self._teacher.to(device)
        self._prompt, self._others = self._prompt.to(device), self._others.to(device)

    def loss(self, model: nn.Module, batch: Views) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of this process's share; gradients are averaged."""
        device = self._prompt.device
        features = batch.features.to(device).float() * self._training.levels.to(device)
        pixels = as_pixels(batch.pixels.to(device))
        texts = torch.cat([self._prompt, self._drawn(batch.step)])
        weak = self._weak(features, pixels, texts)
        moves, strong = self._strong(batch, features)
        dense, strokes = model(strong, move(pixels, moves), texts)
        losses = self._losses(dense, strokes, weak, batch.labels.to(device), moves)
        stays = losses["others"] + losses["presence"]
        agreement = self._recipe.agreement_weight * losses["agreement"]
        return losses["labels"] + agreement + self._recipe.stays_weight * stays, {
            name: loss.item() for name, loss in losses.items()
        }

    def validate(self) -> Mapping[str, float]:
        """Dice of the surer maps of held-out views, varied ones too, with the labels of their pictures, by confidence.

        The labels are the teacher's own, of the plain view: who finds the same in the varied ones is the surer of it.
        """
        scores = []
        for start in range(0, len(self._held_out), JUDGED_AT_ONCE):
            features, pixels, masks = self._held_out.stacked(
                range(start, min(start + JUDGED_AT_ONCE, len(self._held_out)))
            )
            device = self._prompt.device
            maps = self._weak(features.to(device), pixels.to(device), self._prompt).guide.cpu()
            scores += [
                _dice(map_ > MASK_THRESHOLD, labels.float() / 255) for map_, labels in zip(maps, masks, strict=True)
            ]
        return {AGREEMENT: float((torch.stack(scores) * self._judged).sum() / self._judged.sum())}

    def export(self, folder: Path) -> None:
        """Write the student."""
        write_atomic(folder / STUDENT, to_bytes(self._student.tower))

    @torch.no_grad()
    def _weak(self, features: Tensor, pixels: Tensor, texts: Tensor) -> Weak:
        """What teacher and student say of weak views."""
        teacher, student = self._teacher.tower, self._student.tower
        tokens = student.tokens(features, student.shape.blocks)  # blocks and pixel network stay: both share them
        sketched = student.sketch(pixels)
        dense, strokes = self._teacher.decoded(teacher.own(tokens, features, pixels).beside(sketched), texts)
        own = self._student.decoded(student.own(tokens, features, pixels).beside(sketched), self._prompt)
        guide = surer(self._teacher.shown(dense, strokes).sigmoid(), self._student.shown(*own).sigmoid())
        return Weak(dense[:, :1], outlined(dense[:, 1:].sum(dim=2), strokes[:, 1:]).sigmoid(), guide)

    def _losses(self, dense: Tensor, strokes: Tensor, weak: Weak, label: Tensor, moves: Tensor) -> dict[str, Tensor]:
        """The loss of the student's logits of strong views; the others are of weak views, and moved here."""
        inside, ignored = _moved(label, moves, outside="zeros").unbind(1)
        maps = _moved(torch.cat([weak.guide[:, None], weak.others], dim=1), moves).clamp(0, 1)
        shown = self._student.shown(dense, strokes)
        others = outlined(dense[:, 1:].sum(dim=2), strokes[:, 1:])
        return {
            "labels": label_loss(shown, inside, ignored),
            "agreement": entropy_of(shown, maps[:, 0], ignored).mean(),
            "others": F.binary_cross_entropy_with_logits(others, maps[:, 1:]),
            "presence": self._presence_loss(dense[:, :1], weak.dense, label[:, 0], inside),
        }

    def _presence_loss(self, logits: Tensor, weak: Tensor, inside: Tensor, moved: Tensor) -> Tensor:
        """Cross-entropy of the student's presence with the teacher's, of views that the target did not leave.

        Args:
            logits, weak: (B, 1, N, 64, 64), of strong and of weak views.
            inside, moved: (B, 128, 128): the label of the weak view, and of the strong one.
        """
        found = self._student.tower.presence_logits(logits)[:, 0]
        wanted = self._teacher.tower.presence_logits(weak)[:, 0].sigmoid()
        counts = ((inside.amax((1, 2)) < 0.5) | (moved.amax((1, 2)) >= 0.5)).float()
        entropy = F.binary_cross_entropy_with_logits(found, wanted, reduction="none")
        return (entropy * counts).sum() / counts.sum().clamp(min=1)

    def _drawn(self, step: int) -> Tensor:
        """(K, embedding): the other texts of a step."""
        generator = generator_for(self._recipe.seed, f"texts {step}")
        rows = torch.randperm(len(self._others), generator=generator)[: self._recipe.others]
        return self._others[rows.to(self._others.device)]

    def _strong(self, batch: Views, features: Tensor) -> tuple[Tensor, Tensor]:
        """How each view is moved, (B, 2, 3), and its features so, with noise."""
        draws = [generator_for(self._recipe.seed, f"view {batch.step} {row}") for row in batch.rows]
        moves = torch.cat([random_moves(1, self._recipe.moved, draw) for draw in draws])
        noise = torch.stack([torch.randn(features.shape[1:], generator=draw) for draw in draws]).to(features.device)
        return moves, move(features, moves) + self._recipe.feature_noise * noise


def _moved(maps: Tensor, moves: Tensor, outside: str = "border") -> Tensor:
    """`move` of channels-first maps (B, C, rows, columns)."""
    return move(maps.permute(0, 2, 3, 1), moves, outside).permute(0, 3, 1, 2)


def label_loss(logits: Tensor, inside: Tensor, ignored: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of what is not ignored, mean over views.

    Args:
        logits: (B, 128, 128).
        inside: (B, 128, 128): share of each cell that is inside, in [0, 1].
        ignored: (B, 128, 128): share that is ignored; a view that is ignored whole costs nothing.
    """
    known = 1 - ignored.clamp(0, 1)
    truth = (inside / known.clamp(min=1e-3)).clamp(0, 1)  # of the part of a cell that is known
    dice = soft_dice(logits.sigmoid() * known, truth * known, (1, 2), smooth=4)
    return (2 * entropy_of(logits, truth, known) + dice).mean()


def entropy_of(logits: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of each view, mean over its cells by their weights; all (B, 128, 128) -> (B,), 0 without weight."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weights
    return entropy.sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)


def _dice(found: Tensor, label: Tensor) -> Tensor:
    """Dice of a mask (128, 128) and a label (2, 128, 128) where it is not ignored; 1 where both are empty."""
    known = label[1] < 0.5
    truth, found = (label[0] >= 0.5) & known, found & known
    total = truth.sum() + found.sum()
    return 2 * (truth & found).sum() / total if total else torch.tensor(1.0)
