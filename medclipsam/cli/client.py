"""The command `medclipsam client SCAN --prompt TEXT`: `segment` by a server that runs, without loading a model here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclipsam.cli import options
from medclipsam.cli.arguments import ALL, parse_axis, parse_box, parse_formats, parse_points, parse_some
from medclipsam.cli.console import need_extra, progress, say, say_json
from medclipsam.cli.options import panel, reading, writing
from medclipsam.volume.rules import DEFAULT_MODE

looking, asked_by = panel("Where to look"), panel("Server")


def client(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="What `segment` reads; it is sent to the server if it is not known.")
    ],
    *,
    prompt: Annotated[
        list[str],
        typer.Option("--prompt", "-p", help="What to segment; repeat it for several; A|B averages two wordings."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results.", show_default="medclipsam-CASE")
    ] = None,
    server: Annotated[
        str | None,
        asked_by(
            "Address of the server; its token is read from MEDCLIPSAM_TOKEN, or from the server's own file.",
            "--server",
            show_default="the one that runs",
        ),
    ] = None,
    by_path: Annotated[
        bool, asked_by("Send the path alone: the scan lies below a --folder of the server.", "--by-path")
    ] = False,
    box: Annotated[
        list[str] | None,
        looking("Your own box x0,y0,x1,y1 by its edges in pixels: 0,0,1,1 is the first pixel. Repeatable."),
    ] = None,
    points: Annotated[str | None, looking("Your own points x,y;x,y in pixels; x,y,0 lies outside the object.")] = None,
    always: options.Always = False,
    slices: Annotated[
        str | None,
        reading(
            "Slices of a volume, from 0; 10:40 is 10 to 39.",
            "--slices",
            "--slice",
            metavar="A:B|N|all",
            show_default="all",
        ),
    ] = None,
    series: Annotated[
        str | None, reading("Which of several DICOM series; without it the error lists them.", metavar="N|UID")
    ] = None,
    volume_mode: options.HowSlices = DEFAULT_MODE,
    frame: Annotated[
        str | None,
        reading(
            "Frames of a DICOM file or pages of a TIFF, from 0; 3:10 is 3 to 9.",
            metavar="A:B|N|all",
            show_default="all",
        ),
    ] = None,
    axis: options.PlaneAxis = None,
    window: options.GreyWindow = None,
    formats: Annotated[
        list[str] | None,
        writing(
            "Format of the masks; may be repeated. auto: seg (DICOM SEG) for DICOM, a volume's own format, png else.",
            "--format",
            metavar="[auto|seg|rtstruct|png|nifti|nrrd|mha|mgz|seg.nrrd|npy]",
            show_default="auto",
        ),
    ] = None,
    seg_type: Annotated[
        Literal["binary", "labelmap", "fractional"], writing("Type of a DICOM SEG; fractional keeps probabilities.")
    ] = "binary",
    seg_per_prompt: Annotated[bool, writing("Write a DICOM SEG for each prompt.", "--seg-per-prompt")] = False,
    seg_all_slices: options.SegAllSlices = False,
    structured_report: options.StructuredReport = False,
    save_stages: Annotated[bool, writing("Also write saliency and probability.", "--save-stages")] = False,
    json: Annotated[bool, writing("Print the report instead of a summary.", "--json")] = False,
) -> None:
    """Segment one scan by a server that runs: the files of `segment`, without loading a model here."""
    need_extra("client", "client", "httpx2")
    from medclipsam.cli.segment import summary
    from medclipsam.io.naming import case_name
    from medclipsam.serve.client import Asked, ask_server
    from medclipsam.serve.state import find

    slice_index, span = parse_some("slices", slices)
    frame_index, frame_span = parse_some("frame", frame)
    ask: dict[str, Any] = {
        "case": case_name(scan),
        "prompts": prompt,
        "boxes": [parse_box(text).edges for text in box or ()],
        "points": _clicks(points),
        "always": always,
        "slice": slice_index,
        "slices": span,
        "frame": frame_index,
        "frames": frame_span,
        "every": ALL in (slices, frame),
        "series": series,
        "volume_mode": volume_mode,
        "axis": parse_axis(axis),
        "window": window,
        "formats": parse_formats(formats or ["auto"]),
        "seg_type": seg_type,
        "seg_per_prompt": seg_per_prompt,
        "seg_all_slices": seg_all_slices,
        "structured_report": structured_report,
        "save_stages": save_stages,
    }
    folder = output or Path(f"medclipsam-{case_name(scan)}")
    asked = Asked(scan=scan, folder=folder, ask=ask, by_path=by_path)
    with progress() as tell:
        report = ask_server(find(server), asked, tell)
    if json:
        from medclipsam.report import to_json

        say_json(to_json(report))
    else:
        say(summary(report, folder))


def _clicks(points: str | None) -> list[dict[str, Any]]:
    """Points as the server takes them."""
    if points is None:
        return []
    parsed = parse_points(points)
    return [
        {"x": float(x), "y": float(y), "inside": bool(label)}
        for (x, y), label in zip(parsed.xy, parsed.labels, strict=True)
    ]
