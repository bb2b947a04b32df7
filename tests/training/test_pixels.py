"""The pixel network is trained on views that are new at each step and the same in each run; then it gets its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactShape, CompactTower, strokes_of
from medclipsam.backbones.pixel_network import PixelNetwork
from medclipsam.training.data.augment import PLAIN
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.answers import Answers, dense_loss
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.calibration import Judged
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encoded, Encodings, cell_coverage, levels_of, varied
from medclipsam.training.embedded.heads import choose_share
from medclipsam.training.embedded.make import pixel_recipe, pixel_task, take_better
from medclipsam.training.embedded.material import Prepared
from medclipsam.training.embedded.pixels import PixelPass, PixelTask, ViewedImages, best_network
from medclipsam.training.embedded.task import Lessons, teach_words
from medclipsam.training.embedded.texts import build_bank
from medclipsam.training.journal import read_journal
from medclipsam.training.loop import Outcome, fit
from medclipsam.training.recipes import EmbeddedRecipe

CORPUS = Corpus.read()
QUICK = EmbeddedRecipe(steps=30, batch_size=6, optimizer="adamw", learning_rate=1e-2, ema=0.8, precision="fp32")
WIDTHS = (8, 16, 16)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LabelledImage]]:
    """Bright discs on grey noise, called lungs."""
    root = tmp_path_factory.mktemp("films")
    rows, columns = np.mgrid[:96, :96]
    images = []
    for number in range(24):
        random = np.random.default_rng(number)
        row, column = random.uniform(30, 66, 2)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < 18**2
        Image.fromarray((random.uniform(40, 90, disc.shape) + 120 * disc).astype(np.uint8)).save(root / f"{number}.png")
        Image.fromarray(disc).save(root / f"{number}-mask.png")
        names = {"image": f"{number}.png", "masks": (f"{number}-mask.png",), "targets": ("lungs",)}
        images.append(LabelledImage(folder="chest_xray_shenzhen", modality="x-ray", **names))
    return root, images


def lessons() -> Lessons:
    bank = build_bank(CORPUS, {"lungs": "x-ray", "polyp": "endoscopy"}, np.random.default_rng(0), frozenset())
    torch.manual_seed(0)
    sentences = F.normalize(torch.randn(len(bank.texts), 384), dim=-1)
    short = torch.stack([sentences[bank.by_target[name][0]] for name in ("lungs", "polyp")])
    for name, vector in zip(("lungs", "polyp"), short, strict=True):
        sentences[list(bank.by_target[name])] = vector
    return Lessons(CORPUS, bank, sentences, torch.zeros(0, 384), ("lungs", "polyp"), short)


def task_on(films: tuple[Path, list[LabelledImage]], recipe: EmbeddedRecipe = QUICK) -> PixelTask:
    torch.manual_seed(0)
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32)).eval()
    taught = lessons()
    teach_words(tower, taught)
    root, images = films
    network = PixelNetwork(WIDTHS, 32)
    validation = encoded(root, images[20:])
    return PixelTask(network, tower, taught, recipe, root=root, training=images[:20], validation=validation)


def encoded(root: Path, images: Sequence[LabelledImage]) -> Encodings:
    """As the cache keeps them, without what an encoder sees."""

    def read(row: int) -> Encoded:
        pixels, masks = varied(root, images[row], PLAIN, np.random.default_rng(0))
        return Encoded(torch.zeros(0), levels_of(pixels), cell_coverage(masks))

    return Encodings(images, torch.zeros(0), read, "films")


def test_a_view_depends_on_the_seed_the_step_and_the_image_alone(films) -> None:
    root, images = films
    draw = {seed: ViewedImages(root, images, CORPUS.folders, seed) for seed in (0, 1)}
    view = draw[0][5, 3]
    assert torch.equal(draw[0][5, 3].pixels, view.pixels)
    assert torch.equal(draw[0][5, 3].masks[0], view.masks[0])
    others = [draw[0][6, 3], draw[0][5, 4], draw[1][5, 3]]
    assert not any(torch.equal(other.pixels, view.pixels) for other in others)
    assert view.pixels.shape == (1, 256, 256, 3) and view.masks[0].shape == (1, 128, 128)


def test_it_learns_where_a_target_lies_and_the_best_is_kept(films, tmp_path: Path) -> None:
    task = task_on(films)
    outcome = fit(task, QUICK, tmp_path, device="cpu", save_every=10)
    losses = [entry["loss"] for entry in read_journal(tmp_path / "log.jsonl") if entry["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert outcome.best["dice"] > 0.8
    fresh = best_network(tmp_path, PixelNetwork(WIDTHS, 32))
    assert all(not weight.requires_grad for weight in fresh.parameters())
    task.network.load_state_dict(fresh.state_dict())
    assert task.validate()["dice"] == pytest.approx(outcome.best["dice"], abs=1e-6)


def test_where_a_target_is_not_its_outlines_are_asked_too() -> None:
    torch.manual_seed(0)
    network = PixelNetwork(WIDTHS, 32)
    mapped = PixelPass(network)(torch.rand(2, 256, 256, 3), torch.randn(1, 32))
    there, nowhere = torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool)
    truth = Answers(known=there, present=nowhere, missing=there, coverage=torch.zeros(0, 128, 128))
    strokes = strokes_of(truth.present, mapped.outline, mapped.sought)
    dense_loss(mapped.maps, strokes, truth).backward()
    asked = network.ask[-1].weight.grad.abs().amax(dim=1)
    assert (asked > 0).all(), "rows for outlines are the first"


@pytest.mark.parametrize("shown", [{"targets": ("kidney",)}, {"targets": (), "masks": ()}])
def test_validation_images_that_show_nothing_that_was_taught_have_nothing_to_say(films, shown) -> None:
    root, images = films
    assert task_on((root, [*images[:20], replace(images[20], **shown)])).validate() == {}


@pytest.mark.parametrize("goes_on", [True, False])
def test_it_goes_on_from_that_of_the_weights_whose_own_stays(films, goes_on: bool) -> None:
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32)).eval()
    if goes_on:
        tower.take(PixelNetwork(WIDTHS, 32).requires_grad_(False))
        tower.pixels.share.fill_(0.25)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    root, images = films
    seen = encoded(root, images[20:])
    material = Prepared(
        training=seen,
        validation=seen,
        lessons=lessons(),
        axes=Axes.of(tower),
        root=root,
        pictures=images[:20],
        series=3,
        skipped=(),
    )
    task = pixel_task(tower, material, QUICK)
    assert (task.network.unet.widths == WIDTHS) == goes_on
    assert float(task.network.share) == 1
    assert all(weight.requires_grad for weight in task.network.parameters())
    if goes_on:
        assert torch.equal(task.network.ask[0].weight, tower.pixels.ask[0].weight)
        task.network.ask[0].weight.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    assert pixel_recipe(QUICK, material.series).seed == QUICK.seed + 3


@pytest.mark.parametrize(("best", "taken"), [({"dice": 0.5}, True), ({"dice": 0.3}, False), ({}, False)])
def test_a_network_that_goes_on_and_gets_worse_is_left(tmp_path: Path, best: dict[str, float], taken: bool) -> None:
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32))
    first, second = PixelNetwork(WIDTHS, 32), PixelNetwork(WIDTHS, 32)
    outcome = Outcome(folder=tmp_path, steps=5, loss=1.0, before={"dice": 0.4}, best=best)
    take_better(tower, first, outcome)
    assert tower.pixels is first, "there was none"
    take_better(tower, second, outcome)
    assert (tower.pixels is second) == taken


def judged(logits: torch.Tensor) -> list[Judged]:
    truth = torch.zeros(128, 128, dtype=torch.bool)
    truth[20:60, 20:60] = True
    names = ("a.png", "b.png")
    return [Judged("films: lungs", name, True, False, 0.0, torch.zeros(6), logits, truth) for name in names]


@pytest.mark.parametrize("right", ["tower", "pixels"])
def test_it_counts_by_the_share_that_draws_best(right: str) -> None:
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32))
    network = PixelNetwork(WIDTHS, 32)
    tower.take(network)
    good = torch.full((128, 128), -2.0)
    good[20:60, 20:60] = 2
    bad = good.T.flip(0)
    alone, added = (good, 3 * bad) if right == "tower" else (bad, 3 * good)
    choose_share(tower, lambda: judged(alone + network.share * added))
    assert float(network.share) == {"tower": 0.0, "pixels": 0.5}[right]
    assert float(network.sought(torch.ones(1, 32)).cells.abs().sum() > 0) == float(network.share > 0)


def test_without_a_target_to_judge_by_it_counts_in_full() -> None:
    tower = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32))
    network = PixelNetwork(WIDTHS, 32)
    tower.take(network)
    nothing = [replace(case, present=False, logits=None, truth=None) for case in judged(torch.zeros(128, 128))]
    choose_share(tower, lambda: nothing)
    assert float(network.share) == 1
