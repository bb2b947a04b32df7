"""The training loop of every task: draw a batch, take its loss, step, log, validate, keep.

    step n:  batch(seed, n) -> task.loss -> backward -> clip -> optimizer at rate(n)     every `save_every` steps:
             order, crops, noise, dropout: functions of (seed, n)                        validate, keep best, checkpoint

Nothing random outlives a step, so a run that was killed goes on from its last checkpoint to the very same bits. Several
processes (torchrun) share each batch; every one computes the loss of all of it, and their gradients are averaged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medclipsam.errors import BadInput
from medclipsam.runtime import DTYPES, generator_for, pick_device
from medclipsam.training import distributed
from medclipsam.training.data.sampling import BatchPlan, Keyed, batches, plan_for
from medclipsam.training.journal import Journal, Observer, TensorBoard
from medclipsam.training.optimizers import Optimizers, RunningMean
from medclipsam.training.recipes import TrainingRecipe
from medclipsam.training.run_folder import RunFolder, RunState


class Task(Protocol):
    """What is trained, on what, and how well it does."""

    model: nn.Module
    """Its parameters that require a gradient are trained; the loop moves it to the device."""
    data: Keyed
    """The training examples."""
    weights: Sequence[float] | None
    """How often each example is drawn, in proportion; None passes over all of them, epoch by epoch."""
    score: str
    """The entry of `validate` that chooses the best weights, higher is better."""
    fingerprint: str
    """Stands for model and data: a run cannot be resumed with others."""

    @property
    def collate(self) -> Callable[[Sequence[Any]], Any]:
        """Makes examples a batch: a plain function, which processes that read ahead can be given without the model."""

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Called once the run's folder is there and the model on its device, before anything else."""

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of the whole batch over all processes, and what else to log; `model` may be wrapped."""

    def validate(self) -> Mapping[str, float]:
        """Figures of the model as it is; empty without validation data. The loop turns off gradients and dropout."""

    def export(self, folder: Path) -> None:
        """Write the model for use."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to."""

    folder: Path
    steps: int
    loss: float
    """Loss of the last step; NaN where no step was left to do."""
    before: Mapping[str, float] = field(default_factory=dict)
    """Validation of the untouched model."""
    best: Mapping[str, float] = field(default_factory=dict)
    """Validation of the weights that were kept."""
    best_step: int = 0


def fit(
    task: Task,
    recipe: TrainingRecipe,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    save_every: int = 0,
    workers: int = 0,
    tensorboard: bool = False,
    observer: Observer | None = None,
    config: str = "",
) -> Outcome:
    """Train `task` by `recipe` and keep everything in `out`.

    Args:
        out: gets `config.toml`, `run.json`, `log.jsonl`, `checkpoints/` and what the task exports: the best weights by
            validation, or the last ones where there is none.
        resume: go on from the last checkpoint in `out`; without one, start.
        save_every: steps between validations and checkpoints; 0 saves after each pass over the data.
        workers: processes that read images; they change nothing but the time.
        observer: is told of each entry of the log.
        config: the settings as TOML, for `config.toml`; empty writes the recipe's.

    Raises:
        BadInput: `out` holds a run and `resume` is off, or a run of other settings; a loss that is not finite.
        CannotWrite: `out` cannot be written.
        MissingExtra: TensorBoard is wanted and not installed.
    """
    with distributed.process_group(pick_device(device)) as here, _own_randomness(here), ExitStack() as stack:
        plan = plan_for(len(task.data), recipe.batch_size, recipe.seed, task.weights)
        folder = RunFolder(out, recipe, task.fingerprint, config)
        trainer = Trainer(task, recipe, plan, here)
        state = folder.open(trainer, resume=resume)
        task.begin(out, observer)
        observers: list[Observer] = [observer] if observer else []
        if distributed.rank() == 0:
            observers.append(stack.enter_context(Journal(out / "log.jsonl", state.step)))
            if tensorboard:
                observers.append(stack.enter_context(TensorBoard(out / "tensorboard", state.step)))
        save_every = save_every or plan.steps_per_epoch
        return _run(trainer, folder, state, observers=observers, save_every=save_every, workers=workers)


class Trainer:
    """The model, its optimizer, and one step of both.

    Args:
        device: where the model is moved to.

    Raises:
        BadInput: nothing of the model is left to train.
    """

    def __init__(self, task: Task, recipe: TrainingRecipe, plan: BatchPlan, device: torch.device) -> None:
        self.task, self.recipe, self.plan, self.device = task, recipe, plan, device
        self.steps = recipe.total(plan.steps_per_epoch)
        self.schedule = recipe.schedule(plan.steps_per_epoch)
        self.model = task.model.to(device)
        self.parameters = [weight for weight in self.model.parameters() if weight.requires_grad]
        if not self.parameters:
            raise BadInput("every part of the model is frozen", "leave some to train")
        self.optimizer = Optimizers(self.model, recipe)
        self.mean = RunningMean(self.model, recipe.ema)
        self.autocast = autocast_dtype(recipe, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.autocast == torch.float16)
        shared = distributed.world_size() > 1
        self.wrapped = DistributedDataParallel(self.model, broadcast_buffers=False) if shared else self.model

    def step(self, number: int, batch: Any) -> dict[str, float]:
        """Train on one batch; what happened, for the log.

        Raises:
            BadInput: the loss or, without fp16 and its scaler, the gradient is not finite; the weights are as before.
        """
        rate = self.optimizer.set_rate(self.schedule.factor(number))
        seed = generator_for(self.recipe.seed, f"step {number} process {distributed.rank()}").initial_seed()
        torch.manual_seed(seed)
        train_mode(self.model)
        with self._precision():
            loss, extra = self.task.loss(self.wrapped, batch)
        value = loss.item()
        self._refuse_infinite("loss", value, number)
        self.scaler.scale(loss).backward()
        norm = self._descend(number)
        return {"loss": value, "learning_rate": rate, "gradient_norm": norm, **extra}

    def validate(self) -> Mapping[str, float]:
        """The task's figures of the weights that would be exported, without dropout and gradients."""
        self.model.eval()
        with torch.no_grad(), self._precision(), self.mean.in_place():
            return self.task.validate()

    def export(self, folder: Path) -> None:
        """Write the model for use."""
        with self.mean.in_place():
            self.task.export(folder)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast != torch.float32)

    def _descend(self, number: int) -> float:
        """Step down the gradients; their norm before clipping."""
        self.optimizer.unscale(self.scaler)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm or math.inf).item()
        if not self.scaler.is_enabled():  # with fp16 the scaler leaves such a step out
            self._refuse_infinite("gradient", norm, number)
        self.optimizer.step(self.scaler)
        self.scaler.update()
        self.mean.update()
        return norm

    @staticmethod
    def _refuse_infinite(what: str, value: float, number: int) -> None:
        if not math.isfinite(value):
            raise BadInput(f"the {what} is {value} at step {number + 1}", "lower the learning rate or use fp32")


def train_mode(model: nn.Module) -> None:
    """Training mode, but evaluation mode for every part that is frozen whole: no dropout, no new batch statistics."""
    model.train()
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def autocast_dtype(recipe: TrainingRecipe, device: torch.device) -> torch.dtype:
    """What matrix products are computed in; weights, loss and optimizer stay in single precision.

    Raises:
        BadInput: fp16 on a CPU, which cannot train with it.
    """
    if recipe.precision == "fp16" and device.type == "cpu":
        raise BadInput("fp16 does not train on a CPU", "use --set precision=bf16, or fp32")
    if recipe.precision != "auto":
        return DTYPES[recipe.precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _run(
    trainer: Trainer,
    folder: RunFolder,
    state: RunState,
    *,
    observers: Sequence[Observer],
    save_every: int,
    workers: int,
) -> Outcome:
    def tell(kind: str, step: int, figures: Mapping[str, float]) -> None:
        epoch = step / trainer.plan.steps_per_epoch
        entry = {"kind": kind, "step": step, "steps": trainer.steps, "epoch": round(epoch, 3), **figures}
        for observer in observers:
            observer(entry)

    if state.step == 0:
        state = state.begun(trainer.validate())
        tell("validation", 0, state.before)
    steps = range(state.step, trainer.steps)
    pinned = trainer.device.type == "cuda"
    drawn = batches(trainer.task.data, trainer.plan, steps, trainer.task.collate, workers=workers, pinned=pinned)
    figures: dict[str, float] = {"loss": math.nan}
    started = time.perf_counter()
    for step, batch in enumerate(drawn, start=state.step + 1):
        figures = trainer.step(step - 1, batch)
        now = time.perf_counter()
        tell("train", step, figures | {"examples_per_second": trainer.plan.rows / (now - started)})
        if step % save_every == 0 or step == trainer.steps:
            scores = trainer.validate()
            tell("validation", step, scores)
            state = state.advanced(step, scores, trainer.task.score)
            folder.keep(trainer, state)
        started = time.perf_counter()
    return Outcome(
        folder=folder.path,
        steps=trainer.steps,
        loss=figures["loss"],
        before=state.before,
        best=state.best,
        best_step=state.best_step,
    )


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave torch's default generators as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
