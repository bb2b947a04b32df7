"""Two processes train as one: the same loss, the same gradients, the same weights."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.multiprocessing import spawn

from medclipsam.errors import BadInput
from medclipsam.training import distributed
from medclipsam.training.data.sampling import BatchPlan
from medclipsam.training.losses import contrastive_loss, identical

PROCESSES = 2


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    model = nn.Linear(6, 5, dtype=torch.float64)
    nn.init.normal_(model.weight, generator=generator)
    nn.init.zeros_(model.bias)
    return image, text, torch.tensor([1, 2, 3, 1, 5, 6, 7, 8]), model


def loss_and_gradient(model: nn.Module, weight: nn.Parameter, rows: slice) -> tuple[float, torch.Tensor]:
    image, text, captions, _ = batch()
    gather = distributed.gather_rows
    same = identical(gather(captions[rows]))
    embeddings = model(torch.cat([image[rows], text[rows]])).chunk(2)
    loss = contrastive_loss("dhn-nce")(gather(embeddings[0]), gather(embeddings[1]), same)
    loss.backward()
    assert weight.grad is not None
    return loss.item(), weight.grad


def join(rank: int, port: int) -> None:
    """Make this process one of two, as torchrun does."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(PROCESSES), "LOCAL_RANK": str(rank)}


def share_a_batch(rank: int, port: int, out: Path) -> None:
    join(rank, port)
    with distributed.process_group(torch.device("cpu")):
        torch.save(found_by(rank), out / f"found-{rank}.pt")
        with pytest.raises(BadInput, match="2 processes cannot share a batch of 7"):
            BatchPlan(examples=20, batch_size=7, seed=0)


def found_by(rank: int) -> tuple[float, torch.Tensor]:
    """What one process finds; its wrapped model, which holds the group, is gone before the group is left."""
    model = batch()[-1]
    wrapped = nn.parallel.DistributedDataParallel(model)
    return loss_and_gradient(wrapped, model.weight, slice(rank, None, PROCESSES))


def share_a_run(rank: int, port: int, tiny_clip: Path, captions: Path, out: Path) -> None:
    join(rank, port)
    train(tiny_clip, out, captions)


def train(folder: Path, out: Path, captions: Path) -> None:
    from medclipsam.training.data.captions import read_captions
    from medclipsam.training.loop import fit
    from medclipsam.training.recipes import ClipRecipe
    from medclipsam.training.tasks.encoders import open_clip_encoder
    from medclipsam.training.tasks.finetune_clip import FinetuneClip

    recipe = ClipRecipe(learning_rate=1e-3, batch_size=8, chunk_size=3, epochs=2, crop_scale=0.8, mask_identical=True)
    pairs = read_captions(captions).pairs
    fit(FinetuneClip(open_clip_encoder(folder), pairs[:12], pairs[12:], recipe), recipe, out, device="cpu")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path):
    spawn(share_a_batch, (free_port(), tmp_path), nprocs=PROCESSES)
    model = batch()[-1]
    loss, gradient = loss_and_gradient(model, model.weight, slice(None))
    for rank in range(PROCESSES):
        found_loss, found_gradient = torch.load(tmp_path / f"found-{rank}.pt", weights_only=True)
        assert found_loss == pytest.approx(loss, rel=1e-12)
        torch.testing.assert_close(found_gradient, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_two_processes_train_like_one(tiny_clip, drawn_captions, tmp_path):
    from medclipsam.training.journal import read_journal

    spawn(share_a_run, (free_port(), tiny_clip, drawn_captions, tmp_path / "shared"), nprocs=PROCESSES)
    train(tiny_clip, tmp_path / "alone", drawn_captions)
    logs = [read_journal(tmp_path / name / "log.jsonl") for name in ("shared", "alone")]
    steps = [[entry["loss"] for entry in log if entry["kind"] == "train"] for log in logs]
    assert len(steps[0]) == 2
    assert steps[0][0] == pytest.approx(steps[1][0], rel=1e-6)
    assert steps[0][1] == pytest.approx(steps[1][1], rel=1e-3)
    assert logs[0][0] == logs[1][0]


def test_one_process_gathers_what_it_has():
    rows = torch.ones(3, 2)
    assert distributed.gather_rows(rows) is rows
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
