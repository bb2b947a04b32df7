"""A pseudolabel folder of twelve drawn scans, made by the real command's library with the bright method."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from bright import BrightSegmenter
from PIL import Image
from refine_runs import SMALL, silent

from medclipsam.refine.dataset import PictureSet, export_dataset
from medclipsam.refine.pseudolabels import PseudoLabels, read_pseudolabels
from medclipsam.runs import LabelRequest, label_folder


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """p0-0.png ... p3-2.png: a bright disc each on noise, 40 x 60; p3-2 has none; and broken.png."""
    folder = tmp_path_factory.mktemp("scans")
    rows, columns = np.mgrid[:40, :60]
    for number in range(12):
        pixels = np.random.default_rng(number).integers(20, 60, (40, 60))
        inside = (rows - 12 - number) ** 2 + (columns - 20 - 2 * number) ** 2 < (5 + number % 4) ** 2
        pixels[inside & (number != 11)] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{number // 3}-{number % 3}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return folder


@pytest.fixture(scope="session")
def patients(scans: Path) -> Path:
    """groups.csv: p0 ... p3."""
    table = scans.parent / "groups.csv"
    with table.open("w", newline="") as file:
        rows = [(path.name, path.name.partition("-")[0]) for path in sorted(scans.glob("*.png"))]
        csv.writer(file).writerows([("file", "group"), *rows])
    return table


@pytest.fixture(scope="session")
def labels(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pseudolabel writes of the scans, with ignored pixels."""
    folder = tmp_path_factory.mktemp("labels") / "out"
    request = LabelRequest(source=scans, output=folder, prompts=("breast tumor",), ignore_band=0.1)
    label_folder(request, BrightSegmenter, silent)
    return folder


@pytest.fixture(scope="session")
def material(labels: Path, scans: Path) -> PseudoLabels:
    """All of it."""
    return read_pseudolabels(labels, scans)


@pytest.fixture(scope="session")
def data(material: PseudoLabels, tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """The same as squares of 32 pixels."""
    return export_dataset(material, SMALL, tmp_path_factory.mktemp("data") / "dataset", silent)


@pytest.fixture(autouse=True)
def single_threaded() -> None:
    """Small networks are faster so, and the bits do not depend on the machine."""
    torch.set_num_threads(1)
