"""`medclipsam export LABELS --to coco|nnunet --images SCANS -o DIR` takes pseudo-labels to other tools."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer

from medclipsam.cli.console import progress, say, say_json
from medclipsam.cli.options import panel

what, how = panel("What to export"), panel("How")


def export(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder that `medclipsam pseudolabel` wrote.")],
    *,
    to: Annotated[
        Literal["coco", "nnunet"],
        typer.Option(
            "--to", help="Layout to write. coco: images with RLE or polygons. nnunet: raw data with label maps."
        ),
    ],
    images: Annotated[Path, typer.Option("--images", help="Folder or table of scans that pseudolabel was given.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="New folder; for nnU-Net call it Dataset with three digits and a name."),
    ],
    prompt: Annotated[
        list[str] | None, what("Prompt whose masks are exported; repeat it for several.", show_default="all")
    ] = None,
    reviewed: Annotated[
        bool, what("Export only masks that were accepted or corrected in `medclipsam review`.", "--reviewed")
    ] = False,
    shapes: Annotated[
        Literal["rle", "polygons"],
        how("How COCO masks are written. rle (default): run lengths. polygons: outlines, holes by a channel."),
    ] = "rle",
    copy_images: Annotated[bool, how("Copy the scans into the export.", "--copy-images")] = False,
    link: Annotated[bool, how("Link to the scans in place of copying them.", "--link")] = False,
    channel: Annotated[
        str, how("Name of nnU-Net's channel of volumes; CT makes it normalise as for Hounsfield units.")
    ] = "image",
    json: Annotated[bool, how("Print what was written as JSON.", "--json")] = False,
) -> None:
    """Export the masks of a pseudolabel folder; doubtful ones are left out.

    COCO refers to pictures by their path below SCANS unless they are copied or linked; nnU-Net gets copies or links.
    """
    from medclipsam.errors import BadInput
    from medclipsam.export.coco import export_coco
    from medclipsam.export.images import Bring, check_new
    from medclipsam.export.labelled import read_labelled
    from medclipsam.export.nnunet import export_nnunet

    if copy_images and link:
        raise BadInput("--copy-images and --link exclude each other", "choose one")
    check_new(output)
    labelled = read_labelled(labels, images, prompt or (), reviewed=reviewed)
    bring: Bring = "link" if link else "copy" if copy_images else "refer"
    with progress() as tell:
        if to == "coco":
            counts = export_coco(labelled, output, shapes=shapes, how=bring, tell=tell)
        else:
            counts = export_nnunet(labelled, output, how=bring, channel=channel, tell=tell)
    counts |= {f"masks left out ({reason})": count for reason, count in labelled.left_out.items()}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if json:
        say_json(dumps(counts))
    else:
        say(f"{told}\n  {output}")
