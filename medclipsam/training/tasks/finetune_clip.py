"""Fine-tunes a CLIP on images and captions by contrast (MedCLIP-SAMv2, section 3.1): the task, and the whole run.

    captions --split by case--> train pairs --encode both--> DHN-NCE --> loop        RUN/ model.safetensors (best)
                                val pairs   --encode both--> retrieval among 50           open_clip_config.json ...

The run's folder is itself an open_clip folder: `load_clip(RUN)`, `open_clip.create_model("local-dir:RUN")` and
`medclipsam segment --weights RUN` all read it. Of the embedded model it holds `compact.safetensors` instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medclipsam.config import zeroshot_preset
from medclipsam.training import distributed
from medclipsam.training.chunks import in_chunks
from medclipsam.training.data.captions import Captions, Columns, Pair, Skipped, read_captions, split_pairs
from medclipsam.training.data.pairs import PairBatch, PairSource, collate
from medclipsam.training.data.sampling import Keyed
from medclipsam.training.data.skipped import SkippedLog
from medclipsam.training.journal import Observer, follow
from medclipsam.training.loop import Outcome, fit
from medclipsam.training.losses import contrastive_loss, identical
from medclipsam.training.recipes import CaptionTable, ClipRecipe, RunOptions, StartingModel
from medclipsam.training.registry import Request, Trained
from medclipsam.training.settings import part_of
from medclipsam.training.tasks.encoders import DualEncoder, encoder_for
from medclipsam.training.tasks.retrieval import Retrieval


class PairEncoder(nn.Module):
    """Both towers in one `forward`, so that gradients can be averaged over processes."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.network = encoder.network
        self._encoder = encoder

    def forward(self, image: Tensor, text: Tensor, chunk_size: int = 0) -> tuple[Tensor, ...]:
        """B images and captions as the encoder's `pairs` gives them -> two times (B, D), not normalised."""
        return in_chunks(self._encode, (image, text), chunk_size)

    def _encode(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self._encoder.encode_image(image), self._encoder.encode_text(text)


class FinetuneClip:
    """The task of `loop.fit`.

    Args:
        train: pairs to learn from.
        val: pairs to choose the best weights by; fewer than two choose nothing, and the last weights are kept.
        skipped: rows that were no pairs, for the run's record.
        features: keeps what frozen parts made of images, for this run and others; None: `features` in the run's folder.

    Raises:
        BadInput: a recipe that does not fit the model, or names no loss.
    """

    collate = staticmethod(collate)
    score = "top1"
    weights: Sequence[float] | None = None

    def __init__(
        self,
        encoder: DualEncoder,
        train: Sequence[Pair],
        val: Sequence[Pair],
        recipe: ClipRecipe,
        *,
        skipped: Sequence[Skipped] = (),
        features: Path | None = None,
    ) -> None:
        encoder.freeze(recipe)
        self._features = features
        self._encoder, self._recipe, self._skipped = encoder, recipe, skipped
        self._log: SkippedLog | None = None
        self._loss = contrastive_loss(
            recipe.loss, temperature=recipe.temperature, beta=recipe.beta, detach_weights=recipe.detach_weights
        )
        self.model: nn.Module = PairEncoder(encoder)
        self._train = encoder.pairs(train, recipe)
        self.data: Keyed = self._train
        self._val = encoder.pairs(val, recipe.changed(crop_scale=1.0))
        self.fingerprint = _fingerprint(encoder.identity, train, val)

    def begin(self, folder: Path, observer: Observer | None = None) -> None:
        """Write down what could not be used so far; each process has its own list of images that it could not read."""
        first = distributed.rank() == 0
        self._log = SkippedLog(folder / ("skipped.csv" if first else f"skipped-{distributed.rank()}.csv"))
        self._record(self._skipped if first else ())
        for pairs in (self._train, self._val):
            self._record(pairs.prepare(self._features or folder / "features", self._device, observer))

    def loss(self, model: nn.Module, batch: PairBatch) -> tuple[Tensor, Mapping[str, float]]:
        """The contrast of all pairs of the batch, over all processes."""
        self._record(batch.unreadable)
        batch = batch.to(self._device)
        image, text = model(batch.image, batch.text, self._recipe.chunk_size)
        same = identical(distributed.gather_rows(batch.captions)) if self._recipe.mask_identical else None
        return self._loss(distributed.gather_rows(image.float()), distributed.gather_rows(text.float()), same), {}

    def validate(self) -> Mapping[str, float]:
        """Retrieval among 50, mean and `_std` over 5 shuffles, and `top1`: the mean of both directions."""
        if len(self._val) < 2:
            return {}
        figures = Retrieval().evaluate(*self.embed(self._val))
        means = {name: figure.mean for name, figure in figures.items()}
        spreads = {f"{name}_std": figure.std for name, figure in figures.items()}
        return {"top1": (means["image_to_text_top1"] + means["text_to_image_top1"]) / 2, **means, **spreads}

    def embed(self, data: PairSource) -> tuple[Tensor, Tensor]:
        """All pairs, in order: two times (n, D) on the CPU, not normalised."""
        size = self._recipe.chunk_size or self._recipe.batch_size
        rows: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(data), size):
            batch = collate([data[0, place] for place in range(start, min(start + size, len(data)))])
            self._record(batch.unreadable)
            batch = batch.to(self._device)
            image, text = self.model(batch.image, batch.text)
            rows.append((image.float().cpu(), text.float().cpu()))
        return torch.cat([image for image, _ in rows]), torch.cat([text for _, text in rows])

    def export(self, folder: Path) -> None:
        """Write the network for use."""
        self._encoder.export(folder)

    def _record(self, skipped: Iterable[Skipped]) -> None:
        if self._log is not None:
            self._log(skipped)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def finetune(
    encoder: DualEncoder,
    captions: Captions,
    out: Path,
    recipe: ClipRecipe,
    *,
    val_share: float = 0.15,
    device: str = "auto",
    resume: bool = False,
    save_every: int = 0,
    workers: int = 0,
    tensorboard: bool = False,
    features: Path | None = None,
    observer: Observer | None = None,
    config: str = "",
) -> Outcome:
    """Fine-tune on whole cases and keep the weights that retrieve best on the others.

    Args:
        captions: as `captions.read_captions` gives them.
        out: the run's folder: new, or with `resume` one of the same model, data and recipe.
        val_share: share of the cases to choose by where the table has no splits (paper: 0.15).
        config: the settings of the run as TOML; empty writes the recipe's.

    The other arguments and the errors are those of `loop.fit`, `FinetuneClip` and `captions.split_pairs`.
    """
    splits = split_pairs(captions.pairs, val_share=val_share, seed=recipe.seed)
    task = FinetuneClip(encoder, splits.train, splits.val, recipe, skipped=captions.skipped, features=features)
    return fit(
        task,
        recipe,
        out,
        device=device,
        resume=resume,
        save_every=save_every,
        workers=workers,
        tensorboard=tensorboard,
        observer=observer,
        config=config,
    )


def train_clip(request: Request) -> Trained:
    """What `medclipsam train clip` does; errors are those of `read_captions`, `encoder_for` and `finetune`."""
    table, start = part_of(request.parts, CaptionTable), part_of(request.parts, StartingModel)
    recipe, options = part_of(request.parts, ClipRecipe), part_of(request.parts, RunOptions)
    request.tell("reading captions", 0, 0)
    captions = read_captions(request.data, Path(table.images) if table.images else None, columns_of(table))
    request.tell("loading the model", 0, 0)
    encoder = encoder_for(zeroshot_preset(start.preset), Path(start.weights) if start.weights else None)
    request.tell("validating", 0, 0)
    outcome = finetune(
        encoder,
        captions,
        request.out,
        recipe,
        val_share=table.val_share,
        device=request.device,
        resume=request.resume,
        save_every=options.save_every,
        workers=options.workers,
        tensorboard=options.tensorboard,
        features=Path(start.features) if start.features else None,
        observer=follow(request.tell),
        config=request.config,
    )
    return Trained(outcome=outcome, told=_told(outcome, len(captions.pairs), len(captions.skipped)))


def columns_of(table: CaptionTable) -> Columns:
    """The columns that the settings name."""
    return Columns(
        image=table.image_column, caption=table.caption_column, group=table.group_column, split=table.split_column
    )


def _told(outcome: Outcome, pairs: int, skipped: int) -> tuple[str, ...]:
    """What a person wants to know at the end."""
    lines = [f"{outcome.steps} steps on {pairs:,} pairs" + (f", {skipped:,} rows skipped" if skipped else "")]
    for name, before in outcome.before.items():
        if not name.endswith("_std") and name != "top1":
            spread = outcome.best[f"{name}_std"]
            told = name.replace("_", " ").replace("top", "top-")
            lines.append(f"{told}: {before:.3f} -> {outcome.best[name]:.3f} +/- {spread:.3f}")
    return (*lines, f"weights of step {outcome.best_step}: use them with --weights {outcome.folder}")


def _fingerprint(identity: str, *parts: Sequence[Pair]) -> str:
    content = hashlib.sha256(identity.encode())
    for part in parts:
        content.update(json.dumps([(pair.row, pair.group, pair.caption) for pair in part]).encode())
    return content.hexdigest()
