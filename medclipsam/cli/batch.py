"""The commands over a folder of scans: `pseudolabel SCANS -o LABELS --prompt TEXT`, and `predict RUN SCANS -o DIR`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclipsam.cli import options
from medclipsam.cli.arguments import parse_formats, parse_reading, parse_seg, parse_source
from medclipsam.cli.console import json_of, need_extra, number_of, progress, raise_nothing_read, say, say_json
from medclipsam.cli.gathered import offered
from medclipsam.cli.models import ChosenModels, Models
from medclipsam.cli.options import archived, asking, writing
from medclipsam.errors import BadInput, CannotWrite
from medclipsam.volume.rules import DEFAULT_MODE

if TYPE_CHECKING:
    from medclipsam.runs import LabelRequest, Summary
    from medclipsam.runs.local import Engine


@offered
def pseudolabel(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="Folder of scans; a CSV or JSON table of files; one file; or dicomweb:https://HOST/PATH, an archive, "
            "with --query.",
        ),
    ],
    *,
    query: Annotated[
        str | None,
        archived(
            "What to segment of an archive: modality, date, body, description, study-description, study, series.",
            metavar="KEY=VALUE,...",
        ),
    ] = None,
    store: options.Store = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the labels; run again to go on.")],
    prompt: Annotated[list[str] | None, asking("What to segment; repeat it for several.", "--prompt", "-p")] = None,
    prompts: Annotated[
        Path | None, asking('Prompts of each file: CSV with columns file,prompt or JSON {"file": "prompt"}.')
    ] = None,
    always: options.Always = False,
    shard: options.Shard = "1/1",
    engine: options.EngineName = "local",
    address: options.RayAddress = None,
    workers: options.RayWorkers = None,
    batch_size: options.BatchSize = 8,
    load: ChosenModels,
    axis: options.PlaneAxis = None,
    window: options.GreyWindow = None,
    volume_mode: options.HowSlices = DEFAULT_MODE,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    sandbox: options.Sandbox = True,
    min_confidence: Annotated[float, writing("Masks below it, from 0 to 1, go to doubtful/.")] = 0.0,
    ignore_band: Annotated[
        float | None, writing("Also write labels/, with 2 (ignore) where the probability is this near to 0.5.")
    ] = None,
    formats: options.FolderFormats = None,
    seg_type: options.SegType = "binary",
    seg_all_slices: options.SegAllSlices = False,
    structured_report: options.StructuredReport = False,
    save_stages: Annotated[bool, writing("Also write every map of the method as 16-bit PNG.", "--save-stages")] = False,
    safe_names: options.SafeNames = False,
    masks_too: options.MasksToo = False,
    serve: Annotated[
        bool,
        writing("Show the progress in a page on this machine; prints its address (extra `serve`).", "--serve"),
    ] = False,
    json: Annotated[bool, writing("Print the summary as JSON.", "--json")] = False,
) -> None:
    """Segment every scan of a folder: masks to look through, and to learn from.

    Writes masks/, overlays/, manifest.jsonl with a record for each file and prompt, and index.html, least sure first.
    A file that cannot be read is recorded and stops nothing. Stopped at any moment, the same command goes on.
    """
    from medclipsam.runs import LabelRequest, Shard, label_folder

    scans, remote = parse_source(source, query, store=store)
    if remote and engine == "ray":
        raise BadInput("workers on Ray read files, not archives", "leave --engine out")
    request = LabelRequest(
        source=scans,
        remote=remote,
        output=output,
        prompts=tuple(prompt or ()),
        table=prompts,
        shard=Shard.parse(shard),
        seed=load.seed,
        always=always,
        min_confidence=min_confidence,
        ignore_band=ignore_band,
        reading=parse_reading(axis, window, max_pixels, sandbox=sandbox),
        volume_mode=volume_mode,
        formats=parse_formats(formats or ["seg" if remote and (store or structured_report) else "auto"]),
        seg=parse_seg(seg_type, all_slices=seg_all_slices),
        structured_report=structured_report,
        save_stages=save_stages,
        safe_names=safe_names,
        masks_too=masks_too,
        batch_size=batch_size,
    )
    load.check(request.prompts)
    with _shown(output, serve), progress(counting="case") as tell:
        found = label_folder(request, load.anywhere, tell, _engine(engine, address, workers, load.device))
    _tell(found, request, as_json=json)


def _shown(output: Path, serve: bool) -> AbstractContextManager[None]:
    """Serve a page of the progress while the run lasts, where that is wanted."""
    if not serve:
        return nullcontext()
    need_extra("pseudolabel --serve", "serve", "fastapi", "uvicorn")
    from medclipsam.serve.run import watched

    return watched(output, lambda running: say(f"progress: {running.url}/?token={running.token}", err=True))


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `medclipsam refine` run.")],
    scans: Annotated[Path, typer.Argument(help="Folder of scans; or a CSV or JSON table of files; or one file.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks; run again to go on.")],
    threshold: Annotated[
        float | None,
        asking("Probability above which a pixel is inside (released code: 0.2).", show_default="the run's, 0.5"),
    ] = None,
    shard: options.Shard = "1/1",
    engine: options.EngineName = "local",
    address: options.RayAddress = None,
    workers: options.RayWorkers = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = "auto",
    axis: options.PlaneAxis = None,
    window: options.GreyWindow = None,
    volume_mode: options.HowSlices = DEFAULT_MODE,
    max_pixels: options.MaxPixels = options.MAX_PIXELS,
    sandbox: options.Sandbox = True,
    formats: options.FolderFormats = None,
    safe_names: options.SafeNames = False,
    masks_too: options.MasksToo = False,
    json: Annotated[bool, writing("Print the summary as JSON.", "--json")] = False,
) -> None:
    """Segment scans with a refined run.

    Writes what `pseudolabel` writes, and maps of probability, entropy and disagreement (information, in bits) as 16-bit
    PNG, where 65535 is 1.
    """
    from medclipsam.config import Refined
    from medclipsam.methods.ensemble_run import EnsembleFile
    from medclipsam.runs import LabelRequest, Shard, label_folder

    request = LabelRequest(
        source=scans,
        output=output,
        prompts=(EnsembleFile.read(run).prompt,),
        shard=Shard.parse(shard),
        reading=parse_reading(axis, window, max_pixels, sandbox=sandbox),
        volume_mode=volume_mode,
        formats=parse_formats(formats or ["auto"]),
        save_stages=True,
        safe_names=safe_names,
        masks_too=masks_too,
        batch_size=batch_size,
    )
    load = Models(Refined(run=run.absolute(), threshold=threshold), device)
    with progress(counting="case") as tell:
        found = label_folder(request, load, tell, _engine(engine, address, workers, device))
    _tell(found, request, as_json=json)


def _tell(found: Summary, request: LabelRequest, *, as_json: bool) -> None:
    if as_json:
        say_json(json_of(found, read=found.read))
    else:
        say(summary(found, request.output))
    if found.stored and found.stored.get("refused"):
        raise CannotWrite(
            f"the archive refused {number_of(found.stored['refused'], 'object')}",
            f"see {request.output / 'stored.jsonl'}; the same command tries again",
        )
    asked = found.total - _unasked(request.output) or found.total
    raise_nothing_read(found.read, asked, request.source, request.table)


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


_STORED = {"stored": "stored in", "there": "there already in", "refused": "refused by"}


def summary(found: Summary, folder: Path) -> str:
    """One line: what became of the cases, and where to look."""
    counted = ", ".join(f"{count:,} {status}" for status, count in sorted(found.counts.items()))
    line = f"{number_of(found.total, 'case')}: {counted or 'none in this shard'}"
    if found.kept:
        line += f"; {found.kept:,} of them by an earlier run"
    for outcome, count in sorted((found.stored or {}).items()):
        line += f"; {count:,} {_STORED[outcome]} the archive"
    minutes, seconds = divmod(round(found.seconds), 60)
    line += f"; {minutes} min {seconds} s"
    return f"{line}; see {folder / 'index.html'}" if found.joined else f"{line}; other shards are not done"
