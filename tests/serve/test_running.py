"""A real server in its own process: what its client writes, how it ends, and what it leaves."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest
from bright import BrightSegmenter
from running import Server
from served import picture, volume, without_times
from typer.testing import CliRunner

from medclipsam import cli
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.serve.state import find


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a queue of two."""
    root = tmp_path_factory.mktemp("server")
    (root / "scans").mkdir()
    found = Server(root / "own", root / "scans")
    yield found
    found.end()
    assert found.left() == []


@pytest.fixture
def as_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line of the server's owner."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", server.environment["XDG_RUNTIME_DIR"])
    monkeypatch.delenv("MEDCLIPSAM_TOKEN", raising=False)
    return CliRunner()


@pytest.mark.parametrize("way", [[], ["--by-path"]])
def test_the_client_writes_the_files_of_segment(
    server: Server, as_client: CliRunner, tmp_path: Path, way: list[str]
) -> None:
    scan = volume(server.root.parent / "scans" / f"v{len(way)}.nii.gz")
    request = ScanRequest(scan=scan, prompts=("tumor",), folder=tmp_path / "expected")
    report = segment_scan(request, BrightSegmenter, lambda *_: None)
    typed = ["client", str(scan), "--prompt", "tumor", "-o", str(tmp_path / "out"), *way, "--json"]
    result = as_client.invoke(cli.app, typed)
    assert result.exit_code == 0, result.output
    assert without_times(json.loads(result.stdout)) == without_times(report)
    for expected in (tmp_path / "expected").iterdir():
        if expected.name != "report.json":
            assert (tmp_path / "out" / expected.name).read_bytes() == expected.read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in request.output.iterdir()}


def test_the_client_says_what_the_server_refuses_and_writes_nothing(as_client: CliRunner, tmp_path: Path) -> None:
    scan = picture(tmp_path / "a.png")
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no scan")
    for typed, problem in (
        (["client", str(scan), "-p", "x", "--box", "500,500,600,600"], "outside the image"),
        (["client", str(scan), "-p", "x", "--by-path"], "no folder of this server holds this path"),
        (["client", str(broken), "-p", "x"], "broken"),
        (["client", str(scan), "-p", "x", "--server", "http://127.0.0.1:1"], "token of http://127.0.0.1:1"),
        (["client", str(scan), "-p", "x", "--server", "ftp://x"], "no address of a server"),
    ):
        result = as_client.invoke(cli.app, [*typed, "-o", str(tmp_path / "out")])
        assert (result.exit_code, problem in result.output, (tmp_path / "out").exists()) == (2, True, False), typed


def test_the_client_loads_no_torch_and_asks_the_server_alone(server: Server, tmp_path: Path) -> None:
    """Sockets to any other address are refused, and a proxy of the environment is not asked."""
    scan = picture(tmp_path / "a.png")
    code = "import socket, sys\nplain = socket.socket.connect\n"
    code += (
        "def connect(self, address):\n    assert address[0] == '127.0.0.1', address\n    return plain(self, address)\n"
    )
    code += "socket.socket.connect = connect\nimport medclipsam.cli\n"
    code += f"sys.argv = ['medclipsam', 'client', {str(scan)!r}, '-p', 'x', '-o', {str(tmp_path / 'out')!r}]\n"
    code += "try: medclipsam.cli.main()\nexcept SystemExit as end: assert not end.code, end.code\n"
    code += "print([name for name in ('torch', 'fastapi', 'scipy') if name in sys.modules])"
    environment = {**server.environment, "HTTP_PROXY": "http://10.0.0.1:9", "ALL_PROXY": "http://10.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_the_token_lies_in_a_file_that_its_owner_alone_may_read(server: Server, as_client: CliRunner) -> None:
    (path,) = (Path(server.environment["XDG_RUNTIME_DIR"]) / "medclipsam").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert find(None) == find(server.running.url) == server.running


def test_a_full_queue_answers_503_and_a_sender_that_goes_away_frees_its_place(server: Server, tmp_path: Path) -> None:
    content = picture(tmp_path / "a.png").read_bytes()
    scan = server.http.post("/v1/scans", files={"files": ("a.png", content)}).json()["id"]

    def asked(text: str, seconds: float) -> int:
        try:
            body = {"scan": scan, "prompts": [text], "overlays": False}
            return server.http.post("/v1/segment", json=body, timeout=seconds).status_code
        except httpx.TimeoutException:
            return 0

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(asked, "slow 4", 20)
        _wait_until(server, 1)  # the other must not come first
        gone = pool.submit(asked, "x", 1)
        _wait_until(server, 2)
        refused = server.http.post("/v1/segment", json={"scan": scan, "prompts": ["x"]})
        assert (refused.status_code, int(refused.headers["Retry-After"]) >= 1) == (503, True)
        assert gone.result() == 0
        _wait_until(server, 1)
        assert asked("x", 20) == 200
        assert slow.result() == 200


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_two_seconds_in_the_middle_of_work_and_leaves_no_file(tmp_path: Path, how: int) -> None:
    server = Server(tmp_path)
    content = picture(tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").unlink()
    with ThreadPoolExecutor(1) as pool:
        body = {"files": {"files": ("DOE.png", content)}, "data": {"request": '{"prompts": ["slow 30"]}'}}
        hanging = pool.submit(server.http.post, "/v1/segment", **body)
        _wait_until(server, 1)
        assert any("scan-" in name for name in server.left())
        assert server.end(how) < 2 + 2  # two seconds, and as many for a machine that others use
        assert server.left() == []
        assert hanging.exception() or hanging.result().status_code >= 400
    assert server.process.stderr is not None
    assert (server.process.returncode, server.process.stderr.read()) == (0, "")


@pytest.mark.slow
def test_what_a_killed_server_left_goes_with_the_next_start(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.http.post("/v1/scans", files={"files": ("a.png", picture(tmp_path / "a.png").read_bytes())})
    server.end(signal.SIGKILL)
    assert any("scan-" in name for name in server.left())
    (tmp_path / "again").mkdir()
    code = "from medclipsam.serve.answers import Answers; Answers(lambda: None).close()"
    subprocess.run([sys.executable, "-c", code], env=server.environment, check=True)
    assert not any("scan-" in name for name in server.left())


def test_an_address_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(cli.app, ["serve", "--port", str(taken.getsockname()[1])])
    assert (result.exit_code, "cannot be listened on" in result.output) == (2, True)


def _wait_until(server: Server, waiting: int) -> None:
    """Until so many requests wait or are worked on."""
    for _ in range(200):
        if server.http.get("/v1/version").json()["waiting"] == waiting:
            return
        time.sleep(0.02)
    raise AssertionError(f"there were never {waiting} requests")
