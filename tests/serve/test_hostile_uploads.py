"""Whatever is sent ends in an answer or one line, the server lives, and nothing is left; it asks no other address."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated_files import mutated
from pydicom import examples
from running import Server
from served import TOKEN, picture, volume
from starlette.testclient import TestClient

import medclipsam
from medclipsam.serve.answers import Answers
from medclipsam.serve.app import make_app
from medclipsam.serve.asking import Ask
from medclipsam.serve.guard import Guard

ASKED = '{"prompts": ["x"], "overlays": false}'


def send_damaged(client: httpx.Client, root: Path, folder: Path, count: int) -> dict[int, int]:
    """Send so many damaged files to a server that keeps its files below `root`; how often each status came."""
    seen: dict[int, int] = {}
    for _, path in mutated(folder / "damaged", count, seed=3):
        body = {"files": {"files": (path.name, path.read_bytes())}, "data": {"request": ASKED}}
        answer = client.post("/v1/segment", timeout=300, **body)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        if answer.status_code == 200:
            assert client.delete(f"/v1/results/{answer.json()['id']}").status_code == 204
            assert client.delete(f"/v1/scans/{answer.json()['scan']}").status_code == 204
        else:
            assert answer.json().keys() == {"problem", "remedy"}
        assert [place for kind in ("scan", "answer") for place in root.rglob(f"{kind}-*")] == []
    return seen


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_end_in_an_answer_or_one_line_and_leave_nothing(
    client: TestClient, answers: Answers, tmp_path: Path
) -> None:
    seen = send_damaged(client, answers.root, tmp_path, 10)
    assert set(seen) <= {200, 422}
    assert seen[422] > 3


@pytest.mark.slow
def test_a_thousand_damaged_files_do_too_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    server = Server(tmp_path / "own")
    seen = send_damaged(server.http, server.root, tmp_path, 1000)
    assert set(seen) <= {200, 422}
    assert seen[422] > 100
    server.end()
    assert server.left() == []
    assert server.process.stderr is not None
    assert server.process.stderr.read() == ""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_odd_questions_about_a_scan_end_in_an_answer_or_one_line(
    client: TestClient, tmp_path: Path, data: st.DataObject
) -> None:
    """Each field has values that it may have, and some that it may not."""
    content = volume(tmp_path / "v.nii.gz").read_bytes()
    scan = client.post("/v1/scans", files={"files": ("v.nii.gz", content)}).json()["id"]
    number = st.integers(-1, 7) | st.floats() | st.just(2**40)
    text = st.sampled_from(["", "x", "liver|spleen", "axial", "9", "40,400", "nan,1", "\ud800", "a\nb", "x" * 5000])
    odd = st.none() | st.booleans() | number | text | st.lists(number, max_size=4) | st.just([[1, 2, 9, 9]])
    fields = [name for name in Ask.model_fields if name not in ("scan", "path", "prompts")]
    asked = {name: data.draw(odd, name) for name in data.draw(st.lists(st.sampled_from(fields), max_size=3))}
    body = json.dumps({"scan": scan, "prompts": ["tumor"], "overlays": False, **asked})
    answer = client.post("/v1/segment", content=body)
    assert answer.status_code in (200, 422), answer.text
    assert "\n" not in json.dumps(answer.json().get("problem", ""))


@pytest.mark.usefixtures("no_network")
def test_the_embedded_model_is_served_without_any_connection(folder: Path) -> None:
    answers = Answers(lambda: medclipsam.load("embedded"), folders=[folder])
    (folder / "mri.dcm").write_bytes(Path(str(examples.get_path("overlay"))).read_bytes())
    app = Guard(make_app(answers), token=TOKEN, most_bytes=2**24)
    try:
        with TestClient(app, base_url="http://127.0.0.1:8765") as client:
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            answer = client.post("/v1/segment", json={"path": "mri.dcm", "prompts": ["liver"]})
            assert answer.json()["report"]["images"][0]["results"][0]["found"]
            for page in ("/", "/v1/docs", "/watch", "/v1/version", "/v1/openapi.json"):
                shown = client.get(page)
                assert shown.status_code == 200
                assert re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']*""", shown.text) == []
    finally:
        answers.close()


@pytest.mark.slow
def test_what_the_openapi_text_allows_never_ends_in_500(tmp_path: Path) -> None:
    """By schemathesis, with the id of a real scan where one is asked for."""
    (tmp_path / "scans").mkdir()
    server = Server(tmp_path / "own", tmp_path / "scans")
    try:
        sent = {"files": ("a.png", picture(tmp_path / "a.png").read_bytes())}
        scan = server.http.post("/v1/scans", files=sent).json()["id"]
        (tmp_path / "schemathesis.toml").write_text(f'[parameters]\nscan = "{scan}"\nnumber = 0\n')
        words = ["run", f"{server.running.url}/v1/openapi.json", "-H", f"Authorization: Bearer {server.running.token}"]
        words += ["--checks", "not_a_server_error", "--max-examples", "20", "--seed", "1"]
        words += ["--generation-database", "none", "--no-color", "--suppress-health-check", "all"]
        program = [sys.executable, "-m", "schemathesis.cli.__main__", *words]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        assert int(re.findall(r"(\d+) generated, \1 passed", done.stdout)[0]) > 500
        assert server.http.get("/v1/health").status_code == 200
    finally:
        server.end()
    assert [name for name in server.left() if "schemathesis" not in name] == []
