"""Takes the masks of a `pseudolabel` folder to another tool: finds them, and writes a folder whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from medclipsam.errors import BadInput
from medclipsam.export.choice import Rules
from medclipsam.export.labelled import Labelled, read_labelled
from medclipsam.export.options import ExportOptions
from medclipsam.export.pixels import of_kind
from medclipsam.export.tally import Tally
from medclipsam.io.atomic import check_new_folder, new_folder
from medclipsam.runs.groups import Groups
from medclipsam.types import Progress

Layout = Literal["coco", "yolo", "labelme", "labelstudio", "nnunet", "slicer", "bids"]
Writer = Callable[[Labelled, Path, ExportOptions, Tally, Progress], None]
_WRITERS: Mapping[Layout, tuple[str, str]] = {
    "coco": ("coco", "export_coco"),
    "yolo": ("yolo", "export_yolo"),
    "labelme": ("labelme", "export_labelme"),
    "labelstudio": ("labelstudio", "export_labelstudio"),
    "nnunet": ("nnunet", "export_nnunet"),
    "slicer": ("slicer", "export_slicer"),
    "bids": ("bids", "export_bids"),
}


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What a person asks to be exported."""

    labels: Path
    """What `medclipsam pseudolabel` wrote."""
    images: Path
    """The folder or table of scans that it was given."""
    output: Path
    """New or empty folder."""
    to: Layout
    prompts: Sequence[str] = ()
    """Whose masks are exported; all where none is named."""
    rules: Rules = field(default_factory=Rules)
    groups: Groups | None = None
    """Scans that belong together, such as those of a patient."""
    own_names: bool = False
    """See `medclipsam.export.labelled.read_labelled`."""
    options: ExportOptions = field(default_factory=ExportOptions)


def export(request: ExportRequest, tell: Progress) -> Tally:
    """Write an export; the folder appears whole, or not at all.

    Args:
        request: what is asked.
        tell: hears of the progress.

    Returns:
        What was written and left out.

    Raises:
        BadInput: nothing to export, or what the layout cannot hold.
        CannotWrite: a folder that cannot be written, or a full disk.
    """
    check_new_folder(request.output)
    labelled = read_labelled(
        request.labels,
        request.images,
        request.prompts,
        request.rules,
        groups=request.groups,
        own_names=request.own_names,
    )
    tally = Tally(labelled.left_out)
    if request.options.only is not None:
        labelled = of_kind(labelled, request.options.only, tally)
    options = replace(request.options, called=request.output.resolve().name)
    with new_folder(request.output) as stage:
        _writer(request.to)(labelled, stage, options, tally, tell)
        if not tally.written.total():
            raise BadInput("nothing is left to export", ", ".join(f"{n} {what}" for what, n in tally.counts.items()))
    return tally


def _writer(layout: Layout) -> Writer:
    """Each layout's module is loaded when it is asked for."""
    module, function = _WRITERS[layout]
    return cast(Writer, getattr(import_module(f"medclipsam.export.{module}"), function))
