"""The page of a run's progress, served beside it or from its folder."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2 as httpx
import pytest
from bright import BrightSegmenter
from served import picture
from starlette.testclient import TestClient

from medclipsam.runs import LabelRequest, label_folder
from medclipsam.serve.app import make_watch_app
from medclipsam.serve.run import watched
from medclipsam.serve.state import Running


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A run over two scans and a file that is none; one scan has a name that would be a tag."""
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "a.png"), picture(tmp_path / "in" / "<b>.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    request = LabelRequest(source=tmp_path / "in", output=tmp_path / "out", prompts=("tumor",))
    label_folder(request, BrightSegmenter, lambda *_: None)
    return tmp_path / "out"


def test_the_page_shows_counts_pictures_and_refusals_and_looks_again(labels: Path) -> None:
    client = TestClient(make_watch_app([labels]))
    page = client.get("/")
    assert page.headers["refresh"] == "5"
    assert "3 of 3 answers, finished" in page.text
    assert "&lt;b&gt;.png" in page.text
    assert "<b>.png" not in page.text
    assert "broken.png" in page.text
    (told,) = client.get("/v1/watch").json()
    assert (told["done"], told["total"], told["finished"]) == (3, 3, True)
    assert [answer["status"] for answer in told["refusals"]] == ["refused"]
    for place in [answer["picture"] for answer in told["latest"]] + re.findall(r'src="([^"]+)"', page.text):
        shown = client.get(place)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    for place in ("/v1/watch/0/run.json", "/v1/watch/7/overlays/x.jpg", "/v1/watch/0/overlays/../manifest.jsonl"):
        assert client.get(place).status_code == 404


def test_a_folder_that_is_not_there_yet_has_nothing(tmp_path: Path) -> None:
    client = TestClient(make_watch_app([tmp_path / "later"]))
    assert "nothing yet" in client.get("/").text


def test_a_run_serves_its_page_behind_a_token_while_it_lasts(labels: Path) -> None:
    said: list[Running] = []
    with watched(labels, said.append):
        (running,) = said
        assert httpx.get(f"{running.url}/").status_code == 401
        with httpx.Client(base_url=running.url, params={"token": running.token}) as browser:
            arrived = browser.get("/")
            assert arrived.status_code == 303
        headers = {"Authorization": f"Bearer {running.token}"}
        assert "3 of 3" in httpx.get(f"{running.url}/", headers=headers).text
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{running.url}/v1/health")
