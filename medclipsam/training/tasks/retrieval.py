"""Scores retrieval as MedCLIP-SAMv2 does (section 4.2): an image finds its caption among fifty, and the reverse.

shuffle, cut into batches of 50          rank of the right one among 50 by cosine        mean and std
+--50--+--50--+--50--+ rest left out  -> top-1, top-2, both directions               ->  over 5 shuffles
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from medclipsam.errors import BadInput
from medclipsam.runtime import generator_for
from medclipsam.training.losses import pair_cosines

DIRECTIONS = ("image_to_text", "text_to_image")


class MeanStd(NamedTuple):
    """Over repetitions; the standard deviation is the sample's (n - 1), 0 for one repetition."""

    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """How retrieval is scored."""

    batch: int = 50
    """Candidates, the right one among them (paper); all pairs where there are fewer."""
    repetitions: int = 5
    """Shuffles (paper)."""
    ranks: tuple[int, ...] = (1, 2)
    """Top-k for each k (paper)."""
    seed: int = 0

    def evaluate(self, image: Tensor, text: Tensor) -> Mapping[str, MeanStd]:
        """Score embeddings whose rows belong together.

        Args:
            image: (n, D), n >= 2; of any length.
            text: (n, D).

        Returns:
            `image_to_text_top1` and so on, as shares in [0, 1]. Where candidates tie with the right one (identical
            captions do), the share is what breaking the tie at random gives on average: equal embeddings score
            k / batch.

        Raises:
            BadInput: fewer than two pairs, or rows that do not match.
        """
        if len(image) < 2:
            raise BadInput(f"retrieval among {len(image)} pairs says nothing", "give at least 2")
        runs = [self._repetition(image, text, number) for number in range(self.repetitions)]
        return {name: _mean_std([run[name] for run in runs]) for name in runs[0]}

    def _repetition(self, image: Tensor, text: Tensor, number: int) -> dict[str, float]:
        size = min(self.batch, len(image))
        shuffled = torch.randperm(len(image), generator=generator_for(self.seed, f"retrieval {number}"))
        batches = shuffled.to(image.device).split(size)
        cosines = [pair_cosines(image[rows], text[rows]) for rows in batches if len(rows) == size]
        return {
            f"{direction}_top{rank}": torch.cat([hits(way, rank) for way in ways]).mean().item()
            for direction, ways in zip(DIRECTIONS, (cosines, [batch.T for batch in cosines]), strict=True)
            for rank in self.ranks
        }


def hits(cosines: Tensor, rank: int) -> Tensor:
    """(B, B) cosines, query by candidate -> (B,): the chance that the diagonal is among the `rank` best of its row.

    Cosines that are not numbers are never a hit.
    """
    right = cosines.diagonal()[:, None]
    better = (~(cosines <= right)).sum(dim=1)
    tied = (cosines == right).sum(dim=1)
    return ((rank - better) / tied).clamp(0, 1)


def _mean_std(values: list[float]) -> MeanStd:
    column = torch.tensor(values, dtype=torch.float64)
    return MeanStd(column.mean().item(), column.std().item() if len(values) > 1 else 0.0)
