"""Fine-tuning a small CLIP: it learns, it stops and goes on, it keeps what is frozen, it can be used afterwards."""

from __future__ import annotations

import csv
import subprocess
import sys
import tarfile
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from medclipsam.backbones.clip import load_clip
from medclipsam.errors import BadInput, MissingExtra
from medclipsam.io import read_image
from medclipsam.training.data.captions import Captions, Pair, read_captions
from medclipsam.training.journal import read_journal
from medclipsam.training.loop import fit
from medclipsam.training.recipes import CLIP_RECIPES, ClipRecipe
from medclipsam.training.tasks.encoders import open_clip_encoder
from medclipsam.training.tasks.finetune_clip import FinetuneClip, finetune

QUICK = ClipRecipe(learning_rate=2e-3, batch_size=16, epochs=3, weight_decay=0.0, warmup=0.0, temperature=0.1)


class KilledError(Exception):
    """Stands for a process that is gone."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def last_checkpoint(run: Path) -> dict[str, torch.Tensor]:
    place = max((run / "checkpoints").glob("step-*"))
    return {
        f"{part}/{name}": tensor
        for part in ("model", "optimizer")
        for name, tensor in load_file(place / f"{part}.safetensors").items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def task_of(folder: Path, captions: Path, recipe: ClipRecipe, val: int = 0) -> FinetuneClip:
    pairs = read_captions(captions).pairs
    return FinetuneClip(open_clip_encoder(folder), pairs[val:], pairs[:val] if val else (), recipe)


def test_a_small_clip_learns_sixteen_pairs_from_chance_to_certainty(tiny_clip, drawn_captions, tmp_path):
    pairs = read_captions(drawn_captions).pairs
    recipe = QUICK.changed(epochs=50, learning_rate=3e-4, warmup=0.1)
    task = FinetuneClip(open_clip_encoder(tiny_clip), pairs, pairs, recipe)
    outcome = fit(task, recipe, tmp_path / "run", save_every=50)
    assert outcome.before["image_to_text_top1"] < 0.25
    assert outcome.before["text_to_image_top1"] < 0.25
    assert outcome.best["image_to_text_top1"] == outcome.best["text_to_image_top1"] == 1.0


def test_a_run_that_is_killed_goes_on_to_the_same_bits(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(batch_size=4, epochs=2, crop_scale=0.7, precision="bf16")
    fit(task_of(tiny_clip, drawn_captions, recipe, val=4), recipe, tmp_path / "whole", save_every=2)

    def die(entry):
        if entry["kind"] == "train" and entry["step"] == 4:
            raise KilledError

    with pytest.raises(KilledError):
        task = task_of(tiny_clip, drawn_captions, recipe, val=4)
        fit(task, recipe, tmp_path / "killed", save_every=3, observer=die)
    torch.rand(7)
    resumed = task_of(tiny_clip, drawn_captions, recipe, val=4)
    fit(resumed, recipe, tmp_path / "killed", save_every=3, resume=True)
    assert same(last_checkpoint(tmp_path / "whole"), last_checkpoint(tmp_path / "killed"))
    logs = [read_journal(tmp_path / name / "log.jsonl") for name in ("whole", "killed")]
    steps = [[(entry["step"], entry["loss"]) for entry in log if entry["kind"] == "train"] for log in logs]
    assert steps[0] == steps[1]
    assert [step for step, _ in steps[0]] == [1, 2, 3, 4, 5, 6]


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=1, batch_size=8)
    for name, chosen in (("a", recipe), ("b", recipe), ("c", recipe.changed(seed=1))):
        fit(task_of(tiny_clip, drawn_captions, chosen), chosen, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_shards_and_a_table_train_to_the_same_bits(tiny_clip, drawn_captions, tmp_path):
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for number, pair in enumerate(read_captions(drawn_captions).pairs):
            (tmp_path / "caption.txt").write_text(pair.caption)
            tar.add(pair.image, f"{number:03d}.png")
            tar.add(tmp_path / "caption.txt", f"{number:03d}.txt")
    recipe = QUICK.changed(epochs=1, crop_scale=0.7)
    for name, source in (("table", drawn_captions), ("shard", shard)):
        fit(task_of(tiny_clip, source, recipe), recipe, tmp_path / name)
    assert same(weights(tmp_path / "table"), weights(tmp_path / "shard"))


WITH_AND_WITHOUT_A_WORKER = """
import sys
from pathlib import Path
from test_finetune import QUICK, fit, task_of

clip, captions, out = map(Path, sys.argv[1:])
recipe = QUICK.changed(epochs=1, batch_size=8, crop_scale=0.5)
for name, workers in (("none", 0), ("one", 1)):
    fit(task_of(clip, captions, recipe), recipe, out / name, workers=workers)
"""


def test_workers_change_nothing_but_the_time(tiny_clip, drawn_captions, tmp_path):
    """In an interpreter of its own, as a person runs it: one that dies of its workers tells here what it died of."""
    script = [sys.executable, "-X", "faulthandler", "-c", WITH_AND_WITHOUT_A_WORKER]
    given = [str(tiny_clip), str(drawn_captions), str(tmp_path)]
    run = subprocess.run([*script, *given], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert same(weights(tmp_path / "none"), weights(tmp_path / "one"))


def test_the_callers_random_numbers_are_left_alone(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=1)
    task = task_of(tiny_clip, drawn_captions, recipe)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(task, recipe, tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_chunks_give_the_gradients_of_the_whole_batch(tiny_clip, drawn_captions):
    gradients = []
    for chunk in (0, 5):
        task = task_of(tiny_clip, drawn_captions, QUICK.changed(chunk_size=chunk))
        task.model.double()
        batch = task.collate([task.data[0, place] for place in range(16)])
        loss, _ = task.loss(task.model, batch._replace(image=batch.image.double()))
        loss.backward()
        gradients.append({name: weight.grad for name, weight in task.model.named_parameters() if weight.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_adding_up_the_losses_of_chunks_is_not_the_loss_of_the_batch(tiny_clip, drawn_captions):
    task = task_of(tiny_clip, drawn_captions, QUICK)
    examples = [task.data[0, place] for place in range(16)]
    whole = task.loss(task.model, task.collate(examples))[0].item()
    halves = [task.loss(task.model, task.collate(examples[start : start + 8]))[0].item() for start in (0, 8)]
    assert abs(sum(halves) / 2 - whole) > 0.1


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ({"freeze_image": True}, (["visual."], ["text.transformer.resblocks.0.", "text.token_embedding."])),
        ({"freeze_text": True}, (["text."], ["visual.conv1.", "visual.proj"])),
        (
            {"freeze_image_blocks": 1, "freeze_text_blocks": 1},
            (
                [
                    *("visual.conv1.", "visual.class_embedding", "visual.positional_embedding", "visual.ln_pre."),
                    *("visual.transformer.resblocks.0.", "text.transformer.resblocks.0.", "text.token_embedding."),
                ],
                ["visual.transformer.resblocks.1.", "visual.proj", "text.transformer.resblocks.1.", "text.ln_final."],
            ),
        ),
    ],
)
def test_what_is_frozen_stays_and_the_rest_moves(tiny_clip, drawn_captions, tmp_path, setting, parts):
    kept, trained = parts
    recipe = QUICK.changed(epochs=2, weight_decay=0.1, **setting)
    fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run")
    before, after = load_clip(tiny_clip).network.state_dict(), weights(tmp_path / "run")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for prefix in kept:
        assert any(name.startswith(prefix) for name in before)
        assert not [name for name in moved if name.startswith(prefix)]
    for prefix in trained:
        assert [name for name in moved if name.startswith(prefix)], prefix
    assert "logit_scale" not in moved


def test_freezing_everything_or_more_blocks_than_there_are_is_refused(tiny_clip, drawn_captions, tmp_path):
    everything = QUICK.changed(freeze_image=True, freeze_text=True)
    with pytest.raises(BadInput, match="frozen"):
        fit(task_of(tiny_clip, drawn_captions, everything), everything, tmp_path / "run")
    with pytest.raises(BadInput, match="3 blocks of a tower with 2"):
        task_of(tiny_clip, drawn_captions, QUICK.changed(freeze_text_blocks=3))


@pytest.mark.parametrize("loss", ["dhn-nce", "dhn-nce-released", "hn-nce", "dcl", "infonce"])
def test_every_loss_trains_in_bf16_with_finite_weights(tiny_clip, drawn_captions, tmp_path, loss):
    recipe = QUICK.changed(loss=loss, precision="bf16", epochs=2, clip_norm=1.0)
    outcome = fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run")
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())
    assert outcome.loss == outcome.loss
    assert weights(tmp_path / "run")["visual.proj"].dtype == torch.float32


def test_a_gradient_that_is_clipped_to_nothing_moves_nothing(tiny_clip, drawn_captions, tmp_path):
    for name, norm in (("free", 0.0), ("clipped", 1e-12)):
        recipe = QUICK.changed(epochs=1, clip_norm=norm)
        fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / name)
    before = load_clip(tiny_clip).network.visual.proj
    free, clipped = ((weights(tmp_path / name)["visual.proj"] - before).abs().max() for name in ("free", "clipped"))
    assert free > 1e-4
    assert clipped < 1e-7
    assert read_journal(tmp_path / "clipped" / "log.jsonl")[1]["gradient_norm"] > 1e-3


def test_fp16_on_a_cpu_names_the_way_out(tiny_clip, drawn_captions, tmp_path):
    recipe = CLIP_RECIPES["released"]
    with pytest.raises(BadInput, match="bf16"):
        fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run", device="cpu")


def test_the_run_is_an_open_clip_folder_that_encodes_like_the_trained_model(tiny_clip, drawn_captions, tmp_path):
    task = task_of(tiny_clip, drawn_captions, QUICK)
    fit(task, QUICK, tmp_path / "run")
    image = read_image(drawn_captions.parent / "images" / "case03.png")
    captions = ["a small dark square nodule", "nothing"]
    task.model.eval()
    pixels = task.data[0, 3].image[None]
    ours = load_clip(tmp_path / "run")
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'run'}")
    theirs.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'run'}")(captions)
    with torch.no_grad():
        expected_image, _ = task.model(pixels, tokens[:1])
        expected_text = theirs.encode_text(tokens)
        torch.testing.assert_close(ours.network.encode_image(ours.prepare(image, "squash")[None]), expected_image)
        torch.testing.assert_close(theirs.encode_image(pixels), expected_image)
    torch.testing.assert_close(ours.encode_text(captions), expected_text)
    assert not torch.allclose(expected_text, load_clip(tiny_clip).encode_text(captions))


def test_the_best_weights_by_validation_are_kept_and_not_the_last(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=3)
    task = task_of(tiny_clip, drawn_captions, recipe)
    scores = iter([0.1, 0.5, 0.9, 0.4])
    task.validate = lambda: {"top1": next(scores)}
    snapshots = []

    def remember(entry):
        if entry["kind"] == "validation":
            snapshots.append(task.model.network.visual.proj.detach().clone())

    outcome = fit(task, recipe, tmp_path / "run", observer=remember)
    assert (outcome.best_step, outcome.best, outcome.before) == (2, {"top1": 0.9}, {"top1": 0.1})
    assert torch.equal(weights(tmp_path / "run")["visual.proj"], snapshots[2])


def test_a_folder_that_holds_anything_is_not_written_into(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=1)
    with pytest.raises(BadInput, match="not an empty folder"):
        fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tiny_clip)
    fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run")
    with pytest.raises(BadInput, match="--resume"):
        fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run")


def test_a_run_is_not_resumed_with_other_settings_or_data(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=1)
    fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run")
    other = recipe.changed(learning_rate=1e-4, seed=3)
    with pytest.raises(BadInput, match="learning_rate, seed"):
        fit(task_of(tiny_clip, drawn_captions, other), other, tmp_path / "run", resume=True)
    with pytest.raises(BadInput, match="model or data"):
        fit(task_of(tiny_clip, drawn_captions, recipe, val=2), recipe, tmp_path / "run", resume=True)


def test_a_finished_run_can_be_resumed_and_does_nothing(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=1)
    first = fit(task_of(tiny_clip, drawn_captions, recipe, val=2), recipe, tmp_path / "run")
    again = fit(task_of(tiny_clip, drawn_captions, recipe, val=2), recipe, tmp_path / "run", resume=True)
    assert (again.best, again.before, again.best_step) == (first.best, first.before, first.best_step)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_clip, drawn_captions, tmp_path):
    recipe = QUICK.changed(epochs=30, learning_rate=1e30)
    with pytest.raises(BadInput, match="learning rate"):
        fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run")


def test_bad_rows_and_bad_images_are_recorded_and_passed_over(tiny_clip, drawn_captions, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    good = read_captions(drawn_captions)
    bad = Pair(image=broken, caption="A picture that nobody can read", group="broken", row="captions.csv:99")
    skipped = read_captions_with_gaps(drawn_captions, tmp_path)
    captions = Captions(pairs=(*good.pairs, bad), skipped=skipped)
    recipe = QUICK.changed(epochs=2, batch_size=17)
    outcome = finetune(open_clip_encoder(tiny_clip), captions, tmp_path / "run", recipe, val_share=0)
    with (tmp_path / "run" / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["gaps.csv:3", "captions.csv:99"]
    assert rows[0]["reason"] == "image not found"
    assert "cannot be read" in rows[1]["reason"]
    assert outcome.loss == outcome.loss


def read_captions_with_gaps(drawn: Path, folder: Path):
    table = folder / "gaps.csv"
    lines = drawn.read_text().splitlines()
    table.write_text("\n".join([*lines[:2], "images/absent.png,A caption of an absent image,case77"]))
    return read_captions(table, drawn.parent).skipped


def test_equal_captions_are_no_negatives_where_that_is_asked(tiny_clip, drawn_captions):
    pairs = [pair for pair in read_captions(drawn_captions).pairs[:4] for _ in range(2)]
    encoder = open_clip_encoder(tiny_clip)
    losses = {}
    for masked in (False, True):
        recipe = QUICK.changed(mask_identical=masked)
        task = FinetuneClip(encoder, pairs, (), recipe)
        batch = task.collate([task.data[0, place] for place in range(8)])
        losses[masked] = task.loss(task.model, batch)[0].item()
    assert losses[True] < losses[False]


def test_tensorboard_gets_the_figures(tiny_clip, drawn_captions, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = QUICK.changed(epochs=2)
    fit(task_of(tiny_clip, drawn_captions, recipe, val=3), recipe, tmp_path / "run", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = [entry["loss"] for entry in read_journal(tmp_path / "run" / "log.jsonl") if entry["kind"] == "train"]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(logged)
    assert "validation/top1" in events.Tags()["scalars"]


def test_without_tensorboard_the_message_names_the_extra(tiny_clip, drawn_captions, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    recipe = QUICK.changed(epochs=1)
    with pytest.raises(MissingExtra, match=r"medclipsam\[train\]"):
        fit(task_of(tiny_clip, drawn_captions, recipe), recipe, tmp_path / "run", tensorboard=True)
