"""Do engines that need no torch give torch's answers, and is one that fails passed over?"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import medclipsam
from medclipsam.backbones.geometry import LITE_MEDSAM, Frame
from medclipsam.backbones.letterbox import Letterbox
from medclipsam.backbones.taught import taught_words
from medclipsam.backbones.wordpieces import Unread
from medclipsam.config import EngineKind, Loading, zeroshot_preset
from medclipsam.engines import Graph, Open, opened
from medclipsam.engines.opened import graphs_of
from medclipsam.engines.store import Record, Wanted, publishing, read_record, write_record
from medclipsam.errors import BadInput, WrongHash
from medclipsam.methods import choosing
from medclipsam.methods.exported import texts_of
from medclipsam.methods.exporting import drawn_picture
from medclipsam.methods.prefetch import encoded_ahead
from medclipsam.prompting.exported_texts import KEPT, SENTENCE, ExportedTexts, keep_texts, read_kept
from medclipsam.types import Box, FloatArray, MedImage

WITH_OPENVINO = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
WITH_ONNX = pytest.mark.skipif(
    not (find_spec("onnxruntime") and find_spec("onnx")), reason="onnx and onnxruntime are not installed"
)
EACH_ENGINE = pytest.mark.parametrize(
    "engine", [pytest.param("openvino", marks=WITH_OPENVINO), pytest.param("onnx", marks=WITH_ONNX)]
)
sizes = st.tuples(st.integers(2, 300), st.integers(2, 300))


@pytest.fixture
def picture() -> MedImage:
    return drawn_picture()


@EACH_ENGINE
def test_an_engine_gives_the_answers_of_torch(engine: EngineKind, picture: MedImage) -> None:
    kinds: tuple[EngineKind, ...] = ("torch", engine)
    plain, fast = (medclipsam.load("embedded", device="cpu", encoder_engine=kind) for kind in kinds)
    for prompt in ("breast tumor", "cyst | breast mass", "liver"):
        one, other = (each.segment(picture, prompt, always=True) for each in (plain, fast))
        assert np.abs(one.probability - other.probability).max() < 1e-3
        assert (one.mask == other.mask).mean() > 0.9999
        assert one.presence == pytest.approx(other.presence, abs=1e-4)
    for prompt in ("breast tumor", "a red sports car"):
        one, other = (each.segment(picture, prompt) for each in (plain, fast))
        assert (one.found, one.reason, one.notes) == (other.found, other.reason, other.notes)
    assert plain.info.engine == "torch"
    assert re.fullmatch(rf"{engine} \d+\.\d+\.\d+", str(fast.info.engine))


@EACH_ENGINE
def test_another_process_other_threads_and_other_company_give_the_same_bits(
    engine: EngineKind, picture: MedImage
) -> None:
    code = "import hashlib, medclipsam\nfrom medclipsam.methods.exporting import drawn_picture\n"
    code += f"fast = medclipsam.load('embedded', device='cpu', encoder_engine={engine!r})\n"
    code += "found = fast.segment(drawn_picture(), 'cyst', always=True)\n"
    code += "print(hashlib.sha256(found.probability.tobytes()).hexdigest())"
    two = os.environ | {"OMP_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=two)
    here = medclipsam.load("embedded", device="cpu", encoder_engine=engine)
    here.segment(medclipsam.image_from_array(np.eye(50, dtype=np.float32)), "liver", always=True)
    found = here.segment(picture, "cyst", always=True)
    assert hashlib.sha256(found.probability.tobytes()).hexdigest() == ran.stdout.strip()


@WITH_OPENVINO
def test_images_encoded_ahead_are_answered_in_their_order_and_as_alone(picture: MedImage) -> None:
    images = [
        medclipsam.image_from_array(picture.pixels[..., 0] * (share / 10), name=f"share{share}")
        for share in (10, 5, 0, 2)
    ]
    fast, alone = (medclipsam.load("embedded", device="cpu", encoder_engine="openvino") for _ in range(2))
    with encoded_ahead(iter(images), lambda image: image, fast) as coming:
        found = {image.name: fast.segment(image, "cyst", always=True).probability for image in coming}
    assert list(found) == ["share10", "share5", "share0", "share2"]
    for image in reversed(images):
        assert np.array_equal(found[image.name], alone.segment(image, "cyst", always=True).probability)


@WITH_OPENVINO
def test_what_the_first_answer_was_computed_in_is_given_back_unless_another_thread_computes() -> None:
    from medclipsam.engines.openvino import _OpenVinoGraph

    class Busy:
        released = 0

        def create_infer_request(self) -> Busy:
            return self

        def infer(self, inputs: list[FloatArray]) -> dict[int, FloatArray]:
            return {0: 2 * inputs[0]}

        def release_memory(self) -> None:
            self.released += 1
            raise RuntimeError("busy")

    compiled = Busy()
    graph = _OpenVinoGraph(compiled)
    for value in (1.0, 2.0):
        assert graph(np.array([value], np.float32))[0] == 2 * value
    assert compiled.released == 1


@WITH_OPENVINO
def test_no_thread_is_bound_to_a_core_that_other_processes_bind_theirs_to() -> None:
    fast = medclipsam.load("embedded", device="cpu", encoder_engine="openvino")
    assert fast._sam._encoder()._compiled.get_property("ENABLE_CPU_PINNING") is False


@WITH_OPENVINO
def test_points_are_refused_and_an_own_box_is_taken(picture: MedImage) -> None:
    fast = medclipsam.load("embedded", device="cpu", encoder_engine="openvino")
    plain = medclipsam.load("embedded", device="cpu")
    hints = medclipsam.Hints(boxes=(Box(x0=60, y0=30, x1=240, y1=210), Box(x0=150, y0=90, x1=200, y1=130)))
    masks = [each.segment(picture, "mass", hints=hints).mask for each in (fast, plain)]
    assert masks[0].any() and (masks[0] == masks[1]).mean() > 0.9999
    with pytest.raises(BadInput, match="boxes alone"):
        fast.segment(
            picture,
            "mass",
            hints=medclipsam.Hints(points=medclipsam.Points(xy=np.array([[5.0, 5.0]]), labels=np.array([1]))),
        )


@given(size=sizes)
@settings(max_examples=40, deadline=None)
def test_an_image_lies_in_the_square_as_torch_lays_it(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((*size, 3), np.float32)
    ours, theirs = Letterbox(size=size, side=256).fill(pixels), LITE_MEDSAM.fill(pixels).numpy()
    assert np.abs(ours - theirs).max() < 1e-4


@given(size=sizes)
@settings(max_examples=40, deadline=None)
def test_maps_masks_and_boxes_come_back_as_torch_brings_them(size: tuple[int, int]) -> None:
    place, box = Letterbox(size=size, side=256), LITE_MEDSAM.place(size)
    heat = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    frame = Frame(kind="letterbox", size=size, side=256)
    assert np.abs(place.cells(heat) - frame.inverse(torch.from_numpy(heat)).numpy()).max() < 1e-4
    assert np.abs(place.masks(heat[None]) - box.to_native(torch.from_numpy(heat)[None, None]).numpy()).max() < 1e-4
    edges = Box(x0=0.5, y0=0, x1=size[1] - 1, y1=size[0] / 2)
    native = np.array([[edges.x0, edges.y0], [edges.x1, edges.y1]])
    assert place.edges([edges]).reshape(2, 2) == pytest.approx(box.edges_to_square(native), abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (Loading(engine="openvino", device="cuda"), "the device is cuda"),
        (Loading(engine="openvino", device="cpu", precision="fp16"), "fp32 or bf16"),
        (Loading(engine="openvino", device="cpu", sam_weights=Path("own.pth")), "weights of your own"),
    ],
)
def test_what_an_engine_cannot_compute_is_said_in_one_line(changed: Loading, why: str) -> None:
    assert why in str(choosing.unfit(zeroshot_preset("embedded"), changed))
    assert choosing.unfit(zeroshot_preset("embedded"), Loading(engine="openvino", device="cpu")) is None
    assert "only the embedded" in str(choosing.unfit(zeroshot_preset("medclip-samv2"), Loading(device="cpu")))


@WITH_OPENVINO
def test_an_engine_that_failed_its_check_is_passed_over_by_auto_and_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choosing, "PACKAGES", {"openvino": "openvino"})
    how = Loading(engine="openvino", device="cpu")
    config = zeroshot_preset("embedded")
    wanted = Wanted(engine="openvino", precision="fp32", weights=choosing._weights(config, how))
    with publishing(wanted.folder) as stage:
        write_record(stage, Record(passed=False, reason="its features are 3 off"))
    with pytest.raises(BadInput, match="its features are 3 off"):
        medclipsam.load("embedded", device="cpu", encoder_engine="openvino")
    assert medclipsam.load("embedded", device="cpu", encoder_engine="auto").info.engine == "torch"


@EACH_ENGINE
def test_taught_words_are_kept_as_their_graph_reads_them(engine: EngineKind) -> None:
    medclipsam.load("embedded", device="cpu", encoder_engine=engine)
    weights = choosing._weights(zeroshot_preset("embedded"), Loading(engine=engine, device="cpu"))
    folder = Wanted(engine=engine, precision="fp32", weights=weights).folder
    kept, texts = read_kept(folder), texts_of(folder, engine, "fp32")
    assert set(kept) == set(taught_words().usual_wordings)
    for wording in list(kept)[::200]:
        assert np.array_equal(kept[wording], texts.compute(wording))


def test_kept_texts_ask_neither_the_graph_nor_the_tokenizer(tmp_path: Path) -> None:
    class Words:
        def ids(self, texts: list[str]) -> list[list[int]]:
            return [[len(text) for text in texts]]

        def rows(self, ids: list[int]) -> FloatArray:
            return np.full((len(ids), SENTENCE), ids[0], np.float32)

        def unread(self, text: str) -> Unread | None:
            return Unread(128, 1) if "long" in text else None

    def graph(*inputs: Any) -> tuple[FloatArray, ...]:
        return inputs[0][:, 0, :2], inputs[0][:, 0]

    def refuse() -> Any:
        raise AssertionError

    words: Any = Words()
    asks = ExportedTexts(lambda: graph, lambda: words)
    keep_texts(tmp_path, asks, ["liver", "a long text", "cyst"])
    kept = read_kept(tmp_path)
    assert list(kept) == ["liver", "cyst"]
    knows = ExportedTexts(refuse, refuse, kept=kept)
    for wording in kept:
        assert all(map(np.array_equal, knows.read(wording), asks.read(wording)))
        assert knows.unread(wording) is None
    assert [part.shape for part in knows.read("liver")] == [(2,), (SENTENCE,)]
    with pytest.raises(AssertionError):
        knows.read("spleen")


@pytest.mark.parametrize("written", [None, b"", b"no safetensors"])
def test_texts_that_cannot_be_read_are_none(written: bytes | None, tmp_path: Path) -> None:
    if written is not None:
        (tmp_path / KEPT).write_bytes(written)
    assert read_kept(tmp_path) == {}


@WITH_OPENVINO
@pytest.mark.parametrize("encoded", [False, True])
def test_graphs_that_were_begun_are_opened_once(
    encoded: bool, picture: MedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path if encoded else None

    def answer() -> None:
        fast = medclipsam.load("embedded", device="cpu", encoder_engine="openvino", cache=cache)
        fast.segment(picture, "breast tumor", always=True)

    answer()
    graphs_of.cache_clear()
    files: list[str] = []
    whole = opened.opener

    def counting(engine: str) -> Open:
        def open_graph(file: Path, precision: str, threads: int) -> Graph:
            files.append(file.stem)
            return whole(engine)(file, precision, threads)

        return open_graph

    monkeypatch.setattr(opened, "opener", counting)
    choosing.begin(zeroshot_preset("embedded"), Loading(engine="openvino", device="cpu", cache=cache))
    answer()
    assert sorted(files) == sorted({"weigh", "decoder"} if encoded else {"encoder", "tower", "weigh", "decoder"})
    graphs_of.cache_clear()


@pytest.mark.parametrize("engine", ["torch", "openvino", "auto"])
def test_nothing_is_begun_where_nothing_is_prepared(
    engine: EngineKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choosing, "open_ahead", pytest.fail)
    choosing.begin(zeroshot_preset("embedded"), Loading(engine=engine, device="cpu"))
    assert not list(tmp_path.iterdir())


@WITH_OPENVINO
def test_no_export_is_made_of_weights_that_are_not_the_pinned_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(key: str) -> Any:
        raise WrongHash(f"{key} is another file")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choosing, "find", wrong)
    with pytest.raises(WrongHash):
        medclipsam.load("embedded", device="cpu", encoder_engine="openvino")
    assert not list(tmp_path.rglob("export.json"))


def test_an_export_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "key"

    def interrupted() -> None:
        with publishing(folder) as stage:
            write_record(stage, Record(passed=True))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_record(folder) is None and not list(folder.parent.iterdir())
    with publishing(folder) as stage:
        write_record(stage, Record(passed=True))
    assert read_record(folder) == Record(passed=True)


def test_other_weights_engines_and_precisions_have_other_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medclipsam.engines.store.version_of", lambda engine: "1")
    plain = {"engine": "openvino", "precision": "fp32", "weights": {"compact": "0"}}
    others = [plain, plain | {"engine": "onnx"}, plain | {"precision": "bf16"}, plain | {"weights": {"compact": "1"}}]
    assert len({Wanted(**other).key for other in others}) == 4
