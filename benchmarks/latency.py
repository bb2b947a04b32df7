"""Measures how long a person waits for a command: an older commit, this one with torch, and with an engine without.

Every call is a process of its own whose files the system has read before, or, with `--cold`, was asked to forget. Calls
take turns, and which goes first changes, so that what else the machine does falls on all. Medians are shown; processor
seconds say more than seconds on a machine that others use. This program itself loads no library before all is measured:
a process begins with the peak memory of the one that started it.

    python benchmarks/latency.py [--before 9030e51] [--quick] [--cold] [--out benchmarks/results/latency.md]
    python benchmarks/latency.py --scan VOLUME --prompt lungs --window lung --repeats 2    that scan alone, twice
        [--now "--every-nth 3 --precision bf16"] [--reference MASK]    with options of today, and the Dice of each way
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PROMPT, SECOND_PROMPT = "breast tumor", "cyst"
INPUTS = """
import shutil, sys
from pathlib import Path
import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file
folder, image = Path(sys.argv[1]), sys.argv[2]
(folder / "masks").mkdir()
for case in range(3):
    Image.fromarray(np.eye(256, k=case, dtype=np.uint8) * 255).save(folder / "masks" / f"{case}.png")
shutil.copy(get_testdata_file("CT_small.dcm"), folder / "scan.dcm")
if image:
    Image.open(image).convert("RGB").save(folder / "picture.png")
else:
    rows, columns = np.mgrid[:400, :500]
    disc = 90 + 80 * (np.hypot(rows - 200, columns - 250) < 150) - 60 * (np.hypot(rows - 180, columns - 290) < 40)
    noisy = disc + np.random.default_rng(0).normal(0, 18, disc.shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / "picture.png")
"""
"""Makes the masks, the scan, and the picture: the person's, or a bright disc with a dark spot in noise."""
SCORING = """
import sys
import nibabel
import numpy as np
from medclipsam.metrics.overlap import dice
print(dice(*(np.asanyarray(nibabel.load(path).dataobj) > 0 for path in sys.argv[1:])))
"""
"""Dice of two volumes on one grid; in a process of its own, for this one loads no library."""
COUNTING = (
    "import sys\nfrom medclipsam.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    "print('modules', len(sys.modules), file=sys.stderr)\n"
)


TORCH, ENGINE = "torch", "auto"
QUICK_CALLS = 4
"""Calls that are measured when there is little time: those of the first rows."""


@dataclass(frozen=True)
class Way:
    """A tree of files, and what computes the embedded preset in it."""

    name: str
    tree: Path
    engine: str = TORCH
    is_older: bool = False


@dataclass(frozen=True)
class Call:
    """A command, as it was called before and is called now."""

    before: list[str]
    after: list[str]

    def of(self, way: Way) -> list[str]:
        """What the tree of a way understands."""
        return self.before if way.is_older else self.after


@dataclass(frozen=True)
class Ran:
    """One process."""

    seconds: float
    processor_s: float
    memory_mib: float


def main() -> None:
    """Measure every way and write the table."""
    chosen = arguments()
    with tempfile.TemporaryDirectory() as folder, checked_out(chosen.before) as before:
        ways = [Way("before", before, is_older=True), Way("torch", HERE.parent), Way("engine", HERE.parent, ENGINE)]
        shown = str(chosen.image.resolve()) if chosen.image else ""
        subprocess.run([sys.executable, "-c", INPUTS, folder, shown], check=True)
        calls = call_of(chosen, Path(folder)) if chosen.scan else calls_in(Path(folder))
        if chosen.quick:
            calls = dict(list(calls.items())[:QUICK_CALLS])
        for call in () if chosen.scan else calls.values():
            for way in ways:
                ran(way, call, chosen.threads)
        measured: dict[tuple[str, str], list[Ran]] = {(name, way.name): [] for name in calls for way in ways}
        stages: dict[str, list[list[tuple[str, float, float]]]] = {way.name: [] for way in ways}
        overlaps: dict[str, float] = {}
        for turn in range(chosen.repeats):
            order = ways[turn % len(ways) :] + ways[: turn % len(ways)]
            for name, call in calls.items():
                for way in order:
                    if chosen.cold:
                        forget(way.tree)
                    measured[name, way.name].append(ran(way, call, chosen.threads))
                    if chosen.reference:
                        overlaps[way.name] = overlap(Path(folder, "out"), chosen.reference)
            for way in () if chosen.scan else order:
                stages[way.name].append(staged(way, Path(folder, "picture.png"), chosen.threads))
        counts = {} if chosen.scan else calls
        modules = {(name, way.name): counted(way, call) for name, call in counts.items() for way in ways}
    chosen.out.write_text(report(chosen, measured, modules, stages, overlaps), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="9030e51", help="Commit to compare with.")
    parser.add_argument("--repeats", type=int, help="Calls of each kind and way; default 7, with --quick 3.")
    parser.add_argument("--quick", action="store_true", help="The first calls alone, 3 times: under 4 minutes.")
    parser.add_argument("--cold", action="store_true", help="Ask the system to forget all files before each call.")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="Threads of torch.")
    parser.add_argument("--image", type=Path, help="A picture; default: a drawn one of 500 x 400 pixels, seed 0.")
    parser.add_argument(
        "--scan",
        type=Path,
        help="Measure one call, about this scan or folder: no stages, no modules, no call before that is not counted.",
    )
    parser.add_argument("--prompt", default=PROMPT, help="Of --scan.")
    parser.add_argument("--window", help="Of --scan.")
    parser.add_argument("--now", default="", help="Options of --scan that the older commit does not get.")
    parser.add_argument("--reference", type=Path, help="True mask of --scan.")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latency.md", help="The table.")
    chosen = parser.parse_args()
    chosen.repeats = chosen.repeats or (3 if chosen.quick else 7)
    return chosen


def forget(tree: Path) -> None:
    """Ask the system to drop what it has read of the packages, the exports and a tree (Linux)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medclipsam"
    for folder in (Path(sys.prefix), cache, tree):
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The tree of a commit, while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ("git", "-C", str(HERE.parent), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def calls_in(folder: Path) -> dict[str, Call]:
    """Each command by what the table calls it, those that people wait for most first."""
    masks, shown, scan, out, kept = (str(folder / name) for name in ("masks", "picture.png", "scan.dcm", "out", "kept"))
    picture = ["segment", shown, "--always", "-o", out]
    again = [*picture, "--prompt", SECOND_PROMPT]
    dicom = ["segment", scan, "--prompt", "liver", "--always", "-o", out]
    labels, written = ["pseudolabel", masks, "--prompt", PROMPT], ["-o", str(folder / "labels")]
    return {
        "`--help`": same(["--help"]),
        "`segment`, PNG": same([*picture, "--prompt", PROMPT]),
        "`segment`, DICOM to DICOM SEG": same(dicom),
        "`segment`, PNG, another prompt with `--cache`": Call(again, [*again, "--cache", kept]),
        "`evaluate`, 3 pairs of PNG": same(["evaluate", masks, masks]),
        "`pseudolabel`, 3 PNG": Call([*labels, *written], [*labels, "--masks-too", *written]),
        "`info`": same(["info"]),
        "`weights list`": same(["weights", "list"]),
    }


def call_of(chosen: argparse.Namespace, folder: Path) -> dict[str, Call]:
    """The one call about the scan that was asked for, or the folder of scans."""
    command = "pseudolabel" if chosen.scan.is_dir() else "segment"
    window = ["--window", chosen.window] if chosen.window else []
    call = [command, str(chosen.scan.resolve()), "--prompt", chosen.prompt, *window]
    now, out = shlex.split(chosen.now), ["-o", str(folder / "out")]
    return {
        f"`{command}`, {' '.join([chosen.scan.name, chosen.prompt, *now])}": Call([*call, *out], [*call, *now, *out])
    }


def same(call: list[str]) -> Call:
    """A command that is called as before."""
    return Call(call, call)


def environment(way: Way, threads: int) -> dict[str, str]:
    """Of a process that runs the package of a way."""
    more = {"PYTHONPATH": str(way.tree), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**os.environ, **more, "MEDCLIPSAM_ENCODER_ENGINE": way.engine}


def ran(way: Way, call: Call, threads: int) -> Ran:
    """Run one command to its end, as if for the first time."""
    ready(way, call.of(way))
    began = time.perf_counter()
    command = [sys.executable, "-m", "medclipsam", *call.of(way)]
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, env=environment(way, threads), cwd=way.tree)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        if status:
            told.seek(0)
            raise SystemExit(f"{way.name}: {' '.join(call.of(way))}\n{told.read().decode()}")
    return Ran(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def ready(way: Way, call: Sequence[str]) -> None:
    """Take away what a call left; where it has a cache, another prompt was asked with it just before."""
    if call[0] == "pseudolabel":
        shutil.rmtree(call[-1], ignore_errors=True)
    if "--cache" in call:
        shutil.rmtree(call[-1], ignore_errors=True)
        other = [PROMPT if word == SECOND_PROMPT else word for word in call]
        command = [sys.executable, "-m", "medclipsam", *other]
        subprocess.run(command, capture_output=True, env=environment(way, 1), cwd=way.tree, check=True)


def overlap(out: Path, reference: Path) -> float:
    """Dice of the one mask that a call wrote."""
    (mask,) = out.rglob("*.nii.gz")
    command = [sys.executable, "-c", SCORING, str(mask), str(reference.resolve())]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE.parent)
    return float(told.stdout)


def counted(way: Way, call: Call) -> int:
    """How many modules are loaded when a command ends."""
    ready(way, call.of(way))
    command = [sys.executable, "-c", COUNTING, *call.of(way)]
    told = subprocess.run(command, capture_output=True, text=True, env=environment(way, 1), cwd=way.tree, check=True)
    return int(told.stderr.split()[-1])


def staged(way: Way, image: Path, threads: int) -> list[tuple[str, float, float]]:
    """The stages of one answer."""
    command = [sys.executable, str(HERE / "latency_stages.py"), str(image), PROMPT, SECOND_PROMPT, way.engine]
    told = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment(way, threads), cwd=way.tree, check=True
    )
    return [(str(name), float(wall), float(processor)) for name, wall, processor in json.loads(told.stdout)]


def report(
    chosen: argparse.Namespace,
    measured: dict[tuple[str, str], list[Ran]],
    modules: dict[tuple[str, str], int],
    stages: dict[str, list[list[tuple[str, float, float]]]],
    overlaps: dict[str, float],
) -> str:
    """The tables in Markdown."""
    from setting import machine, versions  # noqa: PLC0415

    drawn = "A drawn picture of 500 x 400 pixels"
    image = next((given.name for given in (chosen.scan, chosen.image) if given), drawn)
    files = "that the system was asked to forget" if chosen.cold else "that the system has read before"
    heading = (
        f"Commit {commit()} against {chosen.before}, in turns, medians of {chosen.repeats} calls with files {files}. "
        f"{image}, preset `embedded`, seed 0, {chosen.threads} threads. {machine()}, load {os.getloadavg()[0]:.0f}. "
        f"Python {sys.version.split()[0]}, {versions('torch', 'numpy', 'openvino')}."
    )
    ways = list(stages)
    header = f"| | {' | '.join((ways[0], *(f'{name} | ratio' for name in ways[1:])))} |"
    line = "|---" * (2 + len(ways) * 2 - 1) + "|"
    rows = [f"| call {header}", line]
    for name in dict.fromkeys(name for name, _ in measured):
        runs = [measured[name, way] for way in ways]
        rows += [
            row(name, "seconds", [median(one.seconds for one in some) for some in runs]),
            row("", "processor seconds", [median(one.processor_s for one in some) for some in runs]),
            row("", "peak memory, MiB", [median(one.memory_mib for one in some) for some in runs], digits=0),
        ]
        if overlaps:
            rows.append(row("", "Dice with the reference", [overlaps[way] for way in ways], digits=3))
        if modules:
            rows.append(row("", "modules", [float(modules[name, way]) for way in ways], digits=0))
    more = ["", f"| stage of `segment`, PNG {header}", line] if stages[ways[0]] else []
    for index, (name, _, _) in enumerate(stages[ways[0]][0] if more else []):
        for column, unit in ((1, "seconds"), (2, "processor seconds")):
            values = [median(float(run[index][column]) for run in stages[way]) for way in ways]
            more.append(row(name if column == 1 else "", unit, values, digits=3))
    return "\n".join([heading, "", *rows, *more, ""])


def row(name: str, unit: str, values: Sequence[float], digits: int = 2) -> str:
    """One line of a table: the first value, then each other one with its ratio to the first."""
    first, *others = values
    told = (f"{value:,.{digits}f} | **{value / first:.2f}**" for value in others)
    return f"| {name} | {unit} | {first:,.{digits}f} | {' | '.join(told)} |"


def commit() -> str:
    """The commit that is measured, with a mark where the tree differs from it."""
    git = ["git", "-C", str(HERE.parent), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
