"""Under what conditions does a figure hold? What every table here says of itself."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import medclipsam


def machine() -> str:
    """The processor's name (Linux)."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def versions(*packages: str) -> str:
    """Such as: torch 2.15.0, numpy 2.4.0."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def conditions(seed: int, weights: Mapping[str, str]) -> dict[str, object]:
    """Facts that a table's heading and its JSON tell alike.

    Args:
        weights: the SHA-256 of each weight file that answers.
    """
    import torch  # noqa: PLC0415  (slow to load, and tables are made without it)

    return {
        "seed": seed,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "torch": torch.__version__,
        "medclipsam": medclipsam.__version__,
        "weights": ", ".join(f"{name} {digest[:8]}" for name, digest in weights.items()),
    }


def spoken(facts: Mapping[str, object]) -> str:
    """What `conditions` found, in words."""
    return (
        f"Seed {facts['seed']}, {facts['machine']}, {facts['threads']} threads, torch {facts['torch']}, "
        f"medclipsam {facts['medclipsam']}, weights {facts['weights']}"
    )
