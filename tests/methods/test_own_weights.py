"""A person's own CLIP and Segment Anything weights are read with what they need, and nothing more is asked for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hugging_face_port import to_hugging_face
from safetensors.torch import save_file
from tiny_clip import biomed_folder, random_clip
from torch import Tensor
from typed import typed

import medclipsam
from medclipsam.config import M2IB, ZeroShot, zeroshot_preset
from medclipsam.errors import BadInput, MissingWeights, WrongHash
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.training.tasks.encoders import encoder_for
from medclipsam.types import Box, Hints, MedImage
from medclipsam.weights import digest, find, lookup, table
from medclipsam.weights.loading import load_state

SMALL = replace(zeroshot_preset("medclip-samv2"), sam="lite-medsam", m2ib=M2IB(layer=1, steps=2, samples=2))
SQUARE = Hints(boxes=(Box(x0=20, y0=15, x1=40, y1=30),))


def drawn() -> MedImage:
    pixels = np.full((50, 60, 3), 0.6, np.float32)
    pixels[15:30, 20:40] = 0.2
    return MedImage(pixels=pixels, name="drawn")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.delenv("MEDCLIPSAM_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "medclipsam" / "weights"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a small BiomedCLIP, without weights."""
    return biomed_folder(tmp_path / "model")


@pytest.fixture
def checkpoint(model: Path, tmp_path: Path) -> Path:
    """Its fine-tuned weights, alone in a folder."""
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "epoch_3.pt"
    torch.save({"epoch": 3, "state_dict": state_of(model)}, path)
    return path


def state_of(model: Path) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in random_clip(model, seed=4).network.state_dict().items()}


@pytest.fixture
def known(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small BiomedCLIP as the known one; everything of it is here but the 784 MB of tensors."""
    names = ["open_clip_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "config.json"]
    files = [table.WeightFile(name=name, sha256=digest(model / name)) for name in names]
    tensors = table.BIOMEDCLIP.files[0]
    monkeypatch.setattr(table, "BIOMEDCLIP", replace(table.BIOMEDCLIP, files=(tensors, *files)))
    return Path(shutil.copytree(model, cache / "biomedclip"))


def test_a_checkpoint_needs_configuration_and_tokenizer_but_not_the_known_tensors(
    known: Path, checkpoint: Path
) -> None:
    segmenter = medclipsam.load(SMALL, device="cpu", weights=checkpoint)
    assert segmenter.info.weights["biomedclip"] == digest(checkpoint)
    assert segmenter.segment(drawn(), "breast tumor").mask.shape == (50, 60)
    assert encoder_for(SMALL, checkpoint).identity == digest(checkpoint)


def test_configuration_and_tokenizer_can_be_had_without_the_tensors(known: Path) -> None:
    result = typed("weights", "pull", "biomedclip", "--without-tensors", "--offline")
    assert (result.exit_code, result.stdout) == (0, f"biomedclip: {known}\n")
    refused = typed("weights", "pull", "sam-vit-b", "--without-tensors", "--offline")
    assert refused.exit_code == 2
    assert "sam-vit-b has no file but its tensors" in refused.stderr


def test_what_a_checkpoint_lacks_is_named_without_the_tensors(checkpoint: Path) -> None:
    with pytest.raises(MissingWeights, match="configuration and tokenizer of weights 'biomedclip'") as caught:
        medclipsam.load(SMALL, device="cpu", weights=checkpoint)
    assert "weights pull biomedclip --without-tensors" in str(caught.value)
    assert "open_clip_config.json (SHA-256" in str(caught.value)
    assert "open_clip_pytorch_model.bin" not in str(caught.value)


def test_a_configuration_that_is_not_the_known_one_is_refused(known: Path, checkpoint: Path) -> None:
    (known / "vocab.txt").write_text("another")
    with pytest.raises(WrongHash, match=r"vocab\.txt"):
        medclipsam.load(SMALL, device="cpu", weights=checkpoint)


def test_a_folder_with_weights_alone_is_read_as_the_known_model(known: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "port").mkdir()
    torch.save(to_hugging_face(state_of(model)), tmp_path / "port" / "pytorch_model.bin")
    segmenter = medclipsam.load(SMALL, device="cpu", weights=tmp_path / "port")
    assert segmenter.info.weights["biomedclip"] == digest(tmp_path / "port" / "pytorch_model.bin")


@pytest.mark.parametrize("of_file", [False, True])
@pytest.mark.parametrize("tokenizer_config", [False, True])
def test_the_authors_folder_with_an_open_clip_configuration_is_read(
    model: Path, of_file: bool, tokenizer_config: bool
) -> None:
    """Their `config.json` is of a whole CLIP, and would give a BERT the tokenizer of CLIP."""
    save_file(state_of(model), model / "open_clip_model.safetensors")
    expected = encoded(medclipsam.load(SMALL, device="cpu", weights=model))
    (model / "open_clip_model.safetensors").unlink()
    bert = json.loads((model / "config.json").read_text())
    whole = {"architectures": ["BiomedCLIPModel"], "model_type": "clip", "projection_dim": 24, "text_config": bert}
    (model / "config.json").write_text(json.dumps(whole))
    if not tokenizer_config:
        (model / "tokenizer_config.json").unlink()
    torch.save(to_hugging_face(state_of(model)), model / "pytorch_model.bin")
    given = model / "pytorch_model.bin" if of_file else model
    assert torch.equal(encoded(medclipsam.load(SMALL, device="cpu", weights=given)), expected)


def encoded(segmenter: ZeroShotSegmenter) -> Tensor:
    return segmenter._evidence._model.encode_text(["breast tumor", "a lung"])


def test_every_model_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(MissingWeights) as caught:
        medclipsam.load("medclip-samv2", device="cpu")
    said = str(caught.value)
    assert "'biomedclip' are not on this machine, and weights 'sam-vit-h' are not" in said
    assert said.count("medclipsam weights pull") == 2
    assert all(file.name in said for key in ("biomedclip", "sam-vit-h") for file in lookup(key).files)


def test_an_incomplete_model_is_named_with_the_others(known: Path) -> None:
    with pytest.raises(
        MissingWeights, match=r"incomplete without open_clip_pytorch_model\.bin, and weights 'sam-vit-h'"
    ):
        medclipsam.load("medclip-samv2", device="cpu")


def test_a_refused_hash_says_how_to_use_weights_of_ones_own(known: Path) -> None:
    (known / "open_clip_pytorch_model.bin").write_bytes(b"fine-tuned")
    with pytest.raises(WrongHash, match="--weights FILE for a CLIP, --sam-weights FILE for Segment Anything"):
        medclipsam.load(SMALL, device="cpu")


def own_lite_medsam(path: Path, wrap: str = "") -> Path:
    """LiteMedSAM whose image encoder and mask decoder were both trained further."""
    state = load_state(find("lite-medsam").file)
    changed = {name: tensor * 1.02 if tensor.ndim > 1 else tensor for name, tensor in state.items()}
    torch.save({"epoch": 7, "model": {wrap + name: tensor for name, tensor in changed.items()}}, path)
    return path


@pytest.mark.parametrize("wrap", ["", "module."])
def test_own_sam_weights_draw_the_mask_and_the_embedded_clip_keeps_its_encoder(tmp_path: Path, wrap: str) -> None:
    path = own_lite_medsam(tmp_path / "mine.pth", wrap)
    own, known = (medclipsam.load("embedded", device="cpu", sam_weights=given) for given in (path, None))
    assert own.info.weights["lite-medsam"] == digest(path)
    assert own.info.weights["lite-medsam of compact"] == known.info.weights["lite-medsam"]
    answers = [segmenter.segment(drawn(), "breast tumor", SQUARE) for segmenter in (own, known)]
    assert np.array_equal(answers[0].saliency, answers[1].saliency)
    assert answers[0].presence == answers[1].presence
    assert not np.array_equal(answers[0].probability, answers[1].probability)


@pytest.mark.parametrize("key", ["sam-vit-b", "medsam-vit-b"])
def test_own_sam_weights_of_another_kind_are_refused_in_one_line(tmp_path: Path, key: str) -> None:
    path = own_lite_medsam(tmp_path / "mine.pth")
    with pytest.raises(BadInput, match=rf"mine\.pth as {key}: the checkpoint does not fit.*it looks like lite-medsam"):
        medclipsam.load(other_sam(key), device="cpu", sam_weights=path)


def other_sam(key: str) -> ZeroShot:
    return replace(zeroshot_preset("embedded"), sam=key)


def test_the_known_weights_of_another_sam_are_looked_for() -> None:
    with pytest.raises(MissingWeights, match="'sam-vit-b' are not on this machine"):
        medclipsam.load(other_sam("sam-vit-b"), device="cpu")


def test_the_command_takes_own_sam_weights_and_tells_their_hash(tmp_path: Path, cache: Path) -> None:
    path, scan, out = own_lite_medsam(tmp_path / "mine.pth"), tmp_path / "scan.npy", tmp_path / "out"
    np.save(scan, drawn().pixels)
    asked = ["segment", scan, "-p", "breast tumor", "--box", "20,15,40,30", "--device", "cpu"]
    result = typed(*asked, "--sam", "lite-medsam", "--sam-weights", path, "-o", out)
    assert result.exit_code == 0, result.output
    assert json.loads((out / "report.json").read_text())["weights"]["lite-medsam"] == digest(path)
    for wrong, said in (
        (["--sam", "vit_b", "--sam-weights", path], "mine.pth as sam-vit-b"),
        (["--sam-weights", tmp_path / "none.pth"], "none.pth"),
        (["--sam", "vit_l"], "'sam-vit-l' are not on this machine"),
    ):
        refused = typed(*asked, *wrong, "-o", tmp_path / "no")
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert said in refused.stderr


def test_a_folder_is_labelled_with_own_sam_weights(tmp_path: Path) -> None:
    path, scans, out = own_lite_medsam(tmp_path / "mine.pth"), tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    np.save(scans / "one.npy", drawn().pixels)
    asked = ["pseudolabel", scans, "-p", "breast tumor", "--device", "cpu", "--no-sandbox", "-o", out]
    assert typed(*asked, "--sam-weights", path).exit_code == 0
    assert digest(path) in (out / "run.json").read_text()
