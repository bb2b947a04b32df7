"""Label a folder in processes that are killed at random moments; a program that `test_batch_resume.py` starts.

    killed_runs.py SCANS OUT KILLS SEED SHARDS

After each kill, what a reader sees must be whole: every visible file is one of those of the unbroken run, which lie in
OUT-unbroken. Says how many of the kills hit a run before its end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from batch_folders import silent, tree
from bright import BrightSegmenter

from medclipsam.batch import LabelRequest, Shard, label_folder, read_manifest

LATEST = 1.3
"""Kills come up to this many times the duration of an unbroken run after the start."""


def label(scans: Path, out: Path, shards: int, first: int = 0) -> None:
    """A whole run, or all shards one after the other, beginning with another each time."""
    for index in range(shards):
        request = LabelRequest(
            source=scans,
            output=out,
            prompts=("tumor", "unicorn"),
            shard=Shard((first + index) % shards + 1, shards),
            ignore_band=0.1,
        )
        label_folder(request, BrightSegmenter, silent)


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own that ends with it; its id."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return process


def ended_well(process: int) -> bool:
    """Whether the process came to its end by itself; it must not have failed."""
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a run failed")
    return not os.WIFSIGNALED(status)


def check_what_a_reader_sees(out: Path, unbroken: dict[str, bytes]) -> None:
    """Whole files alone, and no record without its files."""
    for name, content in tree(out).items() if out.exists() else ():
        if not name.endswith(".jsonl") and unbroken[name] != content:
            raise SystemExit(f"{name} is not whole")
    for path in out.glob("manifest*.jsonl"):
        for record in read_manifest(path).values():
            if not all((out / name).exists() for name in record.outputs):
                raise SystemExit(f"{record.key} is recorded, but its files are not there")


def main(scans: Path, out: Path, kills: int, seed: int, shards: int) -> None:
    """Unbroken once, killed `kills` times, then to the end."""
    began = time.monotonic()
    whole = out.with_name(f"{out.name}-unbroken")
    ended_well(forked(lambda: label(scans, whole, 1)))
    duration, moments, hit = time.monotonic() - began, random.Random(seed), 0
    unbroken = tree(whole)
    for kill in range(kills):
        process = forked(lambda first=kill: label(scans, out, shards, first))
        time.sleep(moments.random() * LATEST * duration / (1 if kill == 0 else 2))
        os.kill(process, signal.SIGKILL)
        hit += not ended_well(process)
        check_what_a_reader_sees(out, unbroken)
    if not ended_well(forked(lambda: label(scans, out, shards))):
        raise SystemExit("the last run did not end")
    sys.stdout.write(f"{hit}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
