"""What several tests share: where the development data lie, and a reason to skip where they do not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Tests take torch, unless they are about another engine: preparing one takes half a minute.
os.environ.setdefault("MEDCLIPSAM_ENCODER_ENGINE", "torch")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development images with masks."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the development images are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder with BiomedCLIP's tokenizer and configuration."""
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("the shared weights folder is not beside this checkout")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the network fails the test."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was asked")

    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
