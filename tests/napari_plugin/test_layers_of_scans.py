"""What napari is given: images, labels and boxes that lie where the scan lies. Nothing here needs napari."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bright import BrightSegmenter
from series_files import OBLIQUE, SPACING_MM, STEP_MM, phantom, series

from medclipsam.napari_plugin import asking
from medclipsam.napari_plugin.asking import Question, ask
from medclipsam.napari_plugin.layers import PATH, answer_layers, image_layer
from medclipsam.napari_plugin.reader import get_reader

SERVER = Path(__file__).parents[1] / "serve" / "bright_server.py"


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bright method in place of a model, and no server."""
    monkeypatch.setattr(asking, "_model", lambda preset: BrightSegmenter())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "no-server"))


def silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""


def test_a_series_is_a_stack_with_the_scale_and_place_of_its_slices(tmp_path: Path) -> None:
    series(tmp_path / "ct", OBLIQUE[0])
    ((data, settings, kind),) = (get_reader(str(tmp_path / "ct")) or pytest.fail("no reader"))(str(tmp_path / "ct"))
    assert (kind, data.shape) == ("image", phantom().shape)
    assert settings["scale"] == pytest.approx((STEP_MM, *SPACING_MM))
    assert settings["metadata"] == {PATH: str(tmp_path / "ct")}
    row, column = (np.array(each) for each in OBLIQUE[0])
    corner = np.array([-12.0, 31.0, 7.0])
    np.testing.assert_allclose(settings["translate"], [np.cross(row, column) @ corner, column @ corner, row @ corner])


def test_masks_of_chosen_slices_lie_in_a_stack_of_all(tmp_path: Path) -> None:
    series(tmp_path / "ct")
    data, settings, _ = image_layer(tmp_path / "ct")
    answers = ask(Question(scan=tmp_path / "ct", prompts=("liver", "unicorn"), slices="1:2"), silent)
    like = {name: settings[name] for name in ("scale", "translate")}
    labels, boxes, missed = answer_layers(answers, data.shape, like)
    assert [layer[2] for layer in (labels, boxes, missed)] == ["labels", "shapes", "labels"]
    np.testing.assert_array_equal(labels[0][1], phantom()[1] > 500)
    assert not labels[0][[0, 2]].any()
    assert (labels[1]["name"], missed[1]["name"]) == ("liver", "unicorn (not found)")
    assert (labels[1]["scale"], labels[1]["translate"]) == (settings["scale"], settings["translate"])
    ((x0, y0, x1, y1),) = answers[0].boxes[1]
    (corners,) = boxes[0]
    assert corners.min(axis=0).tolist() == [1, y0 - 0.5, x0 - 0.5]
    assert corners.max(axis=0).tolist() == [1, y1 - 0.5, x1 - 0.5]


@pytest.mark.slow
def test_the_server_that_runs_is_asked_in_place_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series(tmp_path / "ct")
    question = Question(scan=tmp_path / "ct", prompts=("liver",), slices="1:3")
    (alone,) = ask(question, silent)
    monkeypatch.setattr(asking, "_model", lambda preset: pytest.fail("a model was loaded"))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None and server.stdout.readline()
            (served,) = ask(question, silent)
        finally:
            server.terminate()
    assert served.masks.keys() == alone.masks.keys() == {1, 2}
    for number, mask in alone.masks.items():
        np.testing.assert_array_equal(served.masks[number], mask)
    assert served.boxes == alone.boxes


def test_colours_stay_colours_and_what_is_no_scan_is_left_to_others(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8))
    data, settings, _ = image_layer(tmp_path / "x.npy")
    assert (data.shape, settings["rgb"], "scale" in settings) == ((8, 9, 3), True, False)
    (tmp_path / "notes.txt").write_text("hello")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(["a.dcm", "b.dcm"]) is None
