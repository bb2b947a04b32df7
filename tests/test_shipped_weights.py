"""The weights in this repository, the confidence that was fitted for them and their card belong together."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from medclipsam.runs import confidence
from medclipsam.weights import find

ROOT = Path(__file__).resolve().parents[1]
FITTED = json.loads(Path(confidence.__file__).with_name(confidence.FITTED).read_text())
CARD = (ROOT / "weights" / "compact.md").read_text()


@pytest.fixture(scope="module")
def shipped() -> str:
    """The hash of the embedded model in this repository."""
    return hashlib.sha256((ROOT / "weights" / "compact.safetensors").read_bytes()).hexdigest()


def test_the_checksum_is_that_of_the_weights(shipped: str) -> None:
    words, for_work = (find(key).sha256 for key in ("words", "compact-open"))
    listed = (ROOT / "weights" / "SHA256SUMS").read_text().split()
    assert listed == [
        *(shipped, "compact.safetensors"),
        *(for_work, "open/compact-open.safetensors"),
        *(words, "words.safetensors"),
    ]


def test_the_confidence_was_fitted_for_these_weights(shipped: str) -> None:
    """After a training `benchmarks/confidence.py` fits it again."""
    assert f"compact {shipped[:8]}" in FITTED["weights"].split(", ")


def test_the_card_tells_the_confidence_of_these_weights() -> None:
    (told,) = re.findall(r"<!-- confidence:begin -->\n(.*?)<!-- confidence:end -->", CARD, re.DOTALL)
    assert f"weights {FITTED['weights']}" in told
    assert f"confidence = agreement^{FITTED['exponent']:g}," in told
    assert confidence.exponent() == FITTED["exponent"] > 0


def test_the_figures_of_the_card_are_those_of_the_last_run() -> None:
    results = ROOT / "benchmarks" / "results"
    facts = json.loads((results / "confidence.json").read_text())["facts"]
    assert (facts["weights"], facts["exponent"]) == (FITTED["weights"], FITTED["exponent"])
    assert (results / "confidence.md").read_text().strip() in CARD
