"""Self-training of the embedded model: labels and scans -> views -> student -> the surer of teacher and student.

RUN/compact.safetensors   written last: the weights; `--weights RUN` takes the folder
    teacher.safetensors   beside a student: the weights that it was trained from, which answer where it is not surer
    config.toml, run.json settings; what a resumed run must share
    targets.json          what was taught, where that is known of the teacher: other texts are "never taught"
    figures.json          who was kept, and how far both agree with the held-out labels
    dataset/              what was learned from (`medclipsam.refine.dataset`), and its masks
    training/             log and checkpoints of the student; not needed afterwards
    features/             encoded views, unless they are kept elsewhere
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from medclipsam.backbones.compact import CompactTower
from medclipsam.backbones.compact_clip import KnownTexts, load_tower, to_bytes
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.backbones.taught import vocabulary_of
from medclipsam.backbones.tower import ensemble
from medclipsam.config import EMBEDDED_CLIPS
from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.prompting.evidence import wordings
from medclipsam.refine.dataset import PictureSet
from medclipsam.refine.embedded.task import AGREEMENT, STUDENT, SelfTraining
from medclipsam.refine.embedded.views import encode_views
from medclipsam.refine.pseudolabels import PseudoLabels
from medclipsam.refine.recipe import RefineOptions, SelfTrainingRecipe, Teacher
from medclipsam.refine.run import TRAINING, begun, material_of, told_skipped
from medclipsam.runs.finished import settings_of
from medclipsam.runtime import pick_device
from medclipsam.sides import one_side
from medclipsam.training import distributed
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.skipped import SkippedLog
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.corpus import Folder
from medclipsam.training.embedded.encodings import Encoder, Encodings
from medclipsam.training.journal import Observer, follow
from medclipsam.training.loop import Outcome, fit
from medclipsam.training.registry import Request, Trained
from medclipsam.training.settings import part_of
from medclipsam.weights import find, lookup
from medclipsam.weights.compact import TEACHER, compact_weights
from medclipsam.weights.targets import TARGETS, Target, known_targets, targets_beside, to_text

FEATURES, FIGURES = "features", "figures.json"


@dataclass(frozen=True, kw_only=True)
class SelfTrained:
    """What a run came to."""

    folder: Path
    prompt: str
    pictures: int
    """Learned from, those held out included."""
    skipped: int
    """Records and pictures that could not be used; see `dataset/skipped.csv`."""
    kept: str
    """Whose weights the run holds: student or teacher."""
    teacher: float
    """Agreement of the teacher with the labels of held-out pictures, in [0, 1]; see `SelfTraining.validate`."""
    student: float
    """The same of the best student with the teacher beside it."""


def train_embedded_further(request: Request) -> Trained:
    """What `medclipsam train refine-embedded` does.

    Raises:
        BadInput: nothing to learn from, too few pictures, a prompt that names one side, a folder with another run.
        CannotWrite: the folder cannot be written.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    with distributed.process_group(pick_device(request.device)) as device:
        return _train(request, device)


def _train(request: Request, device: torch.device) -> Trained:
    recipe, teacher = part_of(request.parts, SelfTrainingRecipe), part_of(request.parts, Teacher)
    material = material_of(request)
    check_enough(material, recipe.least)
    check_both_sides(material.prompt)
    weights = Path(teacher.weights) if teacher.weights else None
    key = labelled_by(request.data)
    file, identity = compact_weights(weights, key)
    tower, sentences = load_tower(file), SentenceEncoder(find("minilm").folder, device)
    data = begun(
        material, request.out, recipe, resume=request.resume, tell=request.tell, config=request.config, teacher=identity
    )
    features = FeatureCache(Path(teacher.features) if teacher.features else request.out / FEATURES)
    encoder = Encoder(request.out, features, _kind, device)
    views = _views(data, recipe, encoder, Axes.of(tower), follow(request.tell))
    known = KnownTexts(tower)
    prompt, others = _embedded(data.prompt, known, sentences), known.read(tower.known)
    task = SelfTraining(tower, *views, data, prompt=prompt, others=others, recipe=recipe)
    outcome = _fit(task, recipe, request, str(device))
    if distributed.rank() == 0 and (taught := taught_with(weights, data.prompt, sentences, key)):
        write_atomic(request.out / TARGETS, to_text(taught))
    trained = _keep(tower, outcome, request.out, data)
    distributed.barrier()
    return Trained(outcome=trained, told=_told(trained))


def _fit(task: SelfTraining, recipe: SelfTrainingRecipe, request: Request, device: str) -> Outcome:
    """Train, or go on with what was stopped."""
    return fit(
        task,
        recipe,
        request.out / TRAINING,
        device=device,
        resume=(request.out / TRAINING / "run.json").is_file(),
        save_every=recipe.judged_every,
        workers=part_of(request.parts, RefineOptions).workers,
        observer=follow(request.tell),
    )


def check_enough(material: PseudoLabels, least: int) -> None:
    """Refuse to learn from fewer pictures than the recipe asks for.

    Raises:
        BadInput: fewer.
    """
    count = sum(len(file.labels) for file in material.files)
    if count < least:
        raise BadInput(
            f"{count} labelled pictures of {material.prompt!r} are too few to learn from",
            f"give at least {least}, or use the labels as they are",
        )


def check_both_sides(prompt: str) -> None:
    """Refuse labels that are half of what the model was asked for.

    Raises:
        BadInput: the prompt names one side.
    """
    asked = one_side(prompt, pointed=False)
    if asked:
        raise BadInput(
            f"{prompt!r} is cut from the masks of {asked.structure!r}, which are what the model learns",
            f"label with the prompt {asked.structure!r}",
        )


def labelled_by(labels: Path) -> str:
    """Which of the package's models made the labels; `compact` where they do not say."""
    used = settings_of(labels).get("weights", {})
    return next((key for key in EMBEDDED_CLIPS if key in used), "compact")


def taught_with(
    weights: Path | None, prompt: str, sentences: SentenceEncoder, key: str = "compact"
) -> tuple[Target, ...]:
    """What a student's teacher was taught, for `targets.json`, without figures: those were not measured on the student.

    Nothing where nobody knows it, or where the prompt is none of it: a run must not call strange what it learned.

    Args:
        weights: the teacher's; None for the package's.
        key: which of the package's.
    """
    vocabulary = vocabulary_of(weights, key)
    if vocabulary is None:
        return ()
    vectors = {wording: sentences.encode([wording])[0].cpu().numpy() for wording in wordings(prompt)}
    if not any(vocabulary.familiar(wording, vector).taught for wording, vector in vectors.items()):
        return ()
    targets = targets_beside(weights) if weights else known_targets(key)
    return tuple(replace(each, home=None, elsewhere=None) for each in targets or ())


def _views(
    data: PictureSet, recipe: SelfTrainingRecipe, encoder: Encoder, axes: Axes, observer: Observer
) -> tuple[Encodings, Encodings]:
    """Encode the views of the pictures to learn from, and of those that are held out."""
    fold = data.fold(recipe)
    training, skipped = encode_views(data, fold["train"], recipe.views, encoder, axes=axes, observer=observer)
    held_out, more = encode_views(data, fold["val"], recipe.views, encoder, axes=axes, observer=observer)
    if distributed.rank() == 0:
        SkippedLog(data.root / "skipped.csv")([*skipped, *more])
    return training, held_out


def _embedded(prompt: str, known: KnownTexts, sentences: SentenceEncoder) -> Tensor:
    """(1, embedding): a prompt as the preset reads it, its wordings averaged."""
    rows = [known.read(sentences.encode([wording]).cpu()) for wording in wordings(prompt)]
    return ensemble(torch.cat(rows))[None]


def _kind(name: str) -> Folder:
    """Nothing is known of a person's own scans."""
    return Folder()


def _keep(teacher: CompactTower, outcome: Outcome, run: Path, data: PictureSet) -> SelfTrained:
    """Write the student, its teacher beside it, where they agree better with held-out labels; else the teacher."""
    before, best = (_agreement(scores) for scores in (outcome.before, outcome.best))
    kept = "student" if best > before else "teacher"
    if distributed.rank() == 0:
        figures = {"kept": kept, "teacher": before, "student": best, "best_step": outcome.best_step}
        write_atomic(run / FIGURES, json.dumps(figures, indent=1) + "\n")
        chosen = load_tower(run / TRAINING / STUDENT) if kept == "student" else teacher
        if kept == "student":
            write_atomic(run / TEACHER, to_bytes(teacher.cpu()))
        write_atomic(run / lookup("compact").file, to_bytes(chosen.cpu()))
    return SelfTrained(
        folder=run,
        prompt=data.prompt,
        pictures=len(data.groups),
        skipped=data.skipped,
        kept=kept,
        teacher=before,
        student=best,
    )


def _agreement(scores: Mapping[str, float]) -> float:
    return round(scores[AGREEMENT], 4)


def _told(trained: SelfTrained) -> tuple[str, ...]:
    skipped = told_skipped(trained.folder, trained.skipped)
    agreement = f"agreement on held-out views: teacher {trained.teacher:.3f}, student {trained.student:.3f}"
    kept = (
        "the student is kept, and the teacher where it is surer"
        if trained.kept == "student"
        else "no student was surer: the teacher alone is kept"
    )
    return (
        f"{trained.prompt}: learned from {trained.pictures:,} pictures{skipped}",
        f"{agreement}: {kept}",
        f"segment with it: medclipsam segment SCAN --prompt {trained.prompt!r} --weights {trained.folder}",
    )
