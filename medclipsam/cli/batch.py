"""How is a folder labelled from a terminal? `medclipsam pseudolabel SCANS -o LABELS --prompt "breast tumor"`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclipsam.cli import options
from medclipsam.cli.arguments import parse_reading
from medclipsam.cli.console import json_of, number_of, progress, raise_nothing_read
from medclipsam.cli.options import asking, panel, writing
from medclipsam.errors import BadInput
from medclipsam.volume.rules import DEFAULT_MODE

if TYPE_CHECKING:
    from medclipsam.runs import LabelRequest, Summary
    from medclipsam.runs.local import Engine

working = panel("Where the work is done")


def pseudolabel(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Folder of scans; or a CSV or JSON table of files; or one file.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the labels; run again to go on.")],
    prompt: Annotated[list[str] | None, asking("What to segment; repeat it for several.", "--prompt", "-p")] = None,
    prompts: Annotated[
        Path | None, asking('Prompts of each file: CSV with columns file,prompt or JSON {"file": "prompt"}.')
    ] = None,
    always: options.Always = False,
    shard: Annotated[
        str,
        working("Do this part of the files, from 1/n to n/n, into one folder.", metavar="i/n", show_default="1/1"),
    ] = "1/1",
    engine: Annotated[
        Literal["local", "ray"], working("This process, or workers on a Ray cluster; the masks are the same.")
    ] = "local",
    address: Annotated[
        str | None, working("Address of a running Ray cluster, or auto.", show_default="this machine")
    ] = None,
    workers: Annotated[int | None, working("On Ray, each with its models.", show_default="one a GPU, or a CPU")] = None,
    batch_size: Annotated[int, working("Images encoded at once: on a CPU up to 4 side by side.")] = 8,
    preset: options.Preset = "embedded",
    device: options.Device = "auto",
    precision: options.EncoderPrecision = "auto",
    seed: options.Seed = 0,
    weights: options.FineTuned = None,
    sam: options.SamKind = None,
    sam_weights: options.OwnSam = None,
    offline: options.Offline = False,
    axis: options.PlaneAxis = None,
    window: options.GreyWindow = None,
    volume_mode: options.HowSlices = DEFAULT_MODE,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    sandbox: options.Sandbox = True,
    min_confidence: Annotated[float, writing("Masks below it, from 0 to 1, go to doubtful/.")] = 0.0,
    ignore_band: Annotated[
        float | None, writing("Also write labels/, with 2 (ignore) where the probability is this near to 0.5.")
    ] = None,
    mask_format: Annotated[
        Literal["auto", "seg", "png", "npy"],
        writing("Format of the masks; auto is nifti for NIfTI and png else, seg is DICOM SEG for DICOM.", "--format"),
    ] = "auto",
    json: Annotated[bool, writing("Print the summary as JSON.", "--json")] = False,
) -> None:
    """Segment every scan of a folder: masks to look through, and to learn from.

    Writes masks/, overlays/, manifest.jsonl with a record for each file and prompt, and index.html, least sure first.
    A file that cannot be read is recorded and stops nothing. Stopped at any moment, the same command goes on.
    """
    from medclipsam.runs import LabelRequest, Shard

    request = LabelRequest(
        source=source,
        output=output,
        prompts=tuple(prompt or ()),
        table=prompts,
        shard=Shard.parse(shard),
        seed=seed,
        always=always,
        min_confidence=min_confidence,
        ignore_band=ignore_band,
        reading=parse_reading(axis, window, max_pixels, sandbox=sandbox),
        volume_mode=volume_mode,
        mask_format=mask_format,
        batch_size=batch_size,
    )
    weights = weights.absolute() if weights else None
    sam_weights = sam_weights.absolute() if sam_weights else None
    load = options.Models(preset, device, precision, seed, weights, offline, sam, sam_weights)
    _run(request, load, _engine(engine, address, workers, device), as_json=json)


def _run(request: LabelRequest, load: options.Models, engine: Engine, *, as_json: bool) -> None:
    from medclipsam.runs import label_folder

    with progress(counting="case") as tell:
        found = label_folder(request, load, tell, engine)
    typer.echo(json_of(found, read=found.read) if as_json else summary(found, request.output))
    raise_nothing_read(found.read, found.total - _unasked(request.output) or found.total, request.source, request.table)


def _unasked(folder: Path) -> int:
    """How many files a table of prompts does not name: that is not what is wrong with the table."""
    from medclipsam.runs.layout import MANIFEST
    from medclipsam.runs.manifest import read_manifest

    return sum(record.prompt is None for record in read_manifest(folder / MANIFEST).values())


def _engine(name: str, address: str | None, workers: int | None, device: str) -> Engine:
    if name == "ray":
        from medclipsam.runs.ray import RayEngine

        return RayEngine(address=address, workers=workers, device=device)
    from medclipsam.runs.local import in_this_process

    if address is not None or workers is not None:
        raise BadInput("--address and --workers are Ray's", "add --engine ray")
    return in_this_process


def summary(found: Summary, folder: Path) -> str:
    """One line: what became of the cases, and where to look."""
    counted = ", ".join(f"{count:,} {status}" for status, count in sorted(found.counts.items()))
    line = f"{number_of(found.total, 'case')}: {counted or 'none in this shard'}"
    if found.kept:
        line += f"; {found.kept:,} of them by an earlier run"
    minutes, seconds = divmod(round(found.seconds), 60)
    line += f"; {minutes} min {seconds} s"
    return f"{line}; see {folder / 'index.html'}" if found.joined else f"{line}; other shards are not done"
