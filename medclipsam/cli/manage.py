"""The commands `info`, `doctor` and `weights`: what is installed, whether it works, which weights are present.

A table for people, `--json` for programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from medclipsam.cli.console import progress, say, say_json, say_table, stdout_for_the_outcome
from medclipsam.errors import BadInput
from medclipsam.notice import RESEARCH_USE_ONLY

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Keys = Annotated[list[str] | None, typer.Argument(help="Names from `medclipsam weights list`; all when left out.")]

weights_app = typer.Typer(
    help="List, fetch and check trained weights.",
    epilog=RESEARCH_USE_ONLY,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def info(
    as_json: AsJson = False,
    targets: Annotated[
        bool, typer.Option("--targets", help="Show what the embedded model was taught, and how well it finds that.")
    ] = False,
    preset: Annotated[
        str, typer.Option("--preset", help="The preset whose targets are shown: embedded, embedded-open.")
    ] = "embedded",
) -> None:
    """Show versions, the device, methods, presets, formats, extras and the weights that are here."""
    from medclipsam.cli import inventory

    if preset != "embedded" and not targets:
        raise BadInput("--preset asks whose targets to show", "add --targets")
    with stdout_for_the_outcome():
        found = {"targets": inventory.targets(preset)} if targets else inventory.describe()
    if as_json:
        _print_json(found["targets"] if targets else found)
    elif targets:
        rows = [
            (row["target"], _figure(row["home"]), _figure(row["elsewhere"]), ", ".join(row["images"]))
            for row in found["targets"]
        ]
        say_table(("target", "Dice, found at home", "on other sources", "taught on"), rows)
        say("Figures are of test images; - where there are none.")
    else:
        say_table(("what", "found"), list(_info_rows(found)))
        say(RESEARCH_USE_ONLY)


def doctor(as_json: AsJson = False) -> None:
    """Check that this machine can run the default preset; exit code 1 when it cannot."""
    from medclipsam.cli.checkup import examine

    with stdout_for_the_outcome():
        checks = list(examine())
    failed = [check for check in checks if check.state == "failed"]
    if as_json:
        _print_json({"healthy": not failed, "checks": [asdict(check) for check in checks]})
    else:
        say_table(("check", "state", "found"), [(check.name, check.state, check.found) for check in checks])
        for check in checks:
            if check.remedy:
                say(f"{check.name}: {check.remedy}")
        say(f"{len(failed)} of {len(checks)} checks failed" if failed else "ready")
    if failed:
        raise typer.Exit(1)


@weights_app.command("list")
def list_weights(as_json: AsJson = False) -> None:
    """Show all known weights: size, licence, and where they are on this machine (not verified)."""
    from medclipsam.cli import inventory

    rows = inventory.weights()
    if as_json:
        _print_json(rows)
        return
    shown = [(key, _size(row["bytes"]), row["licence"], row["place"] or "not here") for key, row in rows.items()]
    say_table(("weights", "size", "licence", "place"), shown)


@weights_app.command()
def pull(
    keys: Annotated[list[str], typer.Argument(help="Names from `medclipsam weights list`.")],
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    without_tensors: Annotated[
        bool,
        typer.Option("--without-tensors", help="Configuration and tokenizer alone, for a checkpoint of your own."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download weights that are not here yet; an interrupted download goes on where it stopped."""
    from medclipsam import weights

    for key in keys:
        if without_tensors and len(weights.lookup(key).files) == 1:
            raise BadInput(f"{key} has no file but its tensors", "leave out --without-tensors")
    places: dict[str, str] = {}
    for key in keys:
        with progress() as tell:
            if without_tensors:
                place = weights.pull_beside(key, offline=offline, progress=_in_megabytes(tell))
            else:
                place = weights.pull(key, offline=offline, progress=_in_megabytes(tell)).file
        places[key] = str(place)
        if not as_json:
            say(f"{key}: {place}")
    if as_json:
        _print_json(places)


@weights_app.command()
def verify(keys: Keys = None, as_json: AsJson = False) -> None:
    """Hash the files of weights and compare; exit code 1 when one differs or one that was named is missing."""
    from medclipsam import weights

    chosen = keys or [key for key in weights.known() if weights.locate(key)]
    rows = {key: _verify(key) for key in chosen}
    if as_json:
        _print_json(rows)
    else:
        say_table(("weights", "state", "detail"), [(key, row["state"], row["detail"]) for key, row in rows.items()])
    if any(row["state"] != "verified" for row in rows.values()):
        raise typer.Exit(1)


@weights_app.command("import")
def import_weights(
    files: Annotated[list[Path], typer.Argument(help="Files that were fetched by hand, under any name.")],
    key: Annotated[str | None, typer.Option("--key", help="Accept files of these weights alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy files that were fetched by hand to where they belong; their hash says what they are."""
    from medclipsam import weights

    places: dict[str, str] = {}
    for file in files:
        places[file.name] = str(weights.import_file(file, key))
        if not as_json:
            say(f"{file.name}: {places[file.name]}")
    if as_json:
        _print_json(places)


@weights_app.command()
def path(
    key: Annotated[str, typer.Argument(help="Name from `medclipsam weights list`.")], as_json: AsJson = False
) -> None:
    """Print the path of verified weights, and nothing else."""
    from medclipsam import weights

    place = str(weights.find(key).file)
    if as_json:
        _print_json({key: place})
    else:
        say(place)


def _info_rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from found["versions"].items()
    yield "device", found["device"]
    for name in ("methods", "presets"):
        yield name, ", ".join(found[name])
    yield "targets", ", ".join(row["target"] for row in found["targets"])
    for name, formats in found["formats"].items():
        yield f"formats of {name}", ", ".join(formats)
    for name, extra in found["extras"].items():
        yield f"extra {name}", "installed" if extra["installed"] else "not installed"
    for key, row in found["weights"].items():
        yield f"weights {key}", row["place"] or "not on this machine"


def _figure(figure: dict[str, Any] | None) -> str:
    return f"{figure['dice']:.2f}, {figure['found']:.0%} of {figure['n']}" if figure else "-"


def _verify(key: str) -> dict[str, str]:
    from medclipsam import weights
    from medclipsam.errors import MissingWeights, WrongHash

    try:
        found = weights.find(key)
    except (MissingWeights, WrongHash) as error:
        state = "wrong hash" if isinstance(error, WrongHash) else "missing"
        return {"state": state, "detail": str(error)}
    return {"state": "verified", "detail": str(found.file)}


def _in_megabytes(tell: Callable[[str, int, int], None]) -> Callable[[str, int, int | None], None]:
    return lambda name, done, total: tell(f"{name} (MB)", done // 10**6, (total or 0) // 10**6)


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:,.0f} MB"


def _print_json(value: Any) -> None:
    say_json(json.dumps(value, indent=2, ensure_ascii=False))
