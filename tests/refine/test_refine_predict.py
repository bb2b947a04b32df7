"""A folder segmented by a refined run: masks on their scans, maps that keep their values, records that let it go on."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from refine_runs import SMALL, silent
from typed import typed

from medclipsam.config import Refined
from medclipsam.errors import BadInput
from medclipsam.evaluate import evaluate_folders
from medclipsam.io import read_image
from medclipsam.io.masks import write_map
from medclipsam.methods import load
from medclipsam.methods.ensemble import load_ensemble
from medclipsam.methods.refined import RefinedSegmenter
from medclipsam.refine.run import refine
from medclipsam.runs import LabelRequest, label_folder
from medclipsam.types import Box, Hints


@pytest.fixture(scope="module")
def run(material, tmp_path_factory):
    """A finished run of 12 epochs, 2 weights kept."""
    folder = tmp_path_factory.mktemp("run") / "run"
    refine(material, folder, SMALL.changed(epochs=12), device="cpu")
    return folder


def predict(run, scans, output, threshold=None):
    """What `medclipsam predict` does."""
    request = LabelRequest(
        source=scans, output=output, prompts=("breast tumor",), save_stages=True, volume_mode="slices"
    )
    return label_folder(request, lambda: load(Refined(run=run, threshold=threshold), device="cpu"), silent)


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_masks_and_maps_lie_on_their_scans(run, scans, tmp_path):
    ensemble = load_ensemble(run, "cpu")
    found = predict(run, scans, tmp_path / "out")
    assert found.read == 12
    assert found.counts["refused"] == 1
    mask = tmp_path / "out" / "masks" / "breast-tumor" / "p1-1.png"
    maps = {
        kind: np.asarray(Image.open(tmp_path / "out" / kind / "breast-tumor" / mask.name))
        for kind in ("masks", "probability", "entropy", "information")
    }
    assert all(values.shape == (40, 60) for values in maps.values())
    (expected,) = ensemble.maps_of([read_image(scans / "p1-1.png")])
    assert maps["probability"] / 65535 == pytest.approx(expected.probability, abs=1e-5)
    assert maps["entropy"] / 65535 == pytest.approx(expected.entropy, abs=1e-5)
    assert maps["information"] / 65535 == pytest.approx(expected.information, abs=1e-5)
    assert np.array_equal(maps["masks"] == 255, expected.probability > 0.5)
    assert set(np.unique(maps["masks"])) == {0, 255}


def test_every_scan_has_a_record(run, scans, tmp_path):
    predict(run, scans, tmp_path / "out")
    records = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [record["case"] for record in records] == sorted(record["case"] for record in records)
    assert len(records) == 13
    broken = records[0]
    assert (broken["status"], broken["outputs"]) == ("refused", {})
    assert "broken" in broken["case"]
    for record in records[1:]:
        assert (record["status"] == "done") == (record["area_px"] > 0)
        assert 0 <= record["entropy"] <= 1
        assert len(record["outputs"]) == 5


def test_a_second_go_does_nothing_and_a_changed_scan_alone_is_done_again(run, scans, tmp_path):
    (tmp_path / "in").mkdir()
    for path in sorted(scans.glob("p[01]*.png")):
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    predict(run, tmp_path / "in", tmp_path / "out")
    before = tree(tmp_path / "out")
    assert predict(run, tmp_path / "in", tmp_path / "out").kept == 6
    assert tree(tmp_path / "out") == before
    (tmp_path / "in" / "p0-0.png").write_bytes((scans / "p2-0.png").read_bytes())
    (tmp_path / "out" / "masks" / "breast-tumor" / "p0-1.png").write_bytes(b"")
    assert predict(run, tmp_path / "in", tmp_path / "out").kept == 4
    after = tree(tmp_path / "out")
    changed = {name for name in after if after[name] != before.get(name) and name.endswith(".png")}
    assert {name.split("/")[2][:4] for name in changed} == {"p0-0"}


def test_a_scan_that_is_gone_leaves_no_mask_behind(run, scans, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("p0-0.png", "p0-1.png"):
        (tmp_path / "in" / name).write_bytes((scans / name).read_bytes())
    predict(run, tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "p0-0.png").unlink()
    predict(run, tmp_path / "in", tmp_path / "out")
    assert {path.name[:4] for path in (tmp_path / "out").rglob("*.png")} == {"p0-1"}


def test_a_lower_threshold_gives_a_larger_mask(run, scans, tmp_path):
    areas = []
    for threshold in (0.2, 0.8):
        predict(run, scans / "p1-1.png", tmp_path / str(threshold), threshold=threshold)
        (line,) = (tmp_path / str(threshold) / "manifest.jsonl").read_text().splitlines()
        areas.append(json.loads(line)["area_px"])
    assert areas[0] > areas[1]
    with pytest.raises(BadInput, match="threshold is 1"):
        predict(run, scans, tmp_path / "none", threshold=1)


def test_a_volume_gets_one_mask_on_its_voxels(run, scans, tmp_path):
    slices = [np.asarray(Image.open(scans / f"p0-{k}.png")).T for k in range(3)]
    affine = np.diag([0.5, 0.7, 3, 1])
    nib.save(nib.Nifti1Image(np.stack(slices, axis=2), affine), tmp_path / "scan.nii.gz")
    predict(run, tmp_path / "scan.nii.gz", tmp_path / "out")
    (mask,) = (tmp_path / "out" / "masks" / "breast-tumor").iterdir()
    volume = nib.load(mask)
    assert volume.shape == (60, 40, 3)
    assert np.allclose(volume.affine, affine)
    assert len(list((tmp_path / "out" / "entropy" / "breast-tumor").iterdir())) == 3
    bright = np.stack(slices, axis=2) > 127
    assert (bright & (volume.get_fdata() > 0)).sum() > 0.6 * bright.sum()


def test_a_flat_nifti_keeps_its_name(run, scans, tmp_path):
    pixels = np.asarray(Image.open(scans / "p1-1.png")).T[..., None]
    nib.save(nib.Nifti1Image(pixels, np.eye(4)), tmp_path / "brain-scan.nii.gz")
    predict(run, tmp_path / "brain-scan.nii.gz", tmp_path / "out")
    (mask,) = (tmp_path / "out" / "masks" / "breast-tumor").iterdir()
    (map_,) = (tmp_path / "out" / "entropy" / "breast-tumor").iterdir()
    assert (mask.name, map_.name) == ("brain-scan.nii.gz", "brain-scan.png")


def test_as_a_segmenter_it_knows_its_own_prompt_alone(run, scans):
    segmenter = RefinedSegmenter(load_ensemble(run, "cpu"))
    image = read_image(scans / "p1-1.png")
    assert segmenter.segment(image, "breast tumor").found
    with pytest.raises(BadInput, match="learned 'breast tumor', not 'polyp'"):
        segmenter.segment(image, "polyp")
    with pytest.raises(BadInput, match="no use for boxes"):
        segmenter.segment(image, "breast tumor", Hints(boxes=(Box(x0=0, y0=0, x1=5, y1=5),)))


def test_its_folder_is_measured_against_references_that_are_called_as_the_scans(run, scans, tmp_path):
    ensemble = load_ensemble(run, "cpu")
    predict(run, scans, tmp_path / "out")
    (tmp_path / "truth").mkdir()
    for name in ("p1-1", "p1-2"):
        probability = next(iter(ensemble.maps_of([read_image(scans / f"{name}.png")]))).probability
        Image.fromarray((probability > 0.5).astype(np.uint8) * 255).save(tmp_path / "truth" / f"{name}.png")
    measured = evaluate_folders(tmp_path / "out", tmp_path / "truth")
    assert {case.name: case.scores.dice for case in measured.cases} == {"p1-1": 1.0, "p1-2": 1.0}


def test_a_map_keeps_its_absolute_values(tmp_path):
    values = np.array([[0, 0.25], [0.2, 1]], np.float32)
    write_map(values, tmp_path / "map.png")
    assert np.asarray(Image.open(tmp_path / "map.png")).tolist() == [[0, 16384], [13107, 65535]]


def test_from_labels_to_masks_on_the_command_line(labels, scans, patients, tmp_path):
    options = ["--epochs", "4", "--cycles", "2", "--keep", "1", "--fold", "0", "--set", "side=32", "--set", "folds=2"]
    asked = [labels, "--images", scans, "-o", tmp_path / "run", *options, "--groups", patients, "--device", "cpu"]
    result = typed("refine", *asked, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert (told["pictures"], told["skipped"], told["members"]) == (12, 1, 2)
    result = typed("predict", tmp_path / "run", scans, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("13 cases: ")


def test_wrong_use_is_one_line_and_exit_code_2(labels, scans, tmp_path):
    asked = [labels, "--images", scans, "-o", tmp_path / "run", "--epochs", "10", "--cycles", "3"]
    result = typed("refine", *asked)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "10 epochs are not 3 equal cycles" in result.stderr
    result = typed("predict", tmp_path, scans, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "finished medclipsam refine run" in result.stderr
    assert not (tmp_path / "run").exists()


def test_no_scan_that_can_be_read_is_exit_code_3(run, scans, tmp_path):
    result = typed("predict", run, scans / "broken.png", "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 3, result.output
