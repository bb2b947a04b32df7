"""The commands that keep models loaded choose them by the options of `segment`, and load what these name."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from label_folders import labelled
from typed import typed

from medclipsam import cli
from medclipsam.cli.models import Models, models_of
from medclipsam.config import Refined, zeroshot_preset
from medclipsam.errors import BadInput
from medclipsam.prompting.views import MOST
from medclipsam.serve import run, tools

Loaded = list[tuple[str, dict[str, Any]]]
HELD = ("serve", "review", "mcp")
MODEL_OPTIONS = set(signature(models_of).parameters)


@pytest.fixture
def words(tmp_path: Path) -> dict[str, list[object]]:
    """What each command needs beside its models."""
    return {
        "serve": ["serve"],
        "review": ["review", labelled(tmp_path)[0]],
        "mcp": ["mcp", "--folder", tmp_path, "-o", tmp_path / "out"],
    }


@pytest.fixture(autouse=True)
def loads_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that loads its models, as a first question makes it do, and ends."""
    monkeypatch.setattr(run, "hush", lambda: None)
    monkeypatch.setattr(run, "serve", lambda serving, load, say: load())
    monkeypatch.setattr(tools, "make_server", lambda answers, output: SimpleNamespace(run=answers.segmenter))


@pytest.mark.parametrize("command", HELD)
def test_engine_and_cache_reach_the_loader(
    command: str, words: dict[str, list[object]], loaded: Loaded, tmp_path: Path
) -> None:
    asked = ["--preset", "p", "--precision", "bf16", "--encoder-engine", "onnx", "--cache", tmp_path / "kept"]
    result = typed(*words[command], *asked)
    assert result.exit_code == 0, result.output
    assert loaded == [
        (
            "p",
            {
                "device": "auto",
                "precision": "bf16",
                "seed": 0,
                "weights": None,
                "sam_weights": None,
                "encoder_engine": "onnx",
                "cache": tmp_path / "kept",
            },
        )
    ]


@pytest.mark.parametrize("command", HELD)
@pytest.mark.parametrize("chosen", [None, "openvino"])
def test_the_default_engine_is_that_of_segment(
    command: str, chosen: str | None, words: dict[str, list[object]], loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDCLIPSAM_ENCODER_ENGINE")
    if chosen:
        monkeypatch.setenv("MEDCLIPSAM_ENCODER_ENGINE", chosen)
    assert typed(*words[command]).exit_code == 0
    assert [(told["encoder_engine"], told["cache"]) for _, told in loaded] == [(chosen or "auto", None)]


def test_an_engine_that_there_is_not_is_wrong_usage(words: dict[str, list[object]], loaded: Loaded) -> None:
    assert [typed(*words[command], "--encoder-engine", "steam").exit_code for command in HELD] == [2, 2, 2]
    assert loaded == []


def test_every_command_that_takes_a_preset_takes_the_same_options_of_models() -> None:
    group: Any = typer.main.get_command(cli.app)
    context = typer.Context(group)
    told = {
        name: {each.name: each.help for each in group.get_command(context, name).params if each.name in MODEL_OPTIONS}
        for name in ("segment", "pseudolabel", *HELD)
    }
    assert told["segment"].keys() == MODEL_OPTIONS
    assert [name for name in told if told[name] != told["segment"]] == []


def test_views_reach_the_settings_of_the_preset(words: dict[str, list[object]], loaded: Loaded) -> None:
    for command in HELD:
        assert typed(*words[command], "--views", "3").exit_code == 0
    assert [config for config, _ in loaded] == [replace(zeroshot_preset("embedded"), views=3)] * len(HELD)
    assert [typed(*words["serve"], "--views", count).exit_code for count in (0, MOST, MOST + 1)] == [2, 0, 2]


@pytest.mark.parametrize(("option", "asked"), [("--views", {"views": 2}), ("--sam", {"sam": "vit_b"})])
def test_what_a_trained_run_has_not_is_refused_in_one_line(option: str, asked: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"{option}: refined has no"):
        Models(Refined(run=tmp_path), **asked)()
