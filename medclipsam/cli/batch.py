"""How is a folder labelled from a terminal? `medclipsam pseudolabel SCANS -o LABELS --prompt "breast tumor"`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

import medclipsam
from medclipsam.cli.arguments import parse_axis
from medclipsam.cli.options import (
    ASKING,
    MAX_PIXELS,
    OUTPUT,
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
from medclipsam.errors import BadInput
from medclipsam.volume.rules import DEFAULT_MODE

if TYPE_CHECKING:
    from medclipsam.batch import Summary
    from medclipsam.batch.engine import Engine
    from medclipsam.methods.contract import Segmenter

WHERE = "Where the work is done"
NOTHING_READ = 3
"""Exit code where there were cases and not one could be read."""


def pseudolabel(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Folder of scans; or a CSV or JSON table of files; or one file.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the labels; run again to go on.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help="What to segment; repeat it for several.", rich_help_panel=ASKING),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='Prompts of each file: CSV with columns file,prompt or JSON {"file": "prompt"}.',
            rich_help_panel=ASKING,
        ),
    ] = None,
    always: Always = False,
    shard: Annotated[
        str,
        typer.Option(
            metavar="i/n",
            help="Do this part of the files, from 1/n to n/n, into one folder.",
            show_default="1/1",
            rich_help_panel=WHERE,
        ),
    ] = "1/1",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="This process, or workers on a Ray cluster; the masks are the same.", rich_help_panel=WHERE),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster, as auto.", rich_help_panel=WHERE, show_default="this machine"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="On Ray, each with its models.", rich_help_panel=WHERE, show_default="one a GPU, or a CPU"),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(help="Images encoded at once: on a CPU up to 4 side by side.", rich_help_panel=WHERE),
    ] = 8,
    preset: Preset = "embedded",
    device: Device = "auto",
    precision: EncoderPrecision = "auto",
    seed: Seed = 0,
    weights: FineTuned = None,
    offline: Offline = False,
    axis: PlaneAxis = None,
    window: GreyWindow = None,
    volume_mode: HowSlices = DEFAULT_MODE,
    max_pixels: MaxPixels = MAX_PIXELS,
    sandbox: Sandbox = True,
    min_confidence: Annotated[
        float, typer.Option(help="Masks below it, from 0 to 1, go to doubtful/.", rich_help_panel=OUTPUT)
    ] = 0.0,
    ignore_band: Annotated[
        float | None,
        typer.Option(
            help="Also write labels/, with 2 (ignore) where the probability is this near to 0.5.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    mask_format: Annotated[
        Literal["auto", "seg", "png", "npy"],
        typer.Option(
            "--format",
            help="Of the masks; auto is nifti for NIfTI and png else, seg is DICOM SEG for DICOM.",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Segment every scan of a folder: masks to look through, and to learn from.

    Writes masks/, overlays/, manifest.jsonl with a record for each file and prompt, and index.html, least sure first.
    A file that cannot be read is recorded and stops nothing. Stopped at any moment, the same command goes on.
    """
    from medclipsam.batch import LabelRequest, Shard, label_folder
    from medclipsam.io.source import ReadOptions
    from medclipsam.io.window import parse_window

    weights = weights.absolute() if weights else None
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
        reading=ReadOptions(
            axis=parse_axis(axis),
            window=parse_window(window) if window is not None else None,
            max_pixels=max_pixels,
            sandbox=sandbox,
        ),
        volume_mode=volume_mode,
        mask_format=mask_format,
        batch_size=batch_size,
    )

    def load() -> Segmenter:
        """In whichever process does the work."""
        if offline:
            go_offline()
        return medclipsam.load(preset, device=device, precision=precision, seed=seed, weights=weights)

    with batch_progress() as tell:
        found = label_folder(request, load, tell, _engine(engine, address, workers, device))
    typer.echo(_as_json(found) if json else summary(found, output))
    if found.total and not found.read:
        raise typer.Exit(NOTHING_READ)


def _engine(name: str, address: str | None, workers: int | None, device: str) -> Engine:
    if name == "ray":
        from medclipsam.batch.on_ray import RayEngine

        return RayEngine(address=address, workers=workers, device=device)
    from medclipsam.batch.engine import in_this_process

    if address is not None or workers is not None:
        raise BadInput("--address and --workers are Ray's", "add --engine ray")
    return in_this_process


def summary(found: Summary, folder: Path) -> str:
    """One line: what became of the cases, and where to look."""
    counted = ", ".join(f"{count:,} {status}" for status, count in sorted(found.counts.items()))
    line = f"{found.total:,} cases: {counted or 'none in this shard'}"
    if found.kept:
        line += f"; {found.kept:,} of them by an earlier run"
    minutes, seconds = divmod(round(found.seconds), 60)
    line += f"; {minutes} min {seconds} s"
    return f"{line}; see {folder / 'index.html'}" if found.joined else f"{line}; other shards are not done"


@contextmanager
def batch_progress(console: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show cases, rate and time left while the block runs; quiet when `console` (stderr) is not a terminal."""
    console = console or Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), Rate()
    display = Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    )
    with display:
        task = display.add_task("starting", total=None)

        def tell(stage: str, done: int = 0, total: int = 0) -> None:
            display.update(task, description=stage, completed=done, total=total or None)

        yield tell


class Rate(ProgressColumn):
    """Cases in a second, or seconds for a case, of late."""

    def render(self, task: Task) -> Text:
        """Empty until it is known."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} cases/s" if speed >= 1 else f"{1 / speed:.1f} s a case")


def _as_json(found: Summary) -> str:
    import json
    from dataclasses import asdict

    return json.dumps({**asdict(found), "read": found.read}, indent=2)
