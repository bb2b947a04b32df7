"""The checks of `medclipsam doctor`: whether this machine is ready, and what mends it.

Nothing is downloaded, written or sent.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from medclipsam.errors import MissingWeights, WrongHash

OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 10)
"""Older ones can be made to run code by a weights file even with `weights_only` (CVE-2025-32434, CVE-2026-24747)."""
DEFAULT_WEIGHTS = ("compact", "words", "minilm", "lite-medsam")
"""What the preset `embedded` needs."""
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
NO_DECODER = "a scan stored this way cannot be read; reinstall medclipsam with its dependencies"
ONE_INDEX = "install torch and torchvision together, from one package index"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "failed"]
    """Only `failed` keeps the default preset from running."""
    found: str
    remedy: str = ""


def examine() -> Iterator[Check]:
    """Look at everything, cheapest first."""
    yield check_python()
    yield from check_packages()
    yield check_opencv()
    yield from check_torch()
    yield from check_decoders()
    yield from check_weights()
    yield check_store()


def check_python() -> Check:
    """The interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    state: Literal["ok", "failed"] = "ok" if sys.version_info >= OLDEST_PYTHON else "failed"
    return Check(name="Python", state=state, found=found, remedy="" if state == "ok" else "use Python 3.11 or later")


def check_packages() -> Iterator[Check]:
    """Every package that ours depends on, by name; extras are not looked at."""
    try:
        needed = metadata.requires("medclipsam") or []
    except metadata.PackageNotFoundError:
        yield Check(name="packages", state="warning", found="medclipsam runs without being installed")
        return
    names = [_name(requirement) for requirement in needed if "extra ==" not in requirement]
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        remedy = f"pip install {' '.join(missing)}"
        yield Check(name="packages", state="failed", found=f"missing: {', '.join(missing)}", remedy=remedy)
    else:
        yield Check(name="packages", state="ok", found=f"all {len(names)} are installed")


def check_opencv() -> Check:
    """Two OpenCV packages write over each other's files."""
    found = [name for name in OPENCV if _is_installed(name)]
    remedy = f"pip uninstall {' '.join(found)}, then pip install opencv-python-headless"
    if len(found) > 1:
        return Check(name="OpenCV", state="warning", found=" and ".join(found), remedy=remedy)
    return Check(name="OpenCV", state="ok", found=", ".join(found) or "not installed")


def check_torch() -> Iterator[Check]:
    """PyTorch, its match with torchvision, and the device that would be used."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check(
            name="PyTorch", state="failed", found=_first_line(error), remedy="pip install --force-reinstall torch"
        )
        return
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    is_old = release < OLDEST_TORCH
    remedy = "pip install --upgrade torch: this one can be made to run code by a weights file" if is_old else ""
    yield Check(name="PyTorch", state="failed" if is_old else "ok", found=torch.__version__, remedy=remedy)
    try:
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        yield Check(name="torchvision", state="failed", found=_first_line(error), remedy=ONE_INDEX)
    else:
        yield Check(name="torchvision", state="ok", found=torchvision.__version__)
    yield _check_device()


def _check_device() -> Check:
    import torch

    from medclipsam.runtime import pick_device

    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Check(name="device", state="ok", found=f"{device} ({name})")


def check_decoders() -> Iterator[Check]:
    """Each DICOM transfer syntax that is read, as pydicom names them (PS3.5, annex A), and what decodes it."""
    from medclipsam.io.dicom.decoders import transfer_syntaxes

    for syntax in transfer_syntaxes():
        name = f"DICOM {syntax.uid.keyword}"
        if syntax.decoder:
            yield Check(name=name, state="ok", found=syntax.decoder)
        else:
            yield Check(name=name, state="warning", found="no decoder", remedy=NO_DECODER)


def check_weights() -> Iterator[Check]:
    """The weights of the default preset, and any others that are here; each file is hashed."""
    from medclipsam.weights import find, known

    for key in known():
        try:
            found = find(key)
        except MissingWeights as error:
            yield _without_weights(key, error)
        except WrongHash as error:
            yield Check(name=f"weights {key}", state="failed", found=error.problem, remedy=error.remedy)
        else:
            place = f"verified, from {found.origin}: {found.folder}"
            yield Check(name=f"weights {key}", state="ok", found=place)


def _without_weights(key: str, error: MissingWeights) -> Check:
    if key in DEFAULT_WEIGHTS:
        return Check(name=f"weights {key}", state="failed", found=error.problem, remedy=error.remedy)
    return Check(name=f"weights {key}", state="ok", found="optional, not on this machine")


def check_store() -> Check:
    """Could new weights be put where they belong? Nothing is written to find out."""
    from medclipsam.weights import store_folder

    folder = store_folder()
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Check(name="weights folder", state="ok", found=f"{folder} can be written")
    remedy = "set MEDCLIPSAM_WEIGHTS to a folder that can be written; only pull and import need it"
    return Check(name="weights folder", state="warning", found=f"{folder} cannot be written", remedy=remedy)


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _name(requirement: str) -> str:
    """`numpy` of `numpy>=2.0; python_version > "3"`."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match.group() if match else requirement


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
