"""What comes last, on frozen maps: the pixel network's share, and two heads by the shared loop, presence and level.

Share: how much the pixel network's maps count beside those on the encoder's features; chosen on the validation split.

Presence: how much evidence is enough. Beside the maps it would learn how sure of themselves half-learned maps are.
Every folder and target that is there counts alike, so that one with weak evidence is not given up for a large one.

Level: how high a cell must rise to count, from the map's own strongest cells. A map that is weak as a whole, of a
structure at the edge of what was taught, still tells the place: one threshold for all leaves it empty, and draws
strong maps too wide. A few numbers are learned, on the validation split: the maps of training images are too sure.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactTower, Presence, silent
from medclipsam.backbones.pixel_network import PixelNetwork
from medclipsam.networks.losses import soft_dice
from medclipsam.training import distributed
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.sampling import Key, Keyed
from medclipsam.training.embedded.calibration import Judged, best_shift, macro_dice
from medclipsam.training.journal import Observer
from medclipsam.training.loop import fit
from medclipsam.training.recipes import TrainingRecipe

PRESENCE = TrainingRecipe(
    epochs=300, batch_size=2**31, learning_rate=1e-2, weight_decay=1e-4, floor=1.0, precision="fp32"
)
"""Steps on all evidence at once, at one rate."""
LEVEL = TrainingRecipe(
    epochs=1, steps=400, batch_size=256, learning_rate=2e-2, weight_decay=1e-3, floor=1.0, precision="fp32"
)
MISSING = 0.3
"""Weight of all targets that were searched for and are not there; those that are, and those that cannot be, weigh 1."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""By which the pixel network's maps may count beside the tower's."""
SOFTNESS = 0.4
"""Width of the soft edge, in logits: how far from its threshold a cell still counts for a part."""


class Rows:
    """Tensors whose rows belong together, as the loop draws them: those of a batch at once, which may be all."""

    def __init__(self, *columns: Tensor) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, key: Key) -> tuple[Tensor, ...]:
        """The row of an (epoch, row), as a part of one row."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[Tensor, ...]]:
        """One part with the rows of all keys; torch's loader asks for a batch in this way."""
        rows = [row for _, row in keys]
        return [tuple(column[rows] for column in self._columns)]


def joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The rows of all parts."""
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


class HeadTask:
    """The task of `loop.fit` for a small head: all it learns from lies in memory, and the last weights count.

    Args:
        head: learns.
        columns: tensors whose rows belong together.
        cost: head and columns of a batch, over all processes -> its loss.
    """

    collate = staticmethod(joined)
    score = ""

    def __init__(self, head: nn.Module, columns: Sequence[Tensor], cost: Callable[..., Tensor]) -> None:
        self.model, self._cost = head, cost
        self.data: Keyed = Rows(*columns)
        self.weights: Sequence[float] | None = None
        content = hashlib.sha256()
        for column in columns:
            content.update(column.contiguous().numpy().data)
        self.fingerprint = content.hexdigest()

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Nothing to do."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of the whole batch over all processes."""
        device = next(self.model.parameters()).device
        return self._cost(model, *(column.to(device) for column in batch)), {}

    def validate(self) -> Mapping[str, float]:
        """Nothing is held out."""
        return {}

    def export(self, folder: Path) -> None:
        """Write the head."""
        save_weights(folder / "head.safetensors", self.model.state_dict())


def choose_share(tower: CompactTower, judged: Callable[[], Sequence[Judged]], seed: int = 0) -> None:
    """Set the share by which the maps of a tower's pixel network count: the one that gives the best masks, each with a
    level of its own. Where no target is there to judge by, they count in full.

    Args:
        judged: the validation images, asked anew at each call.
    """
    pixels, level = tower.pixels, copy.deepcopy(tower.level).cpu()
    if pixels is None:
        return
    alone, together = (levelled(_with_share(pixels, share, judged), level, sign=1) for share in (0, 1))
    if any(case.present for case in alone):
        found = {share: _mixed_dice(alone, together, share, seed) for share in SHARES}
        pixels.share.fill_(max(found, key=found.__getitem__))
        pixels.share.copy_(distributed.gather_rows(pixels.share[None])[0])  # that of one process for all


def _with_share(pixels: PixelNetwork, share: float, judged: Callable[[], Sequence[Judged]]) -> Sequence[Judged]:
    pixels.share.fill_(share)
    return judged()


def _mixed_dice(alone: Sequence[Judged], together: Sequence[Judged], share: float, seed: int) -> float:
    """Dice of maps to which the pixel network adds so much, with the level that suits them, at the best of one
    threshold for all."""
    mixed = [
        both if one.logits is None or both.logits is None else replace(both, logits=one.logits.lerp(both.logits, share))
        for one, both in zip(alone, together, strict=True)
    ]
    settled = fit_level(silent(len(mixed[0].evidence)), mixed, seed)
    return macro_dice(settled, best_shift(settled))


def fit_presence(
    presence: Presence, judged: Sequence[Judged], seed: int = 0, *, run: Path | None = None, device: str = "cpu"
) -> None:
    """Learn the head from scratch, in place, from the evidence in `judged`; without a present target it stays.

    Args:
        run: folder of the head's run, in which it can be resumed; None trains in one go.
    """
    if len(judged) < 2 or not any(case.present for case in judged):
        return
    fresh = _seeded(len(judged[0].evidence) // len(Presence.STRONGEST), seed)
    evidence, mean, deviation = _standardised(judged)
    columns = evidence, torch.tensor([float(case.present) for case in judged]), _presence_weights(judged)
    _train(HeadTask(fresh, columns, _presence_cost), PRESENCE.changed(seed=seed), run, device)
    fold(fresh.judge[0], mean, deviation)
    presence.load_state_dict(fresh.state_dict())


def fit_level(
    level: nn.Linear, judged: Sequence[Judged], seed: int = 0, *, run: Path | None = None, device: str = "cpu"
) -> list[Judged]:
    """Learn it from scratch, in place, by soft Dice of the maps whose target is there; the same cases with it.

    Fewer than two such maps teach nothing, and it stays as it is. `run`: see `fit_presence`.
    """
    bare = levelled(judged, level, sign=1)
    shown = [case for case in bare if case.logits is not None]
    if len(shown) < 2:
        return list(judged)
    fresh = silent(level.in_features)
    evidence, mean, deviation = _standardised(shown)
    columns = evidence, *_stacked(shown), _level_weights(shown)
    _train(HeadTask(fresh, columns, _level_cost), LEVEL.changed(seed=seed), run, device)
    fold(fresh, mean, deviation)
    level.load_state_dict(fresh.state_dict())
    return levelled(bare, level)


@torch.no_grad()
def levelled(judged: Sequence[Judged], level: nn.Linear, sign: int = -1) -> list[Judged]:
    """The same cases, each map above the threshold that `level` gives it; `sign` 1 puts it back."""
    return [
        case if case.logits is None else replace(case, logits=case.logits + sign * level(case.evidence))
        for case in judged
    ]


@torch.no_grad()
def fold(layer: nn.Module, mean: Tensor, deviation: Tensor) -> None:
    """Let a linear layer that learned standardised numbers take them as they are."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.div_(deviation)
    bias.sub_(weight @ mean)


def _train(task: HeadTask, recipe: TrainingRecipe, run: Path | None, device: str) -> None:
    """Leave the head trained, on the CPU."""
    with _folder(run) as folder:
        begun = (folder / "run.json").is_file()
        steps = recipe.steps or recipe.epochs
        fit(task, _shared(recipe, len(task.data)), folder, device=device, resume=begun, save_every=steps)
    task.model.cpu().eval()


def _shared(recipe: TrainingRecipe, rows: int) -> TrainingRecipe:
    """With a batch that the processes can share, no larger than the rows need."""
    processes = distributed.world_size()
    return recipe.changed(batch_size=min(recipe.batch_size, max(rows, processes)) // processes * processes)


@contextmanager
def _folder(run: Path | None) -> Iterator[Path]:
    if run is not None:
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "run")


def _presence_cost(head: nn.Module, evidence: Tensor, there: Tensor, weights: Tensor) -> Tensor:
    logits, there, weights = map(distributed.gather_rows, (head(evidence), there, weights))
    return F.binary_cross_entropy_with_logits(logits, there, weights, reduction="sum")


def _level_cost(head: nn.Module, evidence: Tensor, maps: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    inside = ((maps - head(evidence)[..., None]) / SOFTNESS).sigmoid()
    costs, weights = map(distributed.gather_rows, (soft_dice(inside, truth, (1, 2), smooth=0), weights))
    return (costs * weights).sum() / weights.sum()


def _seeded(networks: int, seed: int) -> Presence:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Presence(networks)


def _standardised(judged: Sequence[Judged]) -> tuple[Tensor, Tensor, Tensor]:
    """Evidence (n, 3 for each network) of mean 0 and deviation 1, and both as they were."""
    evidence = torch.stack([case.evidence for case in judged]).float()
    mean, deviation = evidence.mean(dim=0), evidence.std(dim=0).clamp_min(1e-6)
    return (evidence - mean) / deviation, mean, deviation


def _stacked(shown: Sequence[Judged]) -> tuple[Tensor, Tensor]:
    """Maps and masks, (n, 128, 128) each."""
    maps = [case.logits for case in shown if case.logits is not None]
    truth = [case.truth for case in shown if case.truth is not None]
    return torch.stack(maps).float(), torch.stack(truth).float()


def _presence_weights(judged: Sequence[Judged]) -> Tensor:
    """Each case's share of the loss."""
    groups = Counter(_kind(case) for case in judged)
    present = sum(kind not in ("missing", "elsewhere") for kind in groups)
    total = {"missing": MISSING, "elsewhere": 1.0}
    return torch.tensor([total.get(_kind(case), 1 / present) / groups[_kind(case)] for case in judged])


def _kind(case: Judged) -> str:
    return case.group if case.present else "missing" if case.missing else "elsewhere"


def _level_weights(shown: Sequence[Judged]) -> Tensor:
    """(n,): every group counts alike, however many images it has."""
    groups = Counter(case.group for case in shown)
    return torch.tensor([1 / groups[case.group] for case in shown])
