"""Weights for work: the recipe `embedded-open` reads sources whose licence allows it, and nothing else."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.material import read_images
from medclipsam.training.embedded.open_sources import EMBEDDED_OPEN_DATA, OpenSource, open_sources
from medclipsam.training.recipes import EMBEDDED, EmbeddedData
from medclipsam.training.registry import METHODS

ALLOWED = re.compile(r"(CC0|CC BY \d\.\d|MIT|Apache 2\.0|public)\b")
FORBIDDEN = re.compile(
    r"NC|ND|SA|GPL|research|not stated|unknown|copyright|rules|terms|policy|competition", re.IGNORECASE
)
CAPTIONS = "captions_medpix"


@pytest.mark.parametrize("source", open_sources(), ids=lambda source: source.folder)
def test_every_licence_of_the_list_allows_commercial_use(source: OpenSource):
    assert ALLOWED.match(source.licence), source.licence
    assert not FORBIDDEN.search(source.licence), source.licence


def test_no_source_stands_in_the_list_twice_and_the_corpus_knows_each():
    folders = [source.folder for source in open_sources()]
    assert len(set(folders)) == len(folders) >= 20
    assert set(folders) <= Corpus.read().folders.keys()


def test_the_recipe_reads_the_list_and_starts_from_no_other_weights():
    parts = METHODS["embedded-open"].defaults()
    assert parts["recipe"] == EMBEDDED.changed(width=128, least_dice=0.5, pixel_steps=0)
    assert isinstance(parts["data"], EmbeddedData)
    assert parts["data"].only == tuple(source.folder for source in open_sources())
    assert parts["data"].weights == ""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two images of an open source, one of a source that is not, and one with a caption."""
    rows = [("dataset", "image", "mask", "target", "split")]
    for folder, split in (("breast_us_busi", "train"), ("breast_us_busi", "val"), ("polyp_kvasir", "train")):
        rows.append((folder, f"{folder}/{split}.png", f"{folder}/{split}-m.png", "a thing", split))
    (tmp_path / CAPTIONS).mkdir()
    with (tmp_path / "index.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    for _, image, mask, *_ in rows[1:]:
        for name in (image, mask):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.new("L", (8, 8)).save(tmp_path / name)
    lines = "image,modality,plane,location,title,caption,findings,split,case\na.png,CT,axial,head,t,c,f,train,1\n"
    (tmp_path / CAPTIONS / "captions.csv").write_text(lines)
    return tmp_path


def test_images_and_captions_of_other_sources_are_not_read(mixed: Path):
    corpus = Corpus.read()
    folders = {
        split: [image.folder for image in images] for split, images in read_images(mixed, corpus, EMBEDDED).items()
    }
    assert folders == {"train": ["breast_us_busi", "polyp_kvasir", CAPTIONS], "val": ["breast_us_busi"]}
    found = read_images(mixed, corpus, EMBEDDED, only=EMBEDDED_OPEN_DATA.only)
    assert [image.folder for image in found["train"]] == ["breast_us_busi"]
    assert [image.folder for image in found["val"]] == ["breast_us_busi"]


def test_the_training_list_of_the_development_images_holds_no_other_source(shared_data: Path):
    found = read_images(shared_data, Corpus.read(), EMBEDDED, only=EMBEDDED_OPEN_DATA.only)
    assert {image.folder for images in found.values() for image in images} == set(EMBEDDED_OPEN_DATA.only)
    with (shared_data / "sources.csv").open(newline="") as table:
        stated = {row["dataset"]: row["licence"] for row in csv.DictReader(table)}
    for line in (shared_data / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        stated.setdefault(cells[0], cells[-1])
    differing = [source for source in open_sources() if not stated[source.folder].startswith(source.licence)]
    assert differing == []
