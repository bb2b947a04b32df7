"""Reading in a child process: the same pictures, and whatever ends the child takes one file with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file

from medclipsam.errors import BadInput
from medclipsam.io import read_image, read_images, sandbox, write_mask
from medclipsam.io.child import Child, ChildDied
from medclipsam.io.dicom.gdcm_child import is_available

SERIES = {"SeriesInstanceUID": "1.2.3", "PixelSpacing": [1, 1]}
SAMPLES = np.arange(48, dtype=np.uint16).reshape(6, 8) * 90
BUNDLED = ("CT_small.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "examples_ybr_color.dcm")


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A child whose program a test writes."""
    path = tmp_path / "worker_of_a_test.py"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    yield path


def child(worker: Path, answer: str, **limits: float) -> Child:
    """A child that answers by the body of a function of `head` and `body`."""
    program = f"import os, time\nfrom medclipsam.io.child import serve\ndef answer(head, body):\n    {answer}\n"
    worker.write_text(f"{program}serve(answer)\n")
    most = {"memory_bytes": 2**30, "timeout_s": 60.0} | limits
    return Child(worker.stem, memory_bytes=int(most["memory_bytes"]), timeout_s=most["timeout_s"])


@pytest.mark.parametrize("name", BUNDLED)
def test_the_pictures_are_those_of_the_plain_way_bit_for_bit(name: str) -> None:
    plain, inside = (list(read_images(bundled(name), sandbox=way)) for way in (False, True))
    assert len(plain) == len(inside)
    for one, other in zip(plain, inside, strict=True):
        assert one.digest == other.digest
        for said in ("name", "format", "spacing_mm", "warnings"):
            assert getattr(one, said) == getattr(other, said)
        assert one.origin.header == other.origin.header
        for array in ("values", "plane_lps"):
            np.testing.assert_array_equal(getattr(one, array), getattr(other, array))
        assert one.values_unit == other.values_unit


def test_raster_npy_and_nifti_are_the_same_too_and_a_mask_finds_its_geometry(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (12, 17), np.uint8)
    Image.fromarray(grey).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", grey)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(np.float32(grey[..., None] * np.arange(3)), affine), tmp_path / "x.nii.gz")
    for suffix, place in (("png", {}), ("npy", {}), ("nii.gz", {"slice_index": 2, "window": (100.0, 300.0)})):
        plain, inside = (read_image(tmp_path / f"x.{suffix}", sandbox=way, **place) for way in (False, True))
        assert plain.digest == inside.digest
        np.testing.assert_array_equal(plain.values, inside.values)
    np.testing.assert_array_equal(plain.plane_lps, inside.plane_lps)
    written = write_mask(inside, inside.pixels[..., 0] > 0.5, tmp_path / "mask")
    np.testing.assert_array_equal(nib.load(written).affine, affine)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_series_is_the_same_from_its_folder_and_from_its_zip(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "scans"
    path.mkdir()
    for index in range(3):
        place = {"ImagePositionPatient": [0, 0, 4 * index], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        place["SOPInstanceUID"] = f"1.2.3.{index}"
        dicom(path / f"{9 - index}.dcm", SAMPLES + index, InstanceNumber=index, **SERIES, **place)
    if zipped:
        path = Path(shutil.make_archive(str(path), "zip", path))
    plain, inside = (list(read_images(path, sandbox=way)) for way in (False, True))
    assert [image.digest for image in plain] == [image.digest for image in inside]
    assert [image.origin.header for image in plain] == [image.origin.header for image in inside]
    assert len(plain) == 3


def test_refusals_are_those_of_the_plain_way(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"hello")
    for path in (tmp_path / "x.png", tmp_path / "missing.dcm", bundled("rtplan.dcm"), bundled("MR_truncated.dcm")):
        told = []
        for way in (False, True):
            with pytest.raises(BadInput) as caught:
                list(read_images(path, sandbox=way))
            told.append((caught.value.problem, caught.value.remedy))
        assert told[0] == told[1]


def test_a_file_that_ends_the_decoder_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    if not is_available(uid.JPEGLosslessSV1):
        pytest.skip("gdcm is not installed")
    good = bundled("SC_rgb_jpeg_gdcm.dcm")
    broken = bytearray(good.read_bytes())
    frame = broken.index(b"\xff\xd8\xff")
    broken[frame + 17], broken[frame + 281] = 240, 147
    (tmp_path / "x.dcm").write_bytes(broken)
    with pytest.raises(BadInput, match="the process that reads it ended by SIGABRT"):
        read_image(tmp_path / "x.dcm", sandbox=True)
    assert read_image(good, sandbox=True).size == (100, 100)


def test_what_takes_more_memory_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((5000, 5000)))
    small = Child("medclipsam.io.sandbox_worker", memory_bytes=400 * 2**20, timeout_s=60)
    monkeypatch.setattr(sandbox, "CHILD", small)
    with pytest.raises(BadInput, match=r"more memory than there is|the process that reads it ended"):
        read_image(path, sandbox=True)


def test_a_child_that_takes_too_long_is_ended_and_the_next_answers(worker: Path) -> None:
    slow = child(worker, "time.sleep(head['seconds']); return {'asked': head}, body", timeout_s=2)
    with pytest.raises(ChildDied, match="took more than 2 s"):
        slow.ask({"seconds": 600}, most_bytes=0)
    slow.timeout_s = 60
    assert slow.ask({"seconds": 0}, b"abc", most_bytes=3) == ({"asked": {"seconds": 0}}, bytearray(b"abc"))


def test_a_child_that_dies_is_told_of_and_replaced(worker: Path) -> None:
    mortal = child(worker, "os.abort() if head['die'] else None; return {}, b'alive'")
    for _ in range(2):
        with pytest.raises(ChildDied, match="ended by SIGABRT"):
            mortal.ask({"die": True}, most_bytes=5)
        assert mortal.ask({"die": False}, most_bytes=5) == ({}, bytearray(b"alive"))


def test_an_answer_that_is_too_long_is_not_believed(worker: Path) -> None:
    with pytest.raises(ChildDied):
        child(worker, "return {}, bytes(1000)").ask({}, most_bytes=999)


def test_a_child_writes_no_file_and_its_words_are_lost(
    worker: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("limits from outside are Linux's")
    target = tmp_path / "written.txt"
    opened = f"os.open({str(target)!r}, os.O_WRONLY | os.O_CREAT)"
    writes = f"print('noise'); os.write(2, b'noise'); os.write({opened}, b'x'); return {{}}, b''"
    with pytest.raises(ChildDied):
        child(worker, writes).ask({}, most_bytes=0)
    assert not target.exists() or target.stat().st_size == 0
    output = capfd.readouterr()
    assert output.out == output.err == ""


def test_a_child_ends_when_its_parent_lets_go_of_it(worker: Path) -> None:
    answering = child(worker, "return {'id': os.getpid()}, b''")
    answering.ask({}, most_bytes=0)
    process = answering._process
    assert process is not None and process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_an_answer_that_nobody_waited_for_is_not_that_of_the_next_request(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    answering = child(worker, "return {'asked': head}, b''")
    answering.ask({"number": 1}, most_bytes=0)
    with monkeypatch.context() as patched:
        patched.setattr("medclipsam.io.child._receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            answering.ask({"number": 2}, most_bytes=0)
    assert answering.ask({"number": 3}, most_bytes=0)[0] == {"asked": {"number": 3}}


def test_ctrl_c_in_the_terminal_does_not_reach_a_child(worker: Path) -> None:
    answering = child(worker, "return {'group': os.getpgrp()}, b''")
    head, _ = answering.ask({}, most_bytes=0)
    assert head["group"] != os.getpgrp()


def test_a_child_that_was_closed_is_replaced(worker: Path) -> None:
    answering = child(worker, "return {'id': os.getpid()}, b''")
    first = answering.ask({}, most_bytes=0)
    answering.close()
    assert answering.ask({}, most_bytes=0) != first
