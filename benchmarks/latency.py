"""Measures how long a person waits for a command, before and after: two commits in turns, in one run.

Every call is a process of its own whose files the system has read before. Calls of the two commits alternate, and which
goes first alternates too, so that what else the machine does falls on both. Medians are shown; processor seconds say
more than seconds on a machine that others use. This program itself loads no library before all is measured: a process
begins with the peak memory of the one that started it.

    python benchmarks/latency.py [--before 9030e51] [--repeats 7] [--threads 2] [--out benchmarks/results/latency.md]
"""

from __future__ import annotations

import argparse
import json
import os
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
COUNTING = (
    "import sys\nfrom medclipsam.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    "print('modules', len(sys.modules), file=sys.stderr)\n"
)


@dataclass(frozen=True)
class Ran:
    """One process."""

    seconds: float
    processor_s: float
    memory_mib: float


def main() -> None:
    """Measure both commits and write the table."""
    chosen = arguments()
    with tempfile.TemporaryDirectory() as folder, checked_out(chosen.before) as before:
        trees = {"before": before, "after": HERE.parent}
        shown = str(chosen.image.resolve()) if chosen.image else ""
        subprocess.run([sys.executable, "-c", INPUTS, folder, shown], check=True)
        calls = calls_in(Path(folder))
        for call in calls.values():
            for tree in trees.values():
                ran(tree, call, chosen.threads)
        measured: dict[tuple[str, str], list[Ran]] = {(name, when): [] for name in calls for when in trees}
        stages: dict[str, list[list[tuple[str, float, float]]]] = {when: [] for when in trees}
        for turn in range(chosen.repeats):
            order = list(trees.items())[:: -1 if turn % 2 else 1]
            for name, call in calls.items():
                for when, tree in order:
                    measured[name, when].append(ran(tree, call, chosen.threads))
            for when, tree in order:
                stages[when].append(staged(tree, Path(folder, "picture.png"), chosen.threads))
        modules = {(name, when): counted(tree, call) for name, call in calls.items() for when, tree in trees.items()}
    chosen.out.write_text(report(chosen, measured, modules, stages), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="9030e51", help="Commit to compare with.")
    parser.add_argument("--repeats", type=int, default=7, help="Calls of each kind and commit.")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="Threads of torch.")
    parser.add_argument("--image", type=Path, help="A picture; default: a drawn one of 500 x 400 pixels, seed 0.")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latency.md", help="The table.")
    return parser.parse_args()


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


def calls_in(folder: Path) -> dict[str, list[str]]:
    """Each command by what the table calls it."""
    masks, shown, scan, out = (str(folder / name) for name in ("masks", "picture.png", "scan.dcm", "out"))
    return {
        "`--help`": ["--help"],
        "`evaluate`, 3 pairs of PNG": ["evaluate", masks, masks],
        "`segment`, PNG": ["segment", shown, "--prompt", PROMPT, "--always", "-o", out],
        "`segment`, DICOM to DICOM SEG": ["segment", scan, "--prompt", "liver", "--always", "-o", out],
    }


def environment(tree: Path, threads: int) -> dict[str, str]:
    """Of a process that runs the package of `tree`."""
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def ran(tree: Path, call: Sequence[str], threads: int) -> Ran:
    """Run one command to its end."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "medclipsam", *call]
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, env=environment(tree, threads), cwd=tree)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        if status:
            told.seek(0)
            raise SystemExit(f"{tree}: {' '.join(call)}\n{told.read().decode()}")
    return Ran(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def counted(tree: Path, call: Sequence[str]) -> int:
    """How many modules are loaded when a command ends."""
    command = [sys.executable, "-c", COUNTING, *call]
    told = subprocess.run(command, capture_output=True, text=True, env=environment(tree, 1), cwd=tree, check=True)
    return int(told.stderr.split()[-1])


def staged(tree: Path, image: Path, threads: int) -> list[tuple[str, float, float]]:
    """The stages of one answer."""
    command = [sys.executable, str(HERE / "latency_stages.py"), str(image), PROMPT, SECOND_PROMPT]
    told = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment(tree, threads), cwd=tree, check=True
    )
    return [(str(name), float(wall), float(processor)) for name, wall, processor in json.loads(told.stdout)]


def report(
    chosen: argparse.Namespace,
    measured: dict[tuple[str, str], list[Ran]],
    modules: dict[tuple[str, str], int],
    stages: dict[str, list[list[tuple[str, float, float]]]],
) -> str:
    """The tables in Markdown."""
    from setting import machine, versions  # noqa: PLC0415

    image = chosen.image.name if chosen.image else "A drawn picture of 500 x 400 pixels"
    heading = (
        f"Commit {commit()} against {chosen.before}, in turns, medians of {chosen.repeats} calls. {image}, preset "
        f"`embedded`, seed 0, {chosen.threads} threads. {machine()}, load {os.getloadavg()[0]:.0f}. Python "
        f"{sys.version.split()[0]}, {versions('torch', 'numpy')}."
    )
    rows = ["| call | | before | after | ratio |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(name for name, _ in measured):
        pair = measured[name, "before"], measured[name, "after"]
        rows += [
            row(name, "seconds", *(median(one.seconds for one in runs) for runs in pair)),
            row("", "processor seconds", *(median(one.processor_s for one in runs) for runs in pair)),
            row("", "peak memory, MiB", *(median(one.memory_mib for one in runs) for runs in pair), digits=0),
            row("", "modules", *(float(modules[name, when]) for when in ("before", "after")), digits=0),
        ]
    more = ["| stage of `segment`, PNG | | before | after | ratio |", "|---|---|---|---|---|"]
    for index, (name, _, _) in enumerate(stages["after"][0]):
        for column, unit in ((1, "seconds"), (2, "processor seconds")):
            values = (median(float(run[index][column]) for run in stages[when]) for when in ("before", "after"))
            more.append(row(name if column == 1 else "", unit, *values, digits=3))
    return "\n".join([heading, "", *rows, "", *more, ""])


def row(name: str, unit: str, before: float, after: float, digits: int = 2) -> str:
    """One line of a table."""
    return f"| {name} | {unit} | {before:,.{digits}f} | {after:,.{digits}f} | **{after / before:.2f}** |"


def commit() -> str:
    """The commit that is measured, with a mark where the tree differs from it."""
    git = ["git", "-C", str(HERE.parent), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
