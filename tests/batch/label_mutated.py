"""Label a folder of damaged files in a process of its own; a program that `test_batch_hostile.py` starts.

    label_mutated.py SCANS OUT

Says the counts of each status, and the most memory that this process and its children ever held, in MiB, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from batch_folders import silent
from bright import BrightSegmenter

from medclipsam.batch import LabelRequest, label_folder
from medclipsam.io import sandbox
from medclipsam.io.source import ReadOptions


def main(scans: Path, out: Path) -> None:
    request = LabelRequest(source=scans, output=out, prompts=("tumor",), reading=ReadOptions(sandbox=True))
    found = label_folder(request, BrightSegmenter, silent)
    sandbox.CHILD.close()
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sys.stdout.write(json.dumps({"counts": dict(found.counts), "parent_mib": peaks[0], "child_mib": peaks[1]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
