"""The widget in a true napari without a screen: its labels are the masks of the command line, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import examples
from pydicom.uid import MRImageStorage
from series_files import series

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("napari", reason="napari is not installed (extra napari)")
pytest.importorskip("qtpy", reason="Qt is not installed (extra napari)")
pytestmark = pytest.mark.slow
PROMPT = "liver"


def abdomen() -> np.ndarray:
    """(slices, height, width): an abdominal MRI of pydicom's, and the same a little to the side."""
    picture = examples.overlay.pixel_array.astype(np.int16)
    return np.stack([picture, np.roll(picture, 2, axis=1), np.roll(picture, 4, axis=1)])


@pytest.fixture(params=["nifti", "dicom"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "nifti":
        nib.save(nib.Nifti1Image(abdomen().transpose(2, 1, 0), np.diag([-0.9, -0.7, 5.0, 1.0])), tmp_path / "x.nii.gz")
        return tmp_path / "x.nii.gz"
    series(tmp_path / "mr", volume=abdomen(), Modality="MR", SOPClassUID=MRImageStorage)
    return tmp_path / "mr"


def by_command(scan: Path, out: Path) -> np.ndarray:
    """The masks of `medclipsam segment`, slice by slice."""
    command = ["segment", str(scan), "--prompt", PROMPT, "-o", str(out), "--format", "npy"]
    subprocess.run([sys.executable, "-m", "medclipsam", *command], check=True, capture_output=True)
    images = json.loads((out / "report.json").read_text())["images"]
    return np.stack([np.load(out / image["results"][0]["files"]["mask"]) > 0 for image in images])


def test_the_labels_are_the_masks_of_the_command_line(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel
    from napari.layers import Labels, Shapes
    from napari.qt import get_qapp
    from npe2 import PluginManager
    from qtpy.QtCore import QEventLoop

    from medclipsam.napari_plugin.widget import SegmentWidget

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "no-server"))
    get_qapp()
    PluginManager.instance().discover()
    viewer = ViewerModel()  # all but the canvas, which needs OpenGL
    (image,) = viewer.open(str(scan), plugin="medclipsam")
    widget = SegmentWidget(viewer)
    widget.prompt.setText(PROMPT)
    loop = QEventLoop()
    worker = widget.segment()
    worker.finished.connect(loop.quit)
    loop.exec_()
    labels = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    np.testing.assert_array_equal(np.asarray(labels.data) > 0, by_command(scan, tmp_path / "out"))
    assert labels.data.any(), widget.status.text()
    np.testing.assert_array_equal(labels.scale, image.scale)
    np.testing.assert_array_equal(labels.translate, image.translate)
    assert labels.name == PROMPT
    assert labels.get_color(1) == pytest.approx(np.array([0x00, 0x9E, 0x73, 0xFF]) / 255, abs=1e-3)
    assert any(isinstance(layer, Shapes) for layer in viewer.layers)
    assert widget.button.isEnabled()
    widget.prompt.setText(" ; ")
    assert widget.segment() is None
    assert "prompt" in widget.status.text()
