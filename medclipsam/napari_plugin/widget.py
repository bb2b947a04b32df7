"""The window in napari that segments the shown scan from words; the work is done in a thread of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QLineEdit, QProgressBar, QPushButton, QWidget

from medclipsam.config import PRESETS
from medclipsam.errors import BadInput, UserError
from medclipsam.napari_plugin.asking import Answer, Question, ask
from medclipsam.napari_plugin.layers import PATH, PLACED, answer_layers
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.words import check_prompts

if TYPE_CHECKING:
    import napari


class _Teller(QObject):
    """Carries progress from the thread that works to the one that draws."""

    told = Signal(str, int, int)


class SegmentWidget(QWidget):
    """Prompt, preset, window and slices; a button; how far the work is.

    Args:
        napari_viewer: the one that it is docked in; napari knows the argument by this name.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._teller = _Teller()
        self._teller.told.connect(self._tell)
        self.prompt = QLineEdit(placeholderText="liver; spleen")
        self.preset, self.window, self.slices = QComboBox(), QLineEdit(), QLineEdit()
        self.server, self.button = QCheckBox("ask the server that runs"), QPushButton("Segment")
        self.progress, self.status = QProgressBar(), QLabel(RESEARCH_USE_ONLY)
        self._lay_out()

    def _lay_out(self) -> None:
        self.preset.addItems(list(PRESETS))
        self.preset.setCurrentText("embedded")
        self.window.setPlaceholderText("auto; or file, lung, CENTRE,WIDTH ...")
        self.slices.setPlaceholderText("all; or 10:40")
        self.server.setChecked(True)
        self.status.setWordWrap(True)
        self.progress.setVisible(False)
        form = QFormLayout(self)
        form.addRow("Prompt", self.prompt)
        form.addRow("Preset", self.preset)
        form.addRow("Window", self.window)
        form.addRow("Slices", self.slices)
        for widget in (self.server, self.button, self.progress, self.status):
            form.addRow(widget)
        self.button.clicked.connect(self.segment)
        self.prompt.returnPressed.connect(self.segment)

    def segment(self) -> Any:
        """Begin; the worker, or None where nothing can be asked."""
        try:
            layer = self._scan()
            question = self._question(layer)
        except UserError as error:
            self.status.setText(str(error))
            return None
        self.button.setEnabled(False)
        self.progress.setVisible(True)
        worker = create_worker(ask, question, self._teller.told.emit, _start_thread=False)
        worker.returned.connect(lambda answers: self._show(layer, answers))
        worker.errored.connect(self._fail)
        worker.finished.connect(self._end)
        worker.start()
        return worker

    def _scan(self) -> Image:
        """The selected image layer, or the only one.

        Raises:
            BadInput: none, or one that is no file.
        """
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        chosen = [layer for layer in images if layer in self._viewer.layers.selection] or images
        if len(chosen) != 1:
            raise BadInput(f"{len(chosen)} images could be meant", "select one image layer")
        if _path(chosen[0]) is None:
            raise BadInput("the layer has no file", "open the scan by File, Open")
        return chosen[0]

    def _question(self, layer: Image) -> Question:
        return Question(
            scan=Path(str(_path(layer))),
            prompts=check_prompts(list(filter(None, (part.strip() for part in self.prompt.text().split(";"))))),
            preset=self.preset.currentText(),
            window=self.window.text().strip() or None,
            slices=self.slices.text().strip() or None,
            use_server=self.server.isChecked(),
        )

    def _show(self, image: Image, answers: list[Answer]) -> None:
        shape = image.data.shape[:-1] if image.rgb else image.data.shape
        try:
            layers = answer_layers(answers, shape, {name: getattr(image, name) for name in PLACED})
        except (IndexError, ValueError):
            self.status.setText("the layer has another shape than its file: open the scan by this plugin's reader")
            return
        for data, settings, kind in layers:
            added = getattr(self._viewer, f"add_{kind}")(data, **settings)
            if kind == "labels":
                added.colormap = DirectLabelColormap(
                    color_dict={None: "transparent", 0: "transparent", 1: settings["metadata"]["colour"]}
                )
        self._viewer.layers.selection = {image}
        self.status.setText("\n".join(_told(answer) for answer in answers))

    def _tell(self, stage: str, done: int, total: int) -> None:
        self.progress.setMaximum(total)
        self.progress.setValue(done)
        self.status.setText(stage)

    def _fail(self, error: Exception) -> None:
        self.status.setText(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")

    def _end(self) -> None:
        self.button.setEnabled(True)
        self.progress.setVisible(False)


def _path(layer: Image) -> str | None:
    return layer.metadata.get(PATH) or layer.source.path


def _told(answer: Answer) -> str:
    if not answer.found:
        return f"{answer.prompt}: not found"
    count, images = sum(int(mask.sum()) for mask in answer.masks.values()), len(answer.masks)
    filled = sum(bool(mask.any()) for mask in answer.masks.values())
    return f"{answer.prompt}: {count:,} px" + (f" on {filled} of {images} images" if images > 1 else "")
