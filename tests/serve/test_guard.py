"""Nobody is answered without the token, under another name, from another page, or with more than is allowed."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from served import LIMITS, TOKEN, picture
from starlette.testclient import TestClient

from medclipsam.serve.answers import Answers
from medclipsam.serve.app import make_app
from medclipsam.serve.guard import HEADERS

PATHS = (
    "/",
    "/v1/version",
    "/v1/targets",
    "/v1/openapi.json",
    "/v1/docs",
    "/static/page.js",
    "/v1/scans/x",
    "/nothing",
)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_but_health_answers(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 401
    assert stranger.get(path, headers={"Authorization": "Bearer another"}).status_code == 401
    assert stranger.get(path, params={"token": "another"}).status_code == 401
    assert stranger.get("/v1/health").json() == {"status": "ok"}


def test_every_route_of_the_server_asks_for_the_token(stranger: TestClient, answers: Answers) -> None:
    asked = 0
    for path, methods in make_app(answers).openapi()["paths"].items():
        for method in methods:
            asked += path != "/v1/health"
            assert stranger.request(method, path).status_code == (200 if path == "/v1/health" else 401)
    assert asked >= 9


def test_the_printed_address_lets_a_browser_in_by_a_cookie_that_no_other_page_can_use(stranger: TestClient) -> None:
    arrived = stranger.get("/", params={"token": TOKEN})
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/")
    cookie = arrived.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "medclipsam-8765="))
    assert stranger.get("/v1/version").status_code == 200
    for site in ("cross-site", "same-site"):
        assert stranger.get("/v1/version", headers={"Sec-Fetch-Site": site}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", ""])
def test_a_name_that_leads_here_from_elsewhere_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/v1/version", headers={"Host": host}).status_code == 403
    assert client.get("/v1/health", headers={"Host": host}).status_code == 403
    assert client.get("/v1/version", headers={"Host": "localhost:8765"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8765.x"])
def test_a_page_elsewhere_is_refused(client: TestClient, origin: str) -> None:
    assert client.post("/v1/segment", headers={"Origin": origin}, json={}).status_code == 403
    own = {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/segment", headers=own, json={}).status_code == 422


def test_every_answer_keeps_pages_elsewhere_out(client: TestClient) -> None:
    for path in ("/v1/health", "/v1/nothing"):
        found = client.get(path).headers
        assert {name: found[name] for name in HEADERS} == HEADERS
    page = client.get("/").headers
    assert {name for name in HEADERS if page[name] != HEADERS[name]} == {"Content-Security-Policy"}
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page["Content-Security-Policy"]


def test_an_upload_that_is_too_long_is_refused_and_leaves_nothing(client: TestClient, answers: Answers) -> None:
    body = {"files": ("a.png", b"\0" * (LIMITS.upload_bytes + 1))}
    assert client.post("/v1/scans", files=body).status_code == 413

    def unsaid_length() -> object:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        yield from (b"\0" * 2**16 for _ in range(20))

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/scans", headers=kind, content=unsaid_length()).status_code == 413
    assert client.post("/v1/segment", content=b" " * (2**20 + 1)).status_code == 413
    assert not any(path.is_dir() for path in answers.root.iterdir())


@pytest.mark.parametrize(
    "wanted", ["../secret.png", "/etc/passwd", "link.png", "nothing.png", "a\0b", "~", "x/../../secret.png"]
)
def test_a_path_outside_the_folder_is_refused_in_the_words_of_one_that_is_not_there(
    client: TestClient, folder: Path, wanted: str
) -> None:
    outside = picture(folder.parent / "secret.png")
    (folder / "link.png").symlink_to(outside)
    for path, asked in (("/v1/segment", {"path": wanted, "prompts": ["x"]}), ("/v1/scans", {"path": wanted})):
        answer = client.post(path, json=asked)
        assert answer.status_code == 422
        assert answer.json()["problem"] == "no folder of this server holds this path"


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png", "C:\\a.png/..", "x" * 300, "/".join("x" * 20)])
def test_a_file_that_names_another_place_is_refused(
    client: TestClient, answers: Answers, tmp_path: Path, name: str
) -> None:
    content = picture(tmp_path / "a.png").read_bytes()
    assert client.post("/v1/scans", files={"files": (name, content)}).status_code in (400, 422)
    assert not any(path.is_dir() for path in answers.root.iterdir())


def test_a_zip_that_unpacks_to_far_more_is_refused_and_leaves_nothing(client: TestClient, answers: Answers) -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", b"\0" * (80 * 2**20))
    request = json.dumps({"prompts": ["x"]})
    answer = client.post("/v1/segment", files={"files": ("z.zip", stream.getvalue())}, data={"request": request})
    assert (answer.status_code, "times its size" in answer.json()["problem"]) == (422, True)
    assert not any(path.is_dir() for path in answers.root.iterdir())


def test_what_cannot_be_read_is_named_as_the_sender_calls_it(client: TestClient, answers: Answers) -> None:
    answer = client.post("/v1/scans", params={"case": "my-case"}, files={"files": ("DOE_JANE.dcm", b"no scan")})
    assert answer.status_code == 422
    assert "DOE" not in answer.text
    assert str(answers.root) not in answer.text
