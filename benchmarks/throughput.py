"""How much faster is a folder than a loop of `segment`, are the masks the same, and does memory grow?

Each image alone is a process that loads the models and segments it; a folder is one process, or with `--shards` as many
as there are threads, each with a shard and a thread, or workers on Ray with a thread each. All take the same images,
one way after the other, the loop before and after the others, and every mask is compared with the loop's. So it goes in
each precision; a folder is compared with its own loop.

    python benchmarks/throughput.py FOLDER [--prompt "breast tumor"] [--images 60] [--alone 6] [--threads 2]
        [--shards] [--ray] [--engine torch] [--precision fp32 --precision bf16]
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from setting import machine, versions

from medclipsam.engines import PACKAGES as PACKAGES_OF_ENGINES
from medclipsam.runs import read_manifest
from medclipsam.runs.layout import file_digest
from medclipsam.runtime import processor_multiplies_bf16

COMMAND = (sys.executable, "-m", "medclipsam")
PACKAGES = ("torch", "numpy", "medclipsam")
PERIOD_S = 0.2
Masks = dict[str | None, bytes]
"""The bytes of each mask by the SHA-256 of its image."""


@dataclass(frozen=True)
class Ran:
    """One process."""

    seconds: float
    processor_s: float
    """What it took of the processors, which a busy machine changes less."""
    memory_mib: tuple[tuple[int, float], ...] = ()
    """How many overlays were written, and what was resident then."""

    def after(self, images: int) -> float:
        """Resident memory when so many images were done."""
        return next((mib for done, mib in self.memory_mib if done >= images), self.memory_mib[-1][1])


def ran(arguments: Sequence[str], threads: int, watched: Path | None = None) -> Ran:
    """Run one command of medclipsam to its end, looking at its memory (Linux) while files come into `watched`."""
    began, spent, seen = time.perf_counter(), children_s(), []
    with started(arguments, threads) as process:
        while watched and process.poll() is None:
            done = sum(1 for _ in watched.glob("*.jpg"))
            with suppress(OSError):
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                seen.append((done, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))
            time.sleep(PERIOD_S)
    return Ran(time.perf_counter() - began, children_s() - spent, tuple(seen))


def ran_beside(commands: Sequence[Sequence[str]]) -> Ran:
    """Run several commands at the same time, each with one thread, until the last ends."""
    began, spent = time.perf_counter(), children_s()
    with ExitStack() as running:
        for arguments in commands:
            running.enter_context(started(arguments, threads=1))
    return Ran(time.perf_counter() - began, children_s() - spent)


@contextmanager
def started(arguments: Sequence[str], threads: int) -> Iterator[subprocess.Popen[bytes]]:
    """A command of medclipsam that runs while the block does, and to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=told, stderr=told, env=environment)
        yield process
        if process.wait() != 0:
            told.seek(0)
            raise SystemExit(told.read().decode())


def children_s() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def alone(images: Sequence[Path], chosen: argparse.Namespace, precision: str, folder: Path) -> tuple[list[Ran], Masks]:
    """A process for each image, and the masks by the image's hash."""
    runs, masks = [], Masks()
    for image in images:
        output = folder / image.stem
        runs.append(ran(["segment", str(image), *asked(chosen, precision, output)], chosen.threads))
        (mask,) = output.glob("*_mask.png")
        masks[file_digest(image)] = mask.read_bytes()
    return runs, masks


def masks_of(folder: Path) -> Masks:
    """The masks of a labelled folder by the image's hash."""
    return {
        record.input_sha256: (folder / name).read_bytes()
        for record in read_manifest(folder / "manifest.jsonl").values()
        for name in record.outputs
        if name.startswith("masks/")
    }


def asked(chosen: argparse.Namespace, precision: str, output: Path) -> list[str]:
    """The options of every command."""
    engine = ["--encoder-engine", chosen.engine, "--precision", precision]
    return ["--prompt", chosen.prompt, *engine, "-o", str(output)]


def together(
    scans: Path, output: Path, chosen: argparse.Namespace, precision: str, ray: Sequence[str] = ()
) -> tuple[Ran, Masks]:
    """Label the folder by one process, or on Ray."""
    arguments = ["pseudolabel", str(scans), *asked(chosen, precision, output), *ray]
    watched = output / "overlays" / chosen.prompt.replace(" ", "-")
    return ran(arguments, 1 if ray else chosen.threads, watched), masks_of(output)


def in_shards(scans: Path, output: Path, chosen: argparse.Namespace, precision: str) -> tuple[Ran, Masks]:
    """Label the folder by as many processes as there are threads; who ends last joins the results."""
    count = chosen.threads
    whole = ["pseudolabel", str(scans), *asked(chosen, precision, output)]
    return ran_beside([[*whole, "--shard", f"{part}/{count}"] for part in range(1, count + 1)]), masks_of(output)


def table(chosen: argparse.Namespace, work: Path) -> str:
    """Measure everything; the Markdown table."""
    images = drawn(chosen, work / "scans")
    measured = [Ways.measured(images, chosen, precision, work) for precision in chosen.precision]
    lines = [
        setting(chosen, len(images)),
        "",
        "| way | precision | images | seconds for each | times faster | processor seconds for each | times less |",
        "|---|---|---|---|---|---|---|",
        *(line for ways in measured for line in ways.rows(chosen)),
        "",
        "Loading the models is part of every row. Within a precision all masks are the same to the bit. "
        f"{memory(measured[0])}.",
    ]
    return "\n".join(lines)


def memory(ways: Ways) -> str:
    """What the folder's one process held when each quarter was done."""
    held = [ways.folder.after(mark) for mark in quarters(ways.count)]
    told = ", ".join(f"{mib:,.0f} MiB after {mark}" for mib, mark in zip(held, quarters(ways.count), strict=True))
    return (
        f"Memory of one process in {ways.precision}: {told}; the last quarter ends with {held[3] / held[1]:.3f} times "
        "what the second did"
    )


def drawn(chosen: argparse.Namespace, scans: Path) -> list[Path]:
    """Some images of the folder, copied to `scans`."""
    images = sorted(path for path in chosen.folder.iterdir() if path.is_file())
    images = random.Random(chosen.seed).sample(images, min(chosen.images, len(images)))
    scans.mkdir()
    return [Path(shutil.copyfile(image, scans / image.name)) for image in images]


@dataclass(frozen=True)
class Ways:
    """The same images labelled in every way, in one precision."""

    precision: str
    loop: Ran
    """All images that were segmented each in a process of its own."""
    folder: Ran
    shards: Ran | None
    """In as many processes as threads."""
    team: Ran | None
    """On Ray."""
    count: int

    @classmethod
    def measured(cls, images: Sequence[Path], chosen: argparse.Namespace, precision: str, work: Path) -> Ways:
        """Run all ways, and compare their masks."""
        scans, work = images[0].parent, work / precision
        some = images[: chosen.alone]
        half = len(some) // 2
        before, masks = alone(some[:half], chosen, precision, work / "alone")
        folder, local = together(scans, work / "local", chosen, precision)
        shards, in_parts = in_shards(scans, work / "shards", chosen, precision) if chosen.shards else (None, local)
        team, on_ray = None, local
        if chosen.ray:
            team, on_ray = together(scans, work / "ray", chosen, precision, on_workers(chosen))
        after, more = alone(some[half:], chosen, precision, work / "alone")
        for digest, mask in (masks | more).items():
            if local[digest] != mask:
                raise SystemExit(f"{digest}: the folder's mask differs")
        if not local == in_parts == on_ray:
            raise SystemExit("the masks of shards, or of Ray, differ")
        loop = Ran(sum(run.seconds for run in before + after), sum(run.processor_s for run in before + after))
        return cls(precision, loop, folder, shards, team, len(images))

    def rows(self, chosen: argparse.Namespace) -> list[str]:
        """Each way beside the loop."""
        ways = [("a process for each image", self.loop, chosen.alone), ("`pseudolabel`", self.folder, self.count)]
        if self.shards:
            name = f"{chosen.threads} x `pseudolabel --shard i/{chosen.threads}`, a thread each"
            ways.append((name, self.shards, self.count))
        if self.team:
            ways.append((f"`pseudolabel {' '.join(on_workers(chosen))}`", self.team, self.count))
        usual, usual_s = self.loop.seconds / chosen.alone, self.loop.processor_s / chosen.alone
        return [
            f"| {name} | {self.precision} | {count} "
            f"| {run.seconds / count:.2f} | **{usual / (run.seconds / count):.1f}** "
            f"| {run.processor_s / count:.2f} | {usual_s / (run.processor_s / count):.1f} |"
            for name, run, count in ways
        ]


def on_workers(chosen: argparse.Namespace) -> list[str]:
    """The options for Ray."""
    return ["--engine", "ray", "--workers", str(chosen.threads)]


def quarters(count: int) -> list[int]:
    """When memory is told."""
    return [count * share // 4 for share in (1, 2, 3, 4)]


def setting(chosen: argparse.Namespace, count: int) -> str:
    """Under what conditions the figures hold."""
    packages = (*PACKAGES, *(["ray"] * chosen.ray), *(PACKAGES_OF_ENGINES.get(chosen.engine, "").split()))
    return (
        f"{count} images of {chosen.folder.parent.name}, prompt {chosen.prompt!r}, preset `embedded`, "
        f"engine {chosen.engine}, seed {chosen.seed}. "
        f"{machine()}, {chosen.threads} threads, load {os.getloadavg()[0]:.0f}. "
        f"Python {platform.python_version()}, {versions(*packages)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images")
    parser.add_argument("--prompt", default="breast tumor")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--alone", type=int, default=6, help="images that are also segmented each in its own process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shards", action="store_true", help="label it in a process for each thread as well")
    parser.add_argument("--engine", default="torch", choices=("torch", *PACKAGES_OF_ENGINES), help="of the encoder")
    parser.add_argument("--ray", action="store_true", help="label it on Ray as well, with a worker for each thread")
    parser.add_argument("--precision", action="append", help="may be repeated; fp32, and bf16 where it is native")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    chosen.precision = chosen.precision or ["fp32", *["bf16"] * processor_multiplies_bf16()]
    with tempfile.TemporaryDirectory() as work:
        found = table(chosen, Path(work))
    print(found)
    if chosen.write:
        chosen.write.write_text(found + "\n", "utf-8")


if __name__ == "__main__":
    main()
