"""The preset `embedded-open`: weights that learned from sources alone whose licence allows commercial use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import examples
from typed import typed

import medclipsam
from medclipsam.cli.train import _is_embedded
from medclipsam.config import PRESETS, zeroshot_preset
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.refine.embedded.run import labelled_by
from medclipsam.runs.layout import SETTINGS
from medclipsam.training.embedded.open_sources import open_sources
from medclipsam.training.tasks.encoders import encoder_for
from medclipsam.weights import digest, find
from medclipsam.weights.table import embedded_folder
from medclipsam.weights.targets import known_targets, targets_of

MOST_BYTES = 25_000_000
FOLDER = embedded_folder() / "open"


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    found = medclipsam.load("embedded-open", device="cpu")
    assert isinstance(found, ZeroShotSegmenter)
    return found


def test_an_answer_says_by_which_weights(segmenter: ZeroShotSegmenter) -> None:
    assert segmenter.info.weights["compact-open"] == find("compact-open").sha256 == digest(find("compact-open").file)
    assert "compact" not in segmenter.info.weights


def test_both_models_together_stay_small() -> None:
    assert sum(find(key).file.stat().st_size for key in ("compact", "compact-open")) < MOST_BYTES


def test_nothing_was_taught_by_another_source() -> None:
    sources = {source.folder.replace("_", " ") for source in open_sources()}
    shown = {kind for each in known_targets("compact-open") for kind in each.images}
    assert {"breast us busi", "chest xray montgomery"} <= shown <= sources
    record = json.loads((FOLDER / "compact-open.json").read_text())
    assert record["only"] == [source.folder for source in open_sources()]
    assert record["sha256"] == find("compact-open").sha256
    assert record["started_from"] == "scratch"


def test_the_card_names_every_source_and_its_licence() -> None:
    card = (FOLDER / "compact-open.md").read_text()
    missing = [source for source in open_sources() if f"| {source.original} | {source.licence} |" not in card]
    assert missing == []


def test_targets_of_other_sources_were_never_taught(segmenter: ZeroShotSegmenter) -> None:
    scan = medclipsam.read_image(examples.get_path("overlay"))
    known = {each.target for each in known_targets("compact-open")}
    assert {"breast tumor", "kidney"} <= known
    assert not {"skin lesion", "optic cup", "covid-19 infection"} & known
    assert segmenter.segment(scan, "skin lesion").reason == "never_taught"


def test_parts_of_the_body_that_were_learned_for_research_have_no_say() -> None:
    """The preset decides, not the weights: `embedded` with these weights says `wrong_body`."""
    scan = medclipsam.read_image(examples.get_path("overlay"))
    weights = find("compact-open").file
    reasons = [
        medclipsam.load(preset, weights=weights, device="cpu").segment(scan, "optic disc").reason
        for preset in ("embedded-open", "embedded")
    ]
    assert reasons == ["absent", "wrong_body"]


def test_the_list_of_targets_is_that_of_the_preset() -> None:
    told = typed("info", "--targets", "--preset", "embedded-open", "--json")
    assert {row["target"] for row in json.loads(told.stdout)} == {each.target for each in known_targets("compact-open")}
    assert "rib" not in told.stdout
    refused = typed("info", "--targets", "--preset", "medclip-samv2")
    assert refused.exit_code == 2


def test_who_lists_targets_lists_those_of_the_weights_that_compute() -> None:
    own = {key: str(find(key).sha256) for key in ("compact", "compact-open")}
    assert targets_of({"clip": "compact-open"}, own) == known_targets("compact-open")
    assert targets_of({"clip": "compact"}, own) == known_targets()
    assert targets_of({"clip": "compact"}, {"compact": "1" * 64}) == targets_of({"clip": "biomedclip"}, own) == ()


def test_fine_tuning_starts_from_these_weights_by_the_recipe_of_the_embedded_model() -> None:
    assert encoder_for(zeroshot_preset("embedded-open")).identity == find("compact-open").sha256
    assert [_is_embedded(name) for name in ("embedded", "embedded-open", "medclip-samv2", "?")] == [
        True,
        True,
        False,
        False,
    ]


def test_self_training_goes_on_from_the_model_that_made_the_labels(tmp_path: Path) -> None:
    for key in ("compact", "compact-open"):
        (tmp_path / SETTINGS).write_text(json.dumps({"labels": {}, "weights": {key: "0"}}))
        assert labelled_by(tmp_path) == key
    (tmp_path / SETTINGS).write_text(json.dumps({"labels": {}}))
    assert labelled_by(tmp_path) == "compact"


def test_the_settings_are_those_of_embedded() -> None:
    one, other = (PRESETS[name].__dict__ for name in ("embedded", "embedded-open"))
    assert {name for name in one if one[name] != other[name]} == {"name", "clip", "tells_bodies", "rights_greys"}
