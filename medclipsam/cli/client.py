"""The command `medclipsam client SCAN --prompt TEXT`: `segment` by a server that runs, without loading a model here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medclipsam.cli import options
from medclipsam.cli.arguments import ALL, parse_axis, parse_box, parse_formats, parse_points, parse_some
from medclipsam.cli.console import need_extra, progress, say, say_json
from medclipsam.cli.options import panel, writing
from medclipsam.volume.rules import DEFAULT_MODE

asked_by = panel("Server")


def client(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="What `segment` reads; it is sent to the server if it is not known.")
    ],
    *,
    prompt: options.Prompts,
    output: options.ScanOutput = None,
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
    box: options.OwnBoxes = None,
    points: options.OwnPoints = None,
    always: options.Always = False,
    slices: options.SomeSlices = None,
    series: options.OneSeries = None,
    volume_mode: options.HowSlices = DEFAULT_MODE,
    frame: options.SomeFrames = None,
    axis: options.PlaneAxis = None,
    window: options.GreyWindow = None,
    formats: options.ScanFormats = None,
    seg_type: options.SegType = "binary",
    seg_per_prompt: Annotated[bool, writing("Write a DICOM SEG for each prompt.", "--seg-per-prompt")] = False,
    seg_all_slices: options.SegAllSlices = False,
    structured_report: options.StructuredReport = False,
    save_stages: options.SaveStages = False,
    json: options.AsReport = False,
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
