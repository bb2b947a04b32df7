"""Fine-tuning the embedded model: frozen parts look once, the map stays, the rest learns, and the preset loads it."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactShape, CompactTower
from medclipsam.backbones.compact_clip import load_tower, to_bytes
from medclipsam.backbones.geometry import LITE_MEDSAM
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.training import distributed
from medclipsam.training.data.captions import Captions, Pair, read_captions
from medclipsam.training.embedded import frozen_pairs
from medclipsam.training.journal import read_journal
from medclipsam.training.loop import fit
from medclipsam.training.recipes import CLIP_RECIPES
from medclipsam.training.tasks.encoders import compact_encoder
from medclipsam.training.tasks.finetune_clip import FinetuneClip, finetune

QUICK = CLIP_RECIPES["embedded"].changed(batch_size=8, epochs=2, warmup=0.0, temperature=0.1)
EVERYTHING = QUICK.changed(keep_map=False)


@dataclass
class Encoder:
    """In the place of LiteMedSAM: its framing, colours mixed into 256 channels, and a list of what it was asked."""

    asked: list[Tensor] = field(default_factory=list)
    framing = LITE_MEDSAM

    def frame(self, image) -> Tensor:
        return self.framing.fill(image.pixels)

    def encode(self, frames: Tensor) -> Tensor:
        self.asked.append(frames)
        mixed = torch.randn(256, 3, generator=torch.Generator().manual_seed(0))
        return torch.einsum("bchw,dc->bdhw", F.interpolate(frames, 64) - 0.5, mixed)


class Sentences:
    """In the place of MiniLM: the words of a caption as a bag; and how many captions it was asked in all."""

    asked = 0

    def __init__(self, *_: object) -> None: ...

    def encode(self, captions) -> Tensor:
        Sentences.asked += len(captions)
        vectors = torch.zeros(len(captions), 384)
        for row, caption in enumerate(captions):
            for word in caption.lower().split():
                vectors[row] += torch.randn(384, generator=torch.Generator().manual_seed(sum(map(ord, word))))
        return F.normalize(vectors, dim=-1)


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    encoder = Encoder()
    monkeypatch.setattr(frozen_pairs, "load_sam", lambda *_, **__: encoder)
    monkeypatch.setattr(frozen_pairs, "SentenceEncoder", Sentences)
    return encoder


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A tower of two blocks with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = CompactTower(CompactShape(width=32, blocks=2, heads=4, fine=16, embedding=24))
    (tmp_path / "start.safetensors").write_bytes(to_bytes(tower))
    return tmp_path / "start.safetensors"


def task_of(start: Path, captions: Path, recipe, val: int = 0, **options) -> FinetuneClip:
    pairs = read_captions(captions).pairs
    return FinetuneClip(compact_encoder(start), pairs[val:], pairs[:val], recipe, **options)


def test_every_image_and_caption_is_encoded_once_for_all_epochs_and_all_runs(start, drawn_captions, tmp_path, encoder):
    Sentences.asked = 0
    for name, recipe in (("first", QUICK), ("second", QUICK.changed(seed=1, loss="infonce"))):
        task = task_of(start, drawn_captions, recipe, val=4, features=tmp_path / "features")
        fit(task, recipe, tmp_path / name)
        assert len(encoder.asked) == Sentences.asked == 16
    files = list((tmp_path / "features").glob("*/*.safetensors"))
    assert len(files) == 16 + 2
    assert sum(file.stat().st_size for file in files) < 16 * (256 * 32 + 384) * 2 + 18 * 200


@pytest.mark.parametrize("recipe", [QUICK, EVERYTHING, EVERYTHING.changed(freeze_image_blocks=1)])
def test_what_is_kept_leads_to_the_embedding_of_the_whole_way(start, drawn_captions, tmp_path, encoder, recipe):
    task = task_of(start, drawn_captions, recipe)
    task.begin(tmp_path)
    tower = load_tower(start)
    image, text = task.embed(task.data)
    for row, pair in enumerate(read_captions(drawn_captions).pairs[:3]):
        features = tower.reduce(encoder.encode(encoder.frame(read_image(pair.image))))
        plain = tower.pool(tower.tokens(features, 2))[0]
        assert F.cosine_similarity(image[row], plain, dim=0) > 0.9999
        assert F.cosine_similarity(text[row], tower.embed_text(Sentences().encode([pair.caption]))[0], dim=0) > 0.9999


def test_the_pooling_learns_and_the_map_keeps_every_bit(start, drawn_captions, tmp_path, encoder):
    fit(task_of(start, drawn_captions, QUICK), QUICK, tmp_path / "run")
    before, after = load_tower(start), load_tower(tmp_path / "run" / "compact.safetensors")
    names = [name for name, weight in after.state_dict().items() if not torch.equal(weight, before.state_dict()[name])]
    assert {name.split(".")[0] for name in names} == {"attention", "pooled"}
    features, pixels = before.reduce(encoder.encode(torch.rand(1, 3, 256, 256))), torch.rand(1, 256, 256, 3)
    text = Sentences().encode(["a nodule"])
    maps, strokes = [], torch.randn(before.outline.ask.weight.shape)
    for tower in (before, after):
        tower.outline.ask.weight.data = strokes
        maps.append(tower.answer(tower.view(features, pixels), tower.embed_text(text))[0])
    assert torch.equal(*maps)


@pytest.mark.parametrize(
    ("settings", "learns"),
    [
        ({}, {"enter", "position", "blocks", "norm", "attention", "pooled", "text", "text_skip"}),
        ({"freeze_text": True, "freeze_image_blocks": 2}, {"norm", "attention", "pooled"}),
        ({"freeze_image": True}, {"text", "text_skip"}),
    ],
)
def test_more_learns_where_that_is_asked(start, drawn_captions, tmp_path, settings, learns):
    recipe = EVERYTHING.changed(**settings)
    fit(task_of(start, drawn_captions, recipe), recipe, tmp_path / "run")
    before, after = load_tower(start).state_dict(), load_tower(tmp_path / "run" / "compact.safetensors").state_dict()
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == learns


def test_pairs_are_learned(start, drawn_captions, tmp_path):
    recipe = EVERYTHING.changed(epochs=60, batch_size=16, learning_rate=1e-2, warmup=0.1, freeze_image_blocks=2)
    pairs = read_captions(drawn_captions).pairs
    outcome = fit(FinetuneClip(compact_encoder(start), pairs, pairs, recipe), recipe, tmp_path / "run", save_every=60)
    assert outcome.before["top1"] < 2 / 16
    assert outcome.best["top1"] > 3 / 16
    losses = [entry["loss"] for entry in read_journal(tmp_path / "run" / "log.jsonl") if entry["kind"] == "train"]
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(start, drawn_captions, tmp_path, encoder):
    recipe = EVERYTHING.changed(freeze_image_blocks=1, batch_size=4)
    fit(task_of(start, drawn_captions, recipe, val=4), recipe, tmp_path / "whole")

    def stop(entry):
        if entry["kind"] == "train" and entry["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(task_of(start, drawn_captions, recipe, val=4), recipe, tmp_path / "stopped", save_every=3, observer=stop)
    encoder.asked.clear()
    fit(task_of(start, drawn_captions, recipe, val=4), recipe, tmp_path / "stopped", save_every=3, resume=True)
    assert encoder.asked == []
    places = [tmp_path / name / "checkpoints" / "step-00000006" for name in ("whole", "stopped")]
    whole, stopped = (load_file(place / "model.safetensors") for place in places)
    assert all(torch.equal(whole[name], value) for name, value in stopped.items())


def test_processes_share_the_images(start, drawn_captions, tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    told = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        task = task_of(start, drawn_captions, QUICK)
        task.data.prepare(tmp_path, torch.device("cpu"), told.append)
        assert len(encoder.asked) == 8 * (rank + 1)
    assert told[0] == {"kind": "encoding", "step": 1, "steps": 8}
    assert task.data[0, 5].image.shape == (256, 32)


def test_an_image_that_cannot_be_read_is_recorded_and_replaced(start, drawn_captions, tmp_path):
    broken, absent = tmp_path / "broken.png", tmp_path / "absent.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    bad = [
        Pair(image=path, caption="A picture that nobody can read", group="x", row=path.stem)
        for path in (broken, absent)
    ]
    captions = Captions(pairs=(*read_captions(drawn_captions).pairs, *bad))
    outcome = finetune(compact_encoder(start), captions, tmp_path / "run", QUICK.changed(batch_size=18), val_share=0)
    assert outcome.loss == outcome.loss
    with (tmp_path / "run" / "skipped.csv").open(newline="") as file:
        assert [row["row"] for row in csv.DictReader(file)] == ["broken", "absent"]


def test_crops_are_refused_for_they_would_encode_every_image_anew(start, drawn_captions):
    with pytest.raises(BadInput, match="crops"):
        task_of(start, drawn_captions, QUICK.changed(crop_scale=0.9))


def test_a_damaged_feature_says_what_to_do(start, drawn_captions, tmp_path):
    task = task_of(start, drawn_captions, QUICK)
    task.begin(tmp_path)
    for file in (tmp_path / "features").glob("*/*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="delete it"):
        task.data[0, 0]
    with pytest.raises(BadInput, match="delete it"):
        task.begin(tmp_path)
