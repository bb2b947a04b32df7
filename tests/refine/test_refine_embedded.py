"""The embedded model learns from its own pseudo-labels: what learns, what stays, who is kept, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from refine_runs import silent
from torch import Tensor
from torch.nn import functional as F
from typed import typed

import medclipsam
from medclipsam.backbones.compact import CHANNELS, CompactShape, CompactTower
from medclipsam.backbones.compact_clip import load_tower, to_bytes
from medclipsam.backbones.compact_pair import sureness, surer
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest
from medclipsam.refine.dataset import PictureSet
from medclipsam.refine.embedded.run import check_both_sides, taught_with
from medclipsam.refine.embedded.task import (
    AGREEMENT,
    LEARNS,
    STUDENT,
    SelfTraining,
    entropy_of,
    label_loss,
)
from medclipsam.refine.embedded.views import MASKS, encode_views
from medclipsam.refine.recipe import SelfTrainingRecipe
from medclipsam.runs import LabelRequest, label_folder, read_manifest
from medclipsam.runs.confidence import agreement
from medclipsam.runs.labels import FOREGROUND, IGNORE
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded import encodings as encodings_module
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.corpus import Folder
from medclipsam.training.embedded.encodings import Encoded, Encoder, Encodings
from medclipsam.training.loop import Outcome, fit
from medclipsam.weights import find
from medclipsam.weights.targets import known_targets, to_text

QUICK = SelfTrainingRecipe(steps=60, batch_size=6, learning_rate=1e-2, ema=0.8, judged_every=30)
NO_PICTURES = PictureSet(root=Path(), groups={}, has_ignored=True, prompt="disc", digest="", skipped=0)
PROMPT, OTHERS = torch.randn(1, 32, generator=torch.Generator().manual_seed(1)), torch.eye(32)[:5]
FEW = ["--set", "least=8", "--set", "steps=6", "--set", "judged_every=2", "--set", "batch_size=4", "--device", "cpu"]


class KilledError(Exception):
    """Stands for a process that is gone."""


class Brightness:
    """Stands for LiteMedSAM: its first channels are how bright each cell is, the others are empty."""

    def encode(self, frames: Tensor) -> Tensor:
        """(1, 3, 256, 256) -> (1, 256, 64, 64)."""
        bright = F.avg_pool2d(frames.mean(dim=1, keepdim=True), 4)
        return torch.cat([bright.expand(-1, 16, -1, -1), torch.zeros(1, 240, 64, 64)], dim=1)


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is encoded by the real encoder."""
    monkeypatch.setattr(encodings_module, "load_sam", lambda *_, **__: Brightness())


def small_tower() -> CompactTower:
    """Knows twenty sentences; untrained."""
    torch.manual_seed(0)
    tower = CompactTower(CompactShape(width=32, blocks=2, heads=4, fine=16, detail=8, embedding=32))
    tower.know(torch.randn(20, 384))
    return tower


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The small tower as a file."""
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(to_bytes(small_tower()))
    return path


def bright_discs(count: int, first: int) -> Encodings:
    """Each image has a disc at a place of its own, bright on eight channels; a rim of it is ignored."""
    rows, columns = np.mgrid[:64, :64]
    fine = np.mgrid[:128, :128] / 2 - 0.25
    images, features, pixels, masks = [], [], [], []
    for number in range(first, first + count):
        draw = np.random.default_rng(number)
        middle = draw.integers(16, 48, 2)
        distance = np.hypot(rows - middle[0], columns - middle[1])
        noise = draw.integers(-3, 4, (64, 64, CHANNELS))
        noise[..., :8] += np.where(distance < 11, 30, 0)[..., None]
        features.append(torch.from_numpy(noise.astype(np.int8)))
        distance = np.hypot(*(fine - middle[:, None, None]))
        bright = np.where(distance < 11, 200, 60).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        pixels.append(torch.from_numpy(bright)[..., None].expand(-1, -1, 3))
        masks.append(torch.from_numpy(np.stack([distance < 10, (distance >= 10) & (distance < 12)]) * np.uint8(255)))
        images.append(LabelledImage(image=f"{number}.png", folder="disc", group=f"n{number}", targets=tuple(MASKS)))
    levels = torch.full((CHANNELS,), 0.05)
    return Encodings(images, levels, lambda row: Encoded(features[row], pixels[row], masks[row]), f"discs {first}")


def learned(run: Path, recipe: SelfTrainingRecipe = QUICK) -> tuple[Outcome, CompactTower]:
    """The student of a fit on twelve discs, judged by four others."""
    parts = bright_discs(12, 0), bright_discs(4, 12)
    task = SelfTraining(small_tower(), *parts, NO_PICTURES, prompt=PROMPT, others=OTHERS, recipe=recipe)
    outcome = fit(task, recipe, run, device="cpu", save_every=recipe.judged_every)
    return outcome, load_tower(run / STUDENT)


def test_a_student_finds_what_the_labels_show_on_pictures_that_it_did_not_see(tmp_path):
    outcome, _ = learned(tmp_path / "run")
    assert outcome.before[AGREEMENT] < 0.4
    assert outcome.best[AGREEMENT] > 0.85


def test_only_the_decoder_learns(tmp_path):
    _, student = learned(tmp_path / "run", QUICK.changed(steps=3))
    (tmp_path / "before").write_bytes(to_bytes(small_tower()))
    before = load_tower(tmp_path / "before").state_dict()
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} >= {"cells", "outline"}
    assert {name for name in changed if not name.startswith(LEARNS)} == set()


def test_the_maps_of_other_texts_and_the_presence_stay_nearer_where_they_are_held(tmp_path):
    features, pixels, _ = bright_discs(1, 30).stacked([0])
    texts, before = torch.cat([PROMPT, OTHERS]), small_tower()
    expected, sure = _answered(before, features, pixels, texts)
    maps, presences = [], []
    for weight in (0.0, 20.0):
        _, student = learned(tmp_path / f"{weight}", QUICK.changed(steps=12, stays_weight=weight))
        found, presence = _answered(student, features, pixels, texts)
        maps.append(float((found[:, 1:].sigmoid() - expected[:, 1:].sigmoid()).abs().mean()))
        presences.append(float((sure - presence)[0, 0].abs()))
    assert maps[1] < maps[0]
    assert presences[1] < presences[0]


def test_a_run_is_the_same_each_time_and_differs_by_its_seed(tmp_path):
    recipe = QUICK.changed(steps=2)
    bits = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        learned(tmp_path / name, recipe.changed(seed=seed))
        bits.append((tmp_path / name / STUDENT).read_bytes())
    assert bits[0] == bits[1] != bits[2]


def test_labels_of_little_confidence_are_drawn_seldom():
    data = replace(NO_PICTURES, confidence={"n0": 0.0, "n1": 0.5})
    parts = bright_discs(3, 0), bright_discs(2, 12)
    texts = torch.eye(32)
    task = SelfTraining(small_tower(), *parts, data, prompt=texts[:1], others=texts[1:], recipe=QUICK)
    assert task.weights == [0.05, 0.5, 1.0]


def test_ignored_cells_have_no_say():
    inside, ignored = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    inside[0, :20], ignored[0, 20:40] = 1, 1
    logits = torch.where(inside > 0, 20.0, -20.0)
    wrong = logits.clone()
    wrong[0, 20:40] = 20
    assert label_loss(wrong, inside, ignored) == pytest.approx(label_loss(logits, inside, ignored).item(), abs=1e-6)
    assert label_loss(logits, inside, ignored) == pytest.approx(0, abs=1e-4)
    assert label_loss(-logits, inside, ignored) > 10
    assert label_loss(logits, inside, torch.ones(1, 64, 64)) == pytest.approx(0, abs=1e-4)


def test_where_the_label_is_ignored_the_guide_is_learned_and_nowhere_else():
    guide, ignored = torch.zeros(2, 64, 64), torch.zeros(2, 64, 64)
    ignored[0, :8] = 1
    logits = torch.full((2, 64, 64), 10.0)
    costs = entropy_of(logits, guide, ignored)
    assert costs.tolist() == pytest.approx([10, 0], abs=1e-3)


def test_sureness_is_the_confidence_of_the_manifest_before_its_exponent():
    maps = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    maps[2] = 0.2
    expected = [agreement(each.numpy(), each.numpy() > 0.5) for each in maps]
    assert sureness(maps).tolist() == pytest.approx(expected, abs=1e-6)
    assert expected[2] == 0


def test_the_teacher_guides_each_case_of_which_the_student_is_not_surer():
    sharp, vague = torch.zeros(8, 8), torch.full((8, 8), 0.4)
    sharp[:4], vague[:4] = 1, 0.6
    guide = surer(torch.stack([sharp, vague, sharp]), torch.stack([vague, sharp, sharp]))
    assert torch.equal(guide, torch.stack([sharp, sharp, sharp]))


@pytest.mark.usefixtures("brightness")
def test_a_label_moves_with_its_picture_in_every_view(data: PictureSet, tmp_path):
    encoder = Encoder(data.root.parent, FeatureCache(tmp_path), lambda name: Folder(), torch.device("cpu"))
    axes = Axes(mean=torch.zeros(256), matrix=torch.eye(256)[:, :CHANNELS], step=torch.full((CHANNELS,), 1 / 127))
    names = [name for name in sorted(data.groups) if FOREGROUND in data.labels(name)]
    found, skipped = encode_views(data, names, 3, encoder, axes=axes)
    assert len(found) == 3 * len(names) and not skipped
    assert {image.group for image in found.images} == set(names)
    inside, ignored = (np.isin(data.labels(names[0]), value).mean() for value in (FOREGROUND, IGNORE))
    plain = next(row for row, image in enumerate(found.images) if image.group == names[0])
    assert found.read(plain).masks.float().mean((1, 2)).numpy() / 255 == pytest.approx([inside, ignored], abs=0.01)
    for row in range(len(names)):
        features, _, masks = found.read(row)
        finer = features[..., 0].repeat_interleave(2, 0).repeat_interleave(2, 1).float()
        assert finer[masks[0] > 200].mean() > finer[masks.amax(0) == 0].mean()


@pytest.mark.usefixtures("brightness")
def test_the_command_gives_weights_that_others_take_and_goes_on_after_a_kill(
    labels, scans, teacher, tmp_path, monkeypatch
):
    start = ["refine", labels, "--images", scans, "--backend", "embedded", *FEW, "--set", f"weights={teacher}"]
    start += ["--set", f"features={tmp_path / 'features'}"]
    whole = typed(*start, "-o", tmp_path / "whole", "--json")
    assert whole.exit_code == 0, whole.output
    told = json.loads(whole.stdout)
    assert (told["prompt"], told["pictures"]) == ("breast tumor", 12)
    figures = json.loads((tmp_path / "whole" / "figures.json").read_text())
    assert figures["kept"] == ("student" if figures["student"] > figures["teacher"] else "teacher")
    assert (tmp_path / "whole" / "teacher.safetensors").is_file() == (figures["kept"] == "student")
    assert load_tower(tmp_path / "whole" / "compact.safetensors").shape == small_tower().shape
    asked = typed("predict", tmp_path / "whole", scans, "-o", tmp_path / "out")
    assert (asked.exit_code, "holds weights of the embedded model" in asked.stderr) == (2, True)

    judge, judged = SelfTraining.validate, []

    def die(self: SelfTraining) -> Mapping[str, float]:
        judged.append(1)
        if len(judged) == 3:
            raise KilledError
        return judge(self)

    monkeypatch.setattr(SelfTraining, "validate", die)
    monkeypatch.setattr(encodings_module, "load_sam", None)  # all is encoded: the encoder is not even loaded
    killed = typed(*start, "-o", tmp_path / "killed")
    assert isinstance(killed.exception, KilledError)
    assert not (tmp_path / "killed" / "compact.safetensors").exists()
    assert typed(*start, "-o", tmp_path / "killed", "--resume").exit_code == 0
    files = [tmp_path / run / "compact.safetensors" for run in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("brightness")
def test_the_teacher_is_kept_where_no_student_is_surer(labels, scans, teacher, tmp_path):
    asked = ["refine", labels, "--images", scans, "--backend", "embedded", *FEW, "--set", f"weights={teacher}"]
    told = typed(*asked, "--set", "learning_rate=1e-30", "-o", tmp_path / "run")
    assert told.exit_code == 0, told.output
    assert "the teacher alone is kept" in told.stdout
    assert (tmp_path / "run" / "compact.safetensors").read_bytes() == teacher.read_bytes()
    assert json.loads((tmp_path / "run" / "figures.json").read_text())["kept"] == "teacher"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "12 labelled pictures of 'breast tumor' are too few to learn from; give at least 16"),
        (["--epochs", "9"], "self-training counts steps, not epochs"),
        (["--set", "fold=5"], "there is no fold 5 of 5"),
        (["--cycles", "3"], "unknown setting 'cycles'"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line_and_nothing_is_written(labels, scans, tmp_path, more, message):
    told = typed("refine", labels, "--images", scans, "--backend", "embedded", *more, "-o", tmp_path / "run")
    assert told.exit_code == 2, told.output
    assert message in told.stderr and len(told.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_prompt_of_one_side_is_refused_for_its_labels_are_half_of_what_the_model_shows():
    with pytest.raises(BadInput, match="label with the prompt 'lung'"):
        check_both_sides("left lung")
    check_both_sides("left ventricle")
    check_both_sides("lungs")


def test_a_run_says_what_its_teacher_was_taught_and_is_silent_where_it_learned_something_else(teacher):
    sentences = SentenceEncoder(find("minilm").folder)
    taught = taught_with(None, "breast tumor", sentences)
    assert [each.target for each in taught] == [each.target for each in known_targets()]
    assert not any(each.home or each.elsewhere for each in taught)
    assert taught_with(None, "bicycle", sentences) == ()
    assert taught_with(teacher, "breast tumor", sentences) == ()
    (teacher.parent / "targets.json").write_text(to_text(taught[:2]))
    assert taught_with(teacher, f"bicycle | {taught[0].target}", sentences) == taught[:2]


@pytest.mark.slow
def test_real_scans_teach_the_real_model_and_segment_and_pseudolabel_take_the_run(shared_data: Path, tmp_path: Path):
    scans, labels, run = (tmp_path / name for name in ("scans", "labels", "run"))
    scans.mkdir()
    for image in sorted((shared_data / "other_polyp_etis" / "images").iterdir())[:6]:
        shutil.copy(image, scans)
    request = LabelRequest(source=scans, output=labels, prompts=("polyp",), ignore_band=0.2)
    label_folder(request, partial(medclipsam.load, "embedded", device="cpu"), silent)
    few = ["--set", "least=3", "--set", "folds=2", "--set", "steps=4", "--set", "batch_size=4", "--device", "cpu"]
    told = typed("refine", labels, "--images", scans, "--backend", "embedded", *few, "-o", run, "--json")
    assert told.exit_code == 0, told.output
    assert 0 < json.loads(told.stdout)["teacher"] <= 1
    scan = sorted(scans.iterdir())[0]
    asked = ["segment", scan, "-p", "polyp", "--weights", run, "--device", "cpu", "-o", tmp_path / "out", "--json"]
    answer = typed(*asked)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["weights"]["compact"] == file_digest(run / "compact.safetensors")
    again = ["pseudolabel", scans, "--prompt", "polyp", "--weights", run, "--device", "cpu", "-o", tmp_path / "again"]
    assert typed(*again).exit_code == 0
    records = read_manifest(tmp_path / "again" / "manifest.jsonl").values()
    assert {record.status for record in records} <= {"done", "not found"} and len(records) == 6


def _answered(tower: CompactTower, features: Tensor, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, K, 128, 128) and presence logits (B, K)."""
    with torch.no_grad():
        return tower.answer(tower.view(features, pixels), texts)
