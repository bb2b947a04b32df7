"""The file of a finished run: it comes back as it was written, and what it names is checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medclipsam.errors import BadInput, UserError, WrongHash
from medclipsam.io.atomic import file_digest
from medclipsam.methods.ensemble_run import EnsembleFile
from medclipsam.methods.run_file import RunFile, hashed
from medclipsam.methods.supervised_run import WEIGHTS, NetworkFile


def supervised(run: Path) -> NetworkFile:
    run.mkdir()
    (run / WEIGHTS).write_bytes(b"weights")
    return NetworkFile(
        network={"kind": "unet"},
        targets=("square",),
        texts=("square", "a square"),
        coloured=False,
        presence_threshold=0.5,
        sha256=file_digest(run / WEIGHTS),
        frozen={},
        figures={"dice": 0.5},
        learned_from={"images": 2},
    )


def ensemble(run: Path) -> EnsembleFile:
    (run / "weights").mkdir(parents=True)
    files = [run / "weights" / name for name in ("a.safetensors", "b.safetensors")]
    for file in files:
        file.write_bytes(file.name.encode())
    return EnsembleFile(
        backend="unet",
        prompt="square",
        side=64,
        fit="squash",
        threshold=0.5,
        files=hashed(run, files),
        weights=tuple(hashed(run, files)),
        network={"widths": [4, 8]},
        learned_from={"pictures": 2},
    )


Making = Callable[[Path], RunFile]


@pytest.fixture(params=[supervised, ensemble])
def make(request: pytest.FixtureRequest) -> Making:
    found: Making = request.param
    return found


def changed(run: Path, kind: type[RunFile], **facts: Any) -> None:
    told = json.loads((run / kind.name).read_text())
    (run / kind.name).write_text(json.dumps(told | facts))


def test_what_was_written_comes_back(make: Making, tmp_path: Path) -> None:
    file = make(tmp_path / "run")
    file.write(tmp_path / "run")
    assert type(file).read(tmp_path / "run") == file


def test_a_folder_without_a_finished_run_is_told_from_one_that_was_cut_off(make: Making, tmp_path: Path) -> None:
    file = make(tmp_path / "run")
    with pytest.raises(BadInput, match=f"holds no {file.name}.*finished {file.made_by} run"):
        type(file).read(tmp_path / "run")
    (tmp_path / "run" / file.name).write_text('{"schema": ')
    with pytest.raises(BadInput, match=f"cannot be read.*{file.made_by} --resume"):
        type(file).read(tmp_path / "run")


@pytest.mark.parametrize("facts", [{"schema": 0}, {"learned_from": None, "schema": 2}])
def test_a_run_of_another_version_is_trained_again(make: Making, facts: dict[str, Any], tmp_path: Path) -> None:
    file = make(tmp_path / "run")
    file.write(tmp_path / "run")
    changed(tmp_path / "run", type(file), **facts)
    with pytest.raises(BadInput, match=f"not of this version.*{file.made_by} again"):
        type(file).read(tmp_path / "run")


def test_weights_that_are_gone_or_others_are_refused(make: Making, tmp_path: Path) -> None:
    file = make(tmp_path / "run")
    file.write(tmp_path / "run")
    first = tmp_path / "run" / next(iter(file.hashes))
    first.write_bytes(b"others")
    with pytest.raises(WrongHash, match="not the file that was written"):
        type(file).read(tmp_path / "run")
    first.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        type(file).read(tmp_path / "run")


def test_a_file_outside_the_run_is_refused_whatever_its_hash(tmp_path: Path) -> None:
    file = ensemble(tmp_path / "run")
    file.write(tmp_path / "run")
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"weights")
    changed(tmp_path / "run", EnsembleFile, files={"../outside.safetensors": file_digest(outside)})
    with pytest.raises(UserError, match="not the file that was written"):
        EnsembleFile.read(tmp_path / "run")
