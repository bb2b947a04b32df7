"""What does reading in a child process cost? The same files both ways, in turn; the ratio of the times.

python benchmarks/sandbox.py --repeat 3
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from time import perf_counter

from pydicom.data import get_testdata_files

from medclipsam.errors import BadInput
from medclipsam.io import read_images


def seconds(path: Path, sandbox: bool) -> float:
    """To read every picture of a file."""
    began = perf_counter()
    for _ in read_images(path, sandbox=sandbox):
        pass
    return perf_counter() - began


def readable(paths: list[Path]) -> list[Path]:
    """Those that are read at all; both ways have loaded their libraries after this."""
    found = []
    for path in paths:
        try:
            seconds(path, sandbox=False)
            seconds(path, sandbox=True)
        except BadInput:
            continue
        found.append(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--most", type=int, default=30, help="files, evenly chosen")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = sorted(Path(name) for name in get_testdata_files("*.dcm"))
    paths = readable(found[:: max(1, len(found) // arguments.most)])
    total = {False: 0.0, True: 0.0}
    for _ in range(arguments.repeat):
        for path in paths:
            for way in (False, True):
                total[way] += seconds(path, way)
    each = {way: 1000 * spent / arguments.repeat / len(paths) for way, spent in total.items()}
    print(
        f"{len(paths)} DICOM files of pydicom, {arguments.repeat} times: {each[False]:.1f} ms a file in this process, "
        f"{each[True]:.1f} ms in a child, {total[True] / total[False]:.2f} times as long"
    )


if __name__ == "__main__":
    main()
