"""Label a folder of damaged files in a process of its own; a program that `test_batch_hostile.py` starts.

    label_mutated.py SCANS OUT

Says the counts of each status, and the most memory that this process and its children ever held, in MiB, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from bright import BrightSegmenter
from run_folders import silent

from medclipsam.io import sandbox
from medclipsam.io.source import ReadOptions
from medclipsam.runs import LabelRequest, label_folder


def peak_mib() -> float:
    """Of this process since it began (Linux); getrusage would count what started it, too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def main(scans: Path, out: Path) -> None:
    request = LabelRequest(source=scans, output=out, prompts=("tumor",), reading=ReadOptions(sandbox=True))
    found = label_folder(request, BrightSegmenter, silent)
    sandbox.CHILD.close()
    child_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"counts": dict(found.counts), "parent_mib": peak_mib(), "child_mib": child_mib}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
