"""The embedded model after self-training: student and teacher side by side, each answer that of the surer.

    cells of the image --student--> map, presence --\\
                       --teacher--> map, presence ---> the student's where its map is surer, else the teacher's

What a student learned from one folder's pseudo-labels need not hold for every image (`medclipsam refine --backend
embedded`). The encoder, by far the largest part of the work, runs once for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medclipsam.backbones.compact import CompactTower
from medclipsam.backbones.compact_clip import CompactClip, CompactView
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.vocabulary import Vocabulary
from medclipsam.errors import BadInput
from medclipsam.types import MASK_THRESHOLD, MedImage


@dataclass(frozen=True, eq=False, kw_only=True)
class PairView(CompactView):
    """One image as both towers see it."""

    teacher: CompactView


class CompactPair(CompactClip):
    """A `CompactClip` whose answers are those of the surer of two towers.

    Args:
        sam, sentences, identity, vocabulary: see `CompactClip`.
        tower: the student.
        teacher: the tower that it was trained from; their texts are the same.
        teacher_identity: SHA-256 of the teacher.

    Raises:
        BadInput: the two are of different shapes.
    """

    def __init__(
        self,
        sam: PromptableSegmenter,
        tower: CompactTower,
        sentences: SentenceEncoder,
        *,
        teacher: CompactTower,
        identity: str,
        teacher_identity: str,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        super().__init__(sam, tower, sentences, identity=identity, vocabulary=vocabulary)
        if tower.shape != teacher.shape:
            raise BadInput("student and teacher are of different shapes", "refine again")
        self.teacher_identity = teacher_identity
        self._teacher = teacher.eval().requires_grad_(False).to(self.device)

    @torch.no_grad()
    def view(self, image: MedImage) -> PairView:
        """Everything that no text changes."""
        student, teacher = self._views(image, self._tower, self._teacher)
        return PairView(seen=student.seen, teacher=teacher)

    @torch.no_grad()
    def compare(self, view: CompactView, text: Tensor) -> tuple[Tensor, float]:
        """See `CompactClip.compare`; of the tower whose map is surer, the teacher where none is."""
        student = self._compare(self._tower, view, text)
        teacher = self._compare(self._teacher, view.teacher if isinstance(view, PairView) else view, text)
        maps = torch.stack([teacher[0], student[0]]).sigmoid()
        return (teacher, student)[int(sureness(maps).diff() > 0)]


def sureness(maps: Tensor) -> Tensor:
    """(B, rows, columns) in [0, 1] -> (B,): soft Dice of each map and its own mask, as `medclipsam.runs.confidence`.

    0 where the map finds nothing.
    """
    mask = (maps > MASK_THRESHOLD).float()
    return 2 * (maps * mask).sum((1, 2)) / (maps.sum((1, 2)) + mask.sum((1, 2))).clamp(min=1e-6)


def surer(teacher: Tensor, student: Tensor) -> Tensor:
    """The student's map of each case where it is surer, else the teacher's; maps (B, rows, columns) in [0, 1]."""
    return torch.where((sureness(student) > sureness(teacher))[:, None, None], student, teacher)
