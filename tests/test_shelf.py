"""Is what was computed kept for other processes, bounded, private and safe?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import medclipsam
from medclipsam.errors import CannotWrite
from medclipsam.memory.shelf import Shelf, on_shelf
from medclipsam.methods.exporting import drawn_picture
from medclipsam.types import FloatArray

OF = {"engine": "torch"}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_arrays_come_back_under_their_name_and_what_decided_them(tmp_path: Path) -> None:
    values = {"features": np.arange(6, dtype=np.float32).reshape(2, 3)}
    Shelf(tmp_path / "kept", of=OF).put("scan of Jane Doe", values)
    assert np.array_equal(Shelf(tmp_path / "kept", of=OF).get("scan of Jane Doe")["features"], values["features"])
    assert Shelf(tmp_path / "kept", of={"engine": "openvino"}).get("scan of Jane Doe") is None
    assert Shelf(tmp_path / "kept", of=OF).get("another") is None
    assert "Jane" not in str(files(tmp_path)) and b"Jane" not in files(tmp_path)[0].read_bytes()
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


def test_arrays_of_one_name_come_back_in_their_order_and_are_made_anew_where_one_is_missing(tmp_path: Path) -> None:
    shelf, made = Shelf(tmp_path, of=OF), []

    def make() -> list[FloatArray]:
        made.append(len(made))
        return [np.full(2, 1.0, np.float32), np.full(3, 2.0, np.float32)]

    for _ in range(2):
        cells, outline = on_shelf(shelf, "scan", ["cells", "outline"], make)
        assert cells.tolist() == [1, 1] and outline.tolist() == [2, 2, 2]
    assert made == [0]
    shelf.put("cells outline scan", {"cells": cells})
    assert [len(each) for each in on_shelf(shelf, "scan", ["cells", "outline"], make)] == [2, 3]
    assert made == [0, 1]
    assert len(on_shelf(None, "scan", ["cells", "outline"], make)) == 2


def test_a_damaged_file_is_one_that_is_not_there(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, of=OF)
    shelf.put("a", {"x": np.ones(100, np.float32)})
    files(tmp_path)[0].write_bytes(b"no tensors")
    assert shelf.get("a") is None and files(tmp_path) == []


def test_what_was_used_longest_ago_goes_when_the_folder_is_full_and_the_old_goes_always(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most_bytes=1200, most_days=1, of=OF)
    for age, name in enumerate("abc"):
        shelf.put(name, {"x": np.ones(100, np.float32)})  # 400 bytes and a header
        hours_ago = time.time() - 3600 * (10 - age)
        os.utime(max(files(tmp_path), key=lambda path: path.stat().st_mtime), (hours_ago, hours_ago))
    assert shelf.get("a") is not None  # used now
    shelf.tidy()
    assert [shelf.get(name) is not None for name in "abc"] == [True, False, True]
    for path in files(tmp_path):
        os.utime(path, (0, 0))
    shelf.tidy()
    assert files(tmp_path) == []


def test_two_processes_write_and_read_one_folder(tmp_path: Path) -> None:
    code = "import sys, numpy as np\nfrom pathlib import Path\nfrom medclipsam.memory.shelf import Shelf\n"
    code += f"shelf = Shelf(Path({str(tmp_path)!r}), most_bytes=3000, of={OF!r})\n"
    code += "for i in range(60):\n    shelf.put(str(i % 7), {'x': np.full(100, i % 7, np.float32)})\n    shelf.tidy()\n"
    code += "    kept = shelf.get(str((i + 3) % 7))\n    assert kept is None or (kept['x'] == (i + 3) % 7).all()\n"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert files(tmp_path) and not list(tmp_path.rglob("*partial*"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite):
        Shelf(tmp_path / "file" / "kept", of=OF)


ENGINES = ["torch", pytest.param("openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="not there"))]


@pytest.mark.parametrize("engine", ENGINES)
def test_another_prompt_in_another_process_encodes_nothing_and_answers_the_same_bits(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = drawn_picture()
    first = medclipsam.load("embedded", device="cpu", encoder_engine=engine, cache=tmp_path)
    first.segment(picture, "breast tumor", always=True)
    plain = medclipsam.load("embedded", device="cpu", encoder_engine=engine).segment(picture, "cyst", always=True)
    second = medclipsam.load("embedded", device="cpu", encoder_engine=engine, cache=tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("the image was encoded again")

    monkeypatch.setattr(second._sam, "encode" if engine == "torch" else "_encoder", refuse)
    again = second.segment(picture, "cyst", always=True)
    assert np.array_equal(again.probability, plain.probability) and again.presence == plain.presence
