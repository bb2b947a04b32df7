"""Does a stack that is settled before it is drawn take longer than slice by slice? CPU and wall time of both.

    python benchmarks/volume_time.py SCAN --prompt lungs --window lung --slices 0:24 --repeat 3

Both ways segment the same scan from the file to the report, with models that are loaded and no encoding kept, in turns.
The median of each is told, and its ratio to slice by slice. Writes volume-time.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from judging import Model
from setting import conditions, spoken

from medclipsam.methods.contract import Segmenter
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.volume.rules import RULES, VolumeMode


def timed(segmenter: Segmenter, request: ScanRequest) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    cpu, wall = time.process_time(), time.perf_counter()
    segment_scan(request, lambda: segmenter, lambda *_: None)
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--prompt", default="lungs")
    parser.add_argument("--window")
    parser.add_argument("--slices", default=":", help="such as 0:24")
    parser.add_argument("--modes", nargs="+", default=["slices", "agree", "stack"], choices=list(RULES))
    parser.add_argument("--engine", choices=["torch", "openvino", "onnx"], default="torch")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    model = Model(threads=chosen.threads, engine=chosen.engine)
    start, _, stop = chosen.slices.partition(":")
    span = (int(start or 0), int(stop) if stop else None)
    seconds: dict[VolumeMode, list[tuple[float, float]]] = {mode: [] for mode in chosen.modes}
    for turn in range(chosen.repeat + 1):
        for mode in chosen.modes:
            # a segmenter of its own, so that none remembers what another encoded
            segmenter = model.load()
            with TemporaryDirectory() as folder:
                request = ScanRequest(
                    scan=chosen.scan,
                    prompts=(chosen.prompt,),
                    folder=Path(folder) / "out",
                    volume_mode=mode,
                    window=chosen.window,
                    span=span,
                )
                took = timed(segmenter, request)
            if turn:  # the first turn warms what is compiled and read once
                seconds[mode].append(took)
    facts = conditions(0, segmenter.info.weights)
    lines = [
        f"`{chosen.scan.name}`, slices {chosen.slices}, prompt `{chosen.prompt}`, engine {segmenter.info.engine}, "
        f"median of {chosen.repeat} runs. {spoken(facts)}.",
        "",
        "| way | CPU (s) | of slice by slice | wall (s) | of slice by slice |",
        "|---|---|---|---|---|",
    ]
    plain = [median(column) for column in zip(*seconds[chosen.modes[0]], strict=True)]
    for mode, runs in seconds.items():
        cpu, wall = (median(column) for column in zip(*runs, strict=True))
        lines.append(f"| {mode} | {cpu:.2f} | {cpu / plain[0]:.2f} | {wall:.2f} | {wall / plain[1]:.2f} |")
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "volume-time.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
