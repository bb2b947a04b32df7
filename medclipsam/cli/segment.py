"""The command over one scan: `medclipsam segment SCAN --prompt "breast tumor" -o DIR`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medclipsam.cli import options
from medclipsam.cli.arguments import (
    ALL,
    parse_archived,
    parse_axis,
    parse_formats,
    parse_hints,
    parse_some,
    parse_window,
)
from medclipsam.cli.console import number_of, progress, say, say_json
from medclipsam.cli.gathered import offered
from medclipsam.cli.models import ChosenModels, Models
from medclipsam.cli.options import archived, reading, writing
from medclipsam.volume.rules import DEFAULT_MODE

if TYPE_CHECKING:
    from medclipsam.runs.one_scan import ScanRequest
    from medclipsam.runs.remote_scan import RemoteChoice


@offered
def segment(
    scan: Annotated[
        str,
        typer.Argument(
            metavar="SCAN",
            help="DICOM, NIfTI, NRRD, MHA, MGZ, PNG, JPEG, TIFF, BMP or NPY file; folder or zip of a DICOM series; or "
            "dicomweb:https://HOST/PATH, an archive, with --study.",
        ),
    ],
    *,
    prompt: options.Prompts,
    output: options.ScanOutput = None,
    load: ChosenModels,
    box: options.OwnBoxes = None,
    points: options.OwnPoints = None,
    always: options.Always = False,
    slices: options.SomeSlices = None,
    series: options.OneSeries = None,
    study: Annotated[str | None, archived("Study Instance UID of the scan in an archive.", metavar="UID")] = None,
    store: options.Store = False,
    volume_mode: options.HowSlices = DEFAULT_MODE,
    every_nth: Annotated[
        int,
        reading(
            "Segment every Nth slice of a volume, and interpolate the masks between by their shapes: nearly N times"
            " faster, and what lies on fewer than N slices can be lost.",
            "--every-nth",
            metavar="N",
        ),
    ] = 1,
    frame: options.SomeFrames = None,
    axis: options.PlaneAxis = None,
    window: options.GreyWindow = None,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    sandbox: options.Sandbox = False,
    formats: options.ScanFormats = None,
    seg_type: options.SegType = "binary",
    seg_per_prompt: Annotated[
        bool,
        writing(
            "Write a DICOM SEG for each prompt: SimpleITK and dcm2niix mix up those of one file.", "--seg-per-prompt"
        ),
    ] = False,
    seg_all_slices: options.SegAllSlices = False,
    structured_report: options.StructuredReport = False,
    save_stages: options.SaveStages = False,
    json: options.AsReport = False,
) -> None:
    """Segment what the prompts name in one scan.

    Writes the masks, overlay.png and report.json. Nothing found is a result: an empty mask, exit code 0.
    """
    from medclipsam.runs.one_scan import ScanRequest

    choice = parse_archived(scan, study, series, store=store)
    slice_index, span = parse_some("slices", slices)
    frame_index, frame_span = parse_some("frame", frame)
    request = ScanRequest(
        scan=Path(scan),
        prompts=tuple(prompt),
        folder=output,
        seed=load.seed,
        hints=parse_hints(box or (), points),
        always=always,
        slice_index=slice_index,
        span=span,
        frame=frame_index,
        frame_span=frame_span,
        every=ALL in (slices, frame),
        series=series,
        volume_mode=volume_mode,
        every_nth=every_nth,
        axis=parse_axis(axis),
        window=parse_window(window),
        max_pixels=max_pixels,
        sandbox=sandbox,
        formats=parse_formats(formats or ["auto"]),
        seg_kind=seg_type,
        seg_per_prompt=seg_per_prompt,
        seg_all_slices=seg_all_slices,
        structured_report=structured_report,
        save_stages=save_stages,
    )
    if not request.hints:
        load.check(request.prompts)
    load.begin()
    _run(request, choice, load, as_json=json)


def _run(request: ScanRequest, choice: RemoteChoice | None, load: Models, *, as_json: bool) -> None:
    from medclipsam.report import to_json
    from medclipsam.runs.one_scan import segment_scan
    from medclipsam.runs.remote_scan import segment_remote

    folder, stored = request.output, list[str]()
    with progress() as tell:
        if choice is None:
            report = segment_scan(request, load, tell)
        else:
            report, folder, stored = segment_remote(choice, request, load, tell)
    if as_json:
        say_json(to_json(report))
    else:
        say("\n".join([summary(report, folder), *stored]))


def summary(report: dict[str, Any], folder: Path) -> str:
    """What a person wants to know at the end: each prompt's answer, warnings, and where the files lie."""
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for image in report["images"]:
        for result in image["results"]:
            by_prompt.setdefault(result["prompt"], []).append(result)
    unit = "slice" if "volume_mode" in report else "image"
    told = [f"{prompt}: {_answer(results, unit)}" for prompt, results in by_prompt.items()]
    warnings = dict.fromkeys(warning for image in report["images"] for warning in image["warnings"])
    warnings |= dict.fromkeys(note for results in by_prompt.values() for result in results for note in result["notes"])
    firsts = [results[0]["files"] for results in by_prompt.values()]
    files = dict.fromkeys(name for files in firsts for role, name in files.items() if role.startswith("mask"))
    where = [f"  {folder / name}" for name in (*files, "overlay.png", "report.json")]
    return "\n".join([*told, *(f"note: {warning}" for warning in warnings), *where, report["notice"]])


def _answer(results: Sequence[dict[str, Any]], unit: str) -> str:
    found = [result for result in results if result["found"]]
    if len(results) > 1:
        dropped = sum(result["reason"] == "neighbours" for result in results)
        more = f"; {number_of(dropped, unit)} dropped, see --volume-mode" if dropped else ""
        return f"found in {len(found)} of {number_of(len(results), unit)}{more}"
    if not found:
        return f"not found{_why(results[0])}{_presence(results[0])}"
    area = f"{found[0]['area_px']:,} px"
    if found[0]["area_mm2"] is not None:
        area += f" = {found[0]['area_mm2']:,.1f} mm2"
    return f"found, {area}{_presence(found[0])}"


def _presence(result: dict[str, Any]) -> str:
    """Empty where the method has none."""
    return "" if result["presence"] is None else f" (presence {result['presence']:.2f})"


def _why(result: dict[str, Any]) -> str:
    """The reason, where the method says it."""
    from medclipsam.types import WHY_NOTHING

    return f": {WHY_NOTHING[result['reason']]}" if result["reason"] in WHY_NOTHING else ""
