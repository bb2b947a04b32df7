"""Student and teacher as one model: the surer answers, and a run of self-training is loaded so."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import medclipsam
from medclipsam.backbones.compact import CompactShape, CompactTower, Seen
from medclipsam.backbones.compact_clip import CompactClip, CompactView, to_bytes
from medclipsam.backbones.compact_pair import CompactPair, PairView
from medclipsam.config import Loading, zeroshot_preset
from medclipsam.methods.choosing import unfit
from medclipsam.types import MedImage
from medclipsam.weights import digest

TEXT = torch.eye(16)[0]
CELLS = torch.zeros(1, 64, 64, 16)
"""The upper half shows what the text names, the lower half its opposite."""
CELLS[..., 0] = torch.where(torch.arange(64) < 32, 1.0, -1.0)[:, None]
SEEN = Seen(CELLS, torch.zeros(1, 128, 128, 32))
VIEW = PairView(seen=SEEN, teacher=CompactView(seen=SEEN))
IMAGE = MedImage(pixels=np.random.default_rng(0).random((40, 60, 3), np.float32), name="noise")


def tower(scale: float) -> CompactTower:
    """Untrained; the larger its scale, the surer is each of its cells."""
    torch.manual_seed(0)
    made = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=16))
    with torch.no_grad():
        made.dense_scale.fill_(scale)
        made.dense_bias.fill_(0.0)
    return made


@pytest.fixture
def sam() -> Any:
    """What a `CompactClip` asks of LiteMedSAM."""
    return SimpleNamespace(framing=SimpleNamespace(side=256), device=torch.device("cpu"))


def paired(sam: Any, student: CompactTower, teacher: CompactTower) -> CompactPair:
    return CompactPair(sam, student, None, teacher=teacher, identity="s", teacher_identity="t")  # type: ignore[arg-type]


@pytest.mark.parametrize(("student", "teacher", "answers"), [(4.0, 0.5, "student"), (0.5, 4.0, "teacher")])
def test_the_surer_of_two_towers_answers(sam: Any, student: float, teacher: float, answers: str) -> None:
    pair = paired(sam, tower(student), tower(teacher))
    maps, presence = pair.compare(VIEW, TEXT)
    alone = CompactClip(sam, tower(4.0), None, identity="")  # type: ignore[arg-type]
    expected, expected_presence = alone.compare(VIEW, TEXT)
    assert torch.equal(maps, expected), answers
    assert presence == expected_presence


def test_the_teacher_answers_where_neither_is_surer(sam: Any) -> None:
    teacher = tower(2.0)
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        student.presence.judge.get_parameter("2.bias").add_(3)
    pair = paired(sam, student, teacher)
    alone = CompactClip(sam, teacher, None, identity="")  # type: ignore[arg-type]
    assert pair.compare(VIEW, TEXT)[1] == alone.compare(VIEW, TEXT)[1]


def test_a_run_that_keeps_its_teacher_is_loaded_with_it_by_torch(tmp_path: Path) -> None:
    for name, scale in (("compact.safetensors", 4.0), ("teacher.safetensors", 0.5)):
        (tmp_path / name).write_bytes(to_bytes(tower(scale)))
    segmenter = medclipsam.load("embedded", device="cpu", weights=tmp_path)
    assert segmenter.info.weights["compact"] == digest(tmp_path / "compact.safetensors")
    assert segmenter.info.weights["teacher of compact"] == digest(tmp_path / "teacher.safetensors")
    assert segmenter.segment(IMAGE, "polyp", always=True).probability.shape == IMAGE.size
    how = Loading(device="cpu", weights=tmp_path, engine="openvino")
    assert "keeps its teacher" in str(unfit(zeroshot_preset("embedded"), how))
    (tmp_path / "teacher.safetensors").unlink()
    assert "teacher of compact" not in medclipsam.load("embedded", device="cpu", weights=tmp_path).info.weights
    assert unfit(zeroshot_preset("embedded"), how) is None
