"""Loads the model that a benchmark judges, and shares the images among processes."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from setting import conditions, spoken

import medclipsam
from medclipsam.config import EngineKind, zeroshot_preset
from medclipsam.methods.zeroshot import ZeroShotSegmenter

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Model:
    """How each process gets its segmenter."""

    preset: str = "embedded"
    weights: Path | None = None
    seed: int = 0
    threads: int = 1
    engine: EngineKind = "torch"
    cache: Path | None = None
    """Folder that keeps encodings."""
    views: int = 1

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Model:
        """The one that `add_options` asked for."""
        return cls(preset=chosen.preset, weights=chosen.weights, seed=chosen.seed, threads=chosen.threads)

    def load(self) -> ZeroShotSegmenter:
        """The segmenter, on the CPU."""
        import torch  # noqa: PLC0415  (slow to load, and tables are made without it)

        torch.set_num_threads(self.threads)
        return medclipsam.load(
            replace(zeroshot_preset(self.preset), views=self.views),
            device="cpu",
            seed=self.seed,
            weights=self.weights,
            encoder_engine=self.engine,
            cache=self.cache,
        )


def add_options(parser: argparse.ArgumentParser, of: str) -> None:
    """Which model is judged, for how long, by how many processes.

    Args:
        of: what the processes share, in the singular.
    """
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--weights", type=Path, help="a run, or a file of weights; the package's own when left out")
    parser.add_argument("--minutes", type=float, default=0, help=f"begin no {of} after so many; 0 takes all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help=f"processes that share the {of}s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))


def asked(
    model: Model,
    ask: Callable[[ZeroShotSegmenter, Item], list[Answer]],
    items: Sequence[Item],
    *,
    jobs: int = 1,
    minutes: float = 0,
) -> tuple[list[Answer], dict[str, Any]]:
    """All answers; and facts: of how many items, in what time, and by which weights.

    Args:
        ask: a function of a module, so that other processes can be given it.
        jobs: processes that share the items; they change no figure.
        minutes: no item is begun after so many; 0 asks all.
    """
    began = time.perf_counter()
    shares = [items[start::jobs] for start in range(jobs)]
    work = partial(_share, model, ask, minutes)
    if jobs == 1:
        found = [work(items)]
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(work, shares))
    done = sum(count for _, count, _ in found)
    facts = {"done": done, "planned": len(items), "jobs": jobs, "seconds": round(time.perf_counter() - began)}
    return [answer for answers, *_ in found for answer in answers], {**facts, **found[0][2]}


def _share(
    model: Model, ask: Callable[[ZeroShotSegmenter, Item], list[Answer]], minutes: float, items: Sequence[Item]
) -> tuple[list[Answer], int, dict[str, Any]]:
    segmenter, began = model.load(), time.perf_counter()
    facts = {"preset": model.preset, **conditions(model.seed, segmenter.info.weights)}
    answers: list[Answer] = []
    for count, item in enumerate(items):
        if 0 < minutes * 60 < time.perf_counter() - began:
            return answers, count, facts
        answers += ask(segmenter, item)
        if (count + 1) % 10 == 0:
            print(f"{count + 1} of {len(items)}, {time.perf_counter() - began:.0f} s", flush=True)
    return answers, len(items), facts


def digest_of(table: Path) -> str:
    """Stands for the data that a table names."""
    return hashlib.sha256(table.read_bytes()).hexdigest()[:8]


def heading(facts: dict[str, Any], said: str) -> list[str]:
    """The first lines of a table."""
    data = f", data index.csv {facts['data']}" if "data" in facts else ""
    ended = (
        f", {facts['planned'] - facts['done']} that were planned not begun" if facts["done"] < facts["planned"] else ""
    )
    return [f"Preset `{facts['preset']}`, {said}{ended}. {spoken(facts)}{data}.", ""]


def as_json(facts: dict[str, Any], summary: dict[str, Any], cases: Sequence[Any]) -> str:
    """Facts, the numbers of the tables, and every case (a dataclass) as a row; what is not a number is null."""
    rows = [[_plain(getattr(case, each.name)) for each in fields(case)] for case in cases]
    columns = [each.name for each in fields(cases[0])] if cases else []
    head = json.dumps({"facts": _plain(facts), "summary": _plain(summary), "columns": columns}, indent=1)
    listed = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f'{head[:-2]},\n "cases": [\n{listed}\n]\n}}\n'


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
