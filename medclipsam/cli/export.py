"""`medclipsam export LABELS --to coco|yolo|... --images SCANS -o DIR` takes pseudo-labels to other tools."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclipsam.cli.console import progress, say, say_json
from medclipsam.cli.options import panel

if TYPE_CHECKING:
    from medclipsam.export.options import Bring
    from medclipsam.export.tally import Tally

what, how = panel("What to export"), panel("How")
nnunet = panel("For nnU-Net")


def export(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder that `medclipsam pseudolabel` wrote.")],
    *,
    to: Annotated[
        Literal["coco", "yolo", "labelme", "labelstudio", "nnunet", "slicer", "bids"],
        typer.Option(
            "--to",
            help="Layout to write. coco: annotations.json. yolo: outlines in text files, data.yaml. labelme: JSON "
            "beside each image. labelstudio: tasks to import. nnunet: raw data with label maps. slicer: a segmentation "
            "beside each scan, for 3D Slicer. bids: derivatives with masks in NIfTI.",
        ),
    ],
    images: Annotated[Path, typer.Option("--images", help="Folder or table of scans that pseudolabel was given.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="New or empty folder; for nnU-Net call it Dataset with three digits and a name."
        ),
    ],
    prompt: Annotated[
        list[str] | None, what("Prompt whose masks are exported; repeat it for several.", show_default="all")
    ] = None,
    reviewed: Annotated[
        bool, what("Export only masks that were accepted or corrected in `medclipsam review`.", "--reviewed")
    ] = False,
    doubtful: Annotated[bool, what("Take doubtful masks too; else their images are left out.", "--doubtful")] = False,
    skip_absent: Annotated[bool, what("Leave out images in which nothing was found.", "--skip-absent")] = False,
    only: Annotated[
        Literal["pictures", "volumes"] | None,
        what("Kind of scans to export where LABELS holds both.", show_default="both"),
    ] = None,
    copy_images: Annotated[
        bool, how("Copy images that other tools read as they are (default).", "--copy-images")
    ] = False,
    link: Annotated[bool, how("Link to those images in place of copying them.", "--link")] = False,
    in_place: Annotated[
        bool, how("Refer to those images by their path below SCANS, and bring none (coco).", "--in-place")
    ] = False,
    own_names: Annotated[
        bool,
        how(
            "Call files as the scans are called, in place of harmless words and the hash that the manifest of LABELS "
            "has for each.",
            "--own-names",
        ),
    ] = False,
    shapes: Annotated[
        Literal["masks", "polygons"],
        how(
            "How coco, labelme and labelstudio get masks. masks (default): every pixel. polygons: outlines that can be "
            "corrected, holes by a channel."
        ),
    ] = "masks",
    groups: Annotated[
        Path | None,
        how(
            "CSV with the columns file and group: scans of one group (a patient) are not parted into training and "
            "validation.",
            show_default="each scan alone",
        ),
    ] = None,
    channel: Annotated[
        str, nnunet("Name of the channel of volumes; CT makes nnU-Net normalise as for Hounsfield units.")
    ] = "image",
    regions: Annotated[
        bool, nnunet("Keep overlaps of prompts as regions; else the smaller mask lies on top.", "--regions")
    ] = False,
    pictures: Annotated[Literal["png", "tif"], nnunet("Format of pictures.", "--pictures")] = "png",
    json: Annotated[bool, how("Print what was written as JSON.", "--json")] = False,
) -> None:
    """Export the masks of a pseudolabel folder to other tools.

    Doubtful masks are left out unless --doubtful takes them. The folder appears when all is written, or not at all.
    """
    from medclipsam.export.choice import Rules
    from medclipsam.export.options import ExportOptions
    from medclipsam.export.run import ExportRequest
    from medclipsam.export.run import export as run
    from medclipsam.runs.groups import Groups

    options = ExportOptions(
        bring=_bring(copy_images, link, in_place),
        shapes=shapes,
        skip_absent=skip_absent,
        only=only,
        picture_suffix=".tif" if pictures == "tif" else ".png",
        channel=channel,
        regions=regions,
    )
    request = ExportRequest(
        labels=labels,
        images=images,
        output=output,
        to=to,
        prompts=prompt or (),
        rules=Rules(doubtful=doubtful, reviewed=reviewed),
        groups=Groups(path=groups) if groups else None,
        own_names=own_names,
        options=options,
    )
    with progress() as tell:
        tally = run(request, tell)
    if json:
        say_json(dumps({**tally.counts, "notes": list(tally.notes)}, ensure_ascii=False))
    else:
        say(_summary(tally, output))


def _bring(copy: bool, link: bool, in_place: bool) -> Bring:
    from medclipsam.errors import BadInput

    if copy + link + in_place > 1:
        raise BadInput("--copy-images, --link and --in-place exclude each other", "choose one")
    return "link" if link else "refer" if in_place else "copy"


def _summary(tally: Tally, folder: Path) -> str:
    told = ", ".join(f"{count} {name}" for name, count in tally.counts.items() if count)
    return "\n".join([told, *(f"note: {note}" for note in tally.notes), f"  {folder}"])
