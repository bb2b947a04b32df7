"""How is one scan segmented from a terminal? `medclipsam segment SCAN --prompt "breast tumor" -o DIR`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import medclipsam
from medclipsam.cli.arguments import ALL, parse_axis, parse_box, parse_formats, parse_place, parse_points, parse_slices
from medclipsam.cli.options import (
    MAX_PIXELS,
    OUTPUT,
    READING,
    Always,
    Device,
    EncoderPrecision,
    FineTuned,
    GreyWindow,
    HowSlices,
    MaxPixels,
    Offline,
    PlaneAxis,
    Preset,
    Sandbox,
    Seed,
    go_offline,
)
from medclipsam.volume.rules import DEFAULT_MODE

if TYPE_CHECKING:
    from medclipsam.methods.contract import Segmenter

PLACE = "Where to look"


def segment(
    scan: Annotated[
        Path,
        typer.Argument(
            metavar="SCAN", help="DICOM, NIfTI, PNG, JPEG, TIFF, BMP or NPY file; or folder or zip of a DICOM series."
        ),
    ],
    *,
    prompt: Annotated[
        list[str],
        typer.Option("--prompt", "-p", help="What to segment; repeat it for several; A|B averages two wordings."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results.", show_default="medclipsam-CASE")
    ] = None,
    preset: Preset = "embedded",
    device: Device = "auto",
    precision: EncoderPrecision = "auto",
    seed: Seed = 0,
    weights: FineTuned = None,
    offline: Offline = False,
    box: Annotated[
        list[str] | None,
        typer.Option(help="Your own box x0,y0,x1,y1 in pixels; may be repeated.", rich_help_panel=PLACE),
    ] = None,
    points: Annotated[
        str | None,
        typer.Option(help="Your own points x,y;x,y in pixels; x,y,0 lies outside the object.", rich_help_panel=PLACE),
    ] = None,
    always: Always = False,
    slices: Annotated[
        str | None,
        typer.Option(
            "--slices",
            "--slice",
            metavar="A:B|N|all",
            help="Slices of a volume, from 0; 10:40 is 10 to 39.",
            show_default="all",
            rich_help_panel=READING,
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="N|UID", help="Which of several DICOM series; a refusal lists them.", rich_help_panel=READING
        ),
    ] = None,
    volume_mode: HowSlices = DEFAULT_MODE,
    frame: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Frame of a DICOM file or page of a TIFF.", rich_help_panel=READING),
    ] = None,
    axis: PlaneAxis = None,
    window: GreyWindow = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    sandbox: Sandbox = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="[auto|seg|rtstruct|png|nifti|npy]",
            help="Of the masks; may be repeated. auto is seg (DICOM SEG) for DICOM, nifti for NIfTI, png else.",
            show_default="auto",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    seg_type: Annotated[
        Literal["binary", "labelmap", "fractional"],
        typer.Option(help="Of a DICOM SEG; fractional keeps probabilities.", rich_help_panel=OUTPUT),
    ] = "binary",
    save_stages: Annotated[
        bool, typer.Option("--save-stages", help="Also write saliency and probability.", rich_help_panel=OUTPUT)
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report instead of a summary.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Segment what the prompts name in one scan.

    Writes the masks, overlay.png and report.json. Nothing found is a result: an empty mask, exit code 0.
    """
    from medclipsam.cli.console import progress
    from medclipsam.io.window import parse_window
    from medclipsam.report import to_json
    from medclipsam.scan import ScanRequest, segment_scan

    slice_index, span = parse_slices(slices)
    request = ScanRequest(
        scan=scan,
        prompts=tuple(prompt),
        folder=output,
        seed=seed,
        boxes=tuple(parse_box(text) for text in box or ()),
        points=parse_points(points) if points is not None else None,
        always=always,
        slice_index=slice_index,
        span=span,
        frame=parse_place("frame", frame),
        every=ALL in (slices, frame),
        series=series,
        volume_mode=volume_mode,
        axis=parse_axis(axis),
        window=parse_window(window) if window is not None else None,
        max_pixels=max_pixels,
        sandbox=sandbox,
        formats=parse_formats(formats or ["auto"]),
        seg_kind=seg_type,
        save_stages=save_stages,
    )
    if offline:
        go_offline()

    def load() -> Segmenter:
        return medclipsam.load(preset, device=device, precision=precision, seed=seed, weights=weights)

    with progress() as tell:
        report = segment_scan(request, load, tell)
    typer.echo(to_json(report) if json else summary(report, request.output))


def summary(report: dict[str, Any], folder: Path) -> str:
    """What a person wants to know at the end: each prompt's answer, warnings, and where the files lie."""
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for image in report["images"]:
        for result in image["results"]:
            by_prompt.setdefault(result["prompt"], []).append(result)
    told = [f"{prompt}: {_answer(results)}" for prompt, results in by_prompt.items()]
    warnings = dict.fromkeys(warning for image in report["images"] for warning in image["warnings"])
    firsts = [results[0]["files"] for results in by_prompt.values()]
    files = dict.fromkeys(name for files in firsts for role, name in files.items() if role.startswith("mask"))
    where = [f"  {folder / name}" for name in (*files, "overlay.png", "report.json")]
    return "\n".join([*told, *(f"note: {warning}" for warning in warnings), *where, report["notice"]])


def _answer(results: Sequence[dict[str, Any]]) -> str:
    found = [result for result in results if result["found"]]
    if len(results) > 1:
        return f"found in {len(found)} of {len(results)} pictures"
    if not found:
        return f"not found (presence {results[0]['presence']:.2f})"
    area = f"{found[0]['area_px']:,} px"
    if found[0]["area_mm2"] is not None:
        area += f" = {found[0]['area_mm2']:,.1f} mm2"
    return f"found, {area} (presence {found[0]['presence']:.2f})"
