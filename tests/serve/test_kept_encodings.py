"""A server with `--cache` answers about a scan that another server has encoded, and encodes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from running import Server
from served import picture

NO_ENCODER = Path(__file__).with_name("no_encoder.py")
FIRST, OTHER = "breast tumor", "liver"


@pytest.mark.slow
def test_another_prompt_to_another_server_needs_no_encoder(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    seen, unseen = picture(scans / "seen.png"), picture(scans / "unseen.png", side=12)
    options = ["serve", "--port", "0", "--json", "--folder", scans, "--cache", tmp_path / "kept"]
    options += ["--device", "cpu", "--encoder-engine", "torch"]

    first = Server(tmp_path / "first", command=[sys.executable, "-m", "medclipsam", *options])
    before = asked(first, seen, FIRST)
    first.end()
    second = Server(tmp_path / "second", command=[sys.executable, NO_ENCODER, *options])
    after = asked(second, seen, FIRST, OTHER)
    refused = second.http.post("/v1/segment", json={"path": unseen.name, "prompts": [OTHER]}, timeout=300)
    second.end()

    assert after.keys() == {FIRST, OTHER}
    assert after[FIRST] == before[FIRST]
    assert refused.status_code == 500


def asked(server: Server, scan: Path, *prompts: str) -> dict[str, Any]:
    """What a server found of each prompt, without the seconds."""
    body = {"path": scan.name, "prompts": prompts, "always": True, "overlays": False}
    answer = server.http.post("/v1/segment", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["report"]["images"]
    return {each["prompt"]: {**each, "seconds": None, "files": None} for each in image["results"]}
