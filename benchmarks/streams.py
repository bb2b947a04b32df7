"""How should several images go through the encoder on a CPU: one by one, side by side, or together in a batch?

    python benchmarks/streams.py [--turns 8] [--threads 2] [--write TABLE.md]

one by one      all threads on one image, then on the next
side by side    as many images at a time as there are threads, each by one thread
together        as many, in one batch, by all threads (torch alone: graphs take one image)

The ways take turns with the same drawn squares, and the first turn is not counted. Which answers have the bits of the
first way is told too: batches have not, so that an answer would depend on its company.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from setting import machine, versions

import medclipsam
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.engines import PACKAGES, SUFFIXES, installed, opener
from medclipsam.engines.opened import ENCODER
from medclipsam.engines.store import Wanted
from medclipsam.runtime import DTYPES, processor_multiplies_bf16, side_by_side
from medclipsam.types import FloatArray

SIDE = 256
Encode = Callable[[Sequence[FloatArray]], list[FloatArray]]


@dataclass
class Way:
    """One engine, precision and order of work, and what came of it."""

    name: str
    engine: str
    precision: str
    encode: Encode
    seconds: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    found: list[FloatArray] = field(default_factory=list)

    def turn(self, squares: Sequence[FloatArray]) -> None:
        """Encode some squares that were not seen before."""
        began, processor = perf_counter(), process_time()
        self.found += self.encode(squares)
        self.seconds.append(perf_counter() - began)
        self.processor_s.append(process_time() - processor)


def torch_ways(precision: str, threads: int) -> list[Way]:
    """What torch can do."""
    sam = load_sam("lite-medsam", dtype=DTYPES[precision])

    def encode(squares: FloatArray) -> FloatArray:
        found: FloatArray = sam.encode(torch.from_numpy(squares)).numpy()
        return found

    orders: dict[str, Encode] = {
        "one by one": lambda squares: [encode(square) for square in squares],
        "side by side": lambda squares: side_by_side(encode, squares, threads),
        "together": lambda squares: list(np.split(encode(np.concatenate(squares)), len(squares))),
    }
    return [Way(name, "torch", precision, order) for name, order in orders.items()]


def engine_ways(engine: str, precision: str, threads: int) -> list[Way]:
    """What an engine can do; it is prepared first."""
    loaded = medclipsam.load("embedded", device="cpu", encoder_engine=engine, precision=precision)
    folder = Wanted(engine=engine, precision=precision, weights=loaded.info.weights).folder
    file, open_graph = folder / f"{ENCODER}{SUFFIXES[engine]}", opener(engine)
    whole, narrow = open_graph(file, precision, threads), [open_graph(file, precision, 1) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)
    orders: dict[str, Encode] = {
        "one by one": lambda squares: [whole(square)[0] for square in squares],
        "side by side": lambda squares: list(pool.map(lambda graph, square: graph(square)[0], narrow, squares)),
    }
    return [Way(name, engine, precision, order) for name, order in orders.items()]


def all_ways(threads: int) -> list[Way]:
    """Every engine that is installed, in each precision that this processor has."""
    precisions = ["fp32", *["bf16"] * processor_multiplies_bf16()]
    ways = [way for precision in precisions for way in torch_ways(precision, threads)]
    for engine in filter(installed, PACKAGES):
        for precision in precisions if engine == "openvino" else ["fp32"]:
            ways += engine_ways(engine, precision, threads)
    return ways


def measure(ways: Sequence[Way], turns: int, threads: int, seed: int) -> None:
    """Let the ways take turns; what the first turn found out is forgotten."""
    draw = np.random.default_rng(seed)
    for turn in range(turns + 1):
        squares = [draw.random((1, 3, SIDE, SIDE), np.float32) for _ in range(threads)]
        for way in [*ways[turn % len(ways) :], *ways[: turn % len(ways)]]:
            way.turn(squares)
        if turn == 0:
            for way in ways:
                for kept in (way.seconds, way.processor_s, way.found):
                    kept.clear()


def table(ways: Sequence[Way], chosen: argparse.Namespace) -> str:
    """The Markdown table."""
    count = chosen.turns * chosen.threads
    packages = ["torch", *(PACKAGES[engine] for engine in PACKAGES if installed(engine))]
    head = [
        f"LiteMedSAM's encoder on {count} drawn squares, seed {chosen.seed}, {chosen.threads} threads. {machine()}, "
        f"load {os.getloadavg()[0]:.0f}. {versions(*packages)}.",
        "",
        "| engine | precision | images go | seconds for each | times faster | processor seconds | times less "
        "| same bits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows, first = [], ways[0]
    for way in ways:
        if (way.engine, way.precision) != (first.engine, first.precision):
            first = way
        same = sum(map(np.array_equal, way.found, first.found))
        seconds, processor_s = sum(way.seconds) / count, sum(way.processor_s) / count
        rows.append(
            f"| {way.engine} | {way.precision} | {way.name} "
            f"| {seconds:.3f} | **{sum(first.seconds) / count / seconds:.2f}** "
            f"| {processor_s:.3f} | {sum(first.processor_s) / count / processor_s:.2f} | {same} of {count} |"
        )
    return "\n".join([*head, *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    ways = all_ways(chosen.threads)
    measure(ways, chosen.turns, chosen.threads, chosen.seed)
    found = table(ways, chosen)
    print(found)
    if chosen.write:
        chosen.write.write_text(found, "utf-8")


if __name__ == "__main__":
    main()
