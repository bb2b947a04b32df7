"""Label a folder in processes that are killed at random moments; a program that `test_batch_resume.py` starts.

    killed_runs.py SCANS OUT KILLS SEED SHARDS

What is asked changes after every third kill, so that there is always something to redo over what another run left.
After each kill, what a reader sees must be whole: every visible file is one that unbroken runs wrote, into
OUT-unbroken-0 and OUT-unbroken-1. The last run asks what the first of them asked. Says how many of the kills hit a run
before its end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bright import BrightSegmenter
from run_folders import silent, tree

from medclipsam.runs import LabelRequest, Shard, label_folder, read_manifest

ASKED: tuple[dict[str, Any], ...] = ({"ignore_band": 0.1}, {"seed": 1, "min_confidence": 0.99})
"""The second puts every mask into another folder."""


def label(scans: Path, out: Path, asked: dict[str, Any], shards: int = 1, first: int = 0) -> None:
    """A whole run, or all shards one after the other, beginning with another each time."""
    for index in range(shards):
        request = LabelRequest(
            source=scans,
            output=out,
            prompts=("tumor", "unicorn"),
            shard=Shard((first + index) % shards + 1, shards),
            **asked,
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


def check_what_a_reader_sees(out: Path, unbroken: list[dict[str, bytes]]) -> None:
    """Whole files alone; every case is recorded with all its files, or as begun in one of the manifests."""
    for name, content in tree(out).items() if out.exists() else ():
        if not name.endswith(".jsonl") and content not in [each.get(name) for each in unbroken]:
            raise SystemExit(f"{name} is not whole")
    manifests = [read_manifest(path) for path in out.glob("manifest*.jsonl")]
    for key in set().union(*manifests):
        records = [manifest[key] for manifest in manifests if key in manifest]
        if not any(record.status == "begun" or all((out / n).exists() for n in record.outputs) for record in records):
            raise SystemExit(f"{key} is recorded, but its files are not there")


def main(scans: Path, out: Path, kills: int, seed: int, shards: int) -> None:
    """Unbroken once for each that is asked, killed `kills` times, then to the end."""
    unbroken, moments, hit = [], random.Random(seed), 0
    for number, asked in enumerate(ASKED):
        began, whole = time.monotonic(), out.with_name(f"{out.name}-unbroken-{number}")
        ended_well(forked(partial(label, scans, whole, asked)))
        duration = time.monotonic() - began
        unbroken.append(tree(whole))
    for kill in range(kills):
        process = forked(partial(label, scans, out, ASKED[kill // 3 % 2], shards, kill))
        time.sleep(moments.random() * duration)
        os.kill(process, signal.SIGKILL)
        hit += not ended_well(process)
        check_what_a_reader_sees(out, unbroken)
    if not ended_well(forked(partial(label, scans, out, ASKED[0], shards))):
        raise SystemExit("the last run did not end")
    sys.stdout.write(f"{hit}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
