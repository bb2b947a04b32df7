"""Shares one folder between many machines: workers on Ray hold the models, and files go to whoever is free.

    this process:   [8 files] [8 files] ...  --> worker 1 --> records      claims the folder, joins the results
                                             --> worker 2 --> records
                                             --> worker 3 (died)           its files go back, another takes its place

Each worker writes masks by rename and records into a manifest of its own, as a shard does, so that nothing depends on
which of them did a file, or on how often one died. The folders of scans and results must be the same for all of them.

Ray's own `max_restarts` and `max_task_retries` bring a worker back with all of its files or give all of them up: which
of them killed it, nobody would learn. So deaths are counted here, by file.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from filelock import FileLock

from medclipsam.errors import BadInput, MissingExtra, UserError
from medclipsam.runs.cases import Case
from medclipsam.runs.local import Load, Team
from medclipsam.runs.manifest import Record
from medclipsam.runs.request import LabelRequest, RunSettings
from medclipsam.runs.sharing import MOST, Shard, taking_part
from medclipsam.runs.worker import Done, Worker

FILES_AT_ONCE = 8
"""Handed to a worker together, so that it can read ahead."""
PORTIONS = 4
"""At least so many for each worker, so that all end at about the same time."""
MOST_DEATHS = 3
"""Deaths of workers over one and the same file, or while they load the models; then it is no accident."""
KILLED = f"{MOST_DEATHS} workers died over it"
LEAVING_S = 10.0
"""How long a worker that has nothing to do may take to give the folder free."""
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Read when Ray is imported: it tells nobody anything."""
SETTINGS_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Settings of a cluster of our own: on every system it listens on the loopback alone."""
OBJECT_STORE_BYTES = 128 * 2**20
"""Object store of a cluster of our own: nothing but names and records is exchanged."""


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Gather workers on a Ray cluster; an `Engine`.

    Raises:
        BadInput: a number of workers, or a device, that no cluster can give.
    """

    address: str | None = None
    """As `ray.init` takes it, such as `auto`; None: a cluster of this machine alone, which only it can reach."""
    workers: int | None = None
    """None: as many as the cluster has GPUs, or else CPUs."""
    device: str = "auto"
    """As for `medclipsam.load`; each worker has a GPU to itself unless it is `cpu`, or the cluster has none."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise BadInput(f"{self.workers} workers cannot do anything", "give at least 1")
        if ":" in self.device:
            raise BadInput(f"device {self.device!r} names one GPU, and Ray gives each worker its own", "give cuda")

    @contextmanager
    def __call__(self, request: LabelRequest, load: Load) -> Iterator[Team]:
        """The workers, as soon as the first of them has loaded the models.

        Raises:
            MissingExtra: Ray is not installed.
            BadInput: no cluster at the address, or parts of a shard.
            UserError: what a worker met while it loaded the models.
        """
        if not request.shard.is_whole:
            raise BadInput("on Ray the workers share the files", "give either --shard or --engine ray")
        request = replace(request, source=request.source.absolute(), output=request.output.absolute())
        with self._cluster():
            team = _RayTeam(request, load, *self._places())
            try:
                team.gather()
                yield team
            finally:
                team.dismiss()

    @contextmanager
    def _cluster(self) -> Iterator[None]:
        """A cluster that is joined already stays."""
        for variable, value in (SETTINGS if self.address else SETTINGS | SETTINGS_ALONE).items():
            os.environ.setdefault(variable, value)
        try:
            import ray  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise MissingExtra("--engine ray", "ray") from error
        if ray.is_initialized():
            yield
            return
        own = {"num_cpus": self.workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        try:
            ray.init(self.address, logging_level="error", **({} if self.address else own))
        except ConnectionError as error:
            raise BadInput(f"there is no Ray cluster at {self.address}", "start one with `ray start --head`") from error
        try:
            yield
        finally:
            ray.shutdown()

    def _places(self) -> tuple[int, dict[str, int]]:
        """How many workers, and what each is given."""
        import ray  # noqa: PLC0415

        there = ray.cluster_resources()
        if self.device in ("auto", "cuda") and there.get("GPU", 0) >= 1:
            return self.workers or int(there["GPU"]), {"num_cpus": 1, "num_gpus": 1}
        return self.workers or max(1, int(there.get("CPU", 1))), {"num_cpus": 1}


class _Worker:
    """One process with its models, somewhere in the cluster; a Ray actor."""

    def __init__(self, request: LabelRequest, load: Load, part: Shard) -> None:
        self._request, self._load, self._part = request, load, part
        self._place: FileLock | None = None

    def load(self) -> RunSettings:
        """Load the models; the run's settings as this worker sees them."""
        self._worker = Worker(self._request, self._load(), self._part)
        return self._worker.settings

    def label(self, cases: Sequence[Case]) -> list[Done]:
        """Bring files to records."""
        if self._place is None:
            self._place = taking_part(self._request.output, self._part)
        return list(self._worker.label(cases))

    def leave(self) -> None:
        """Give the folder free."""
        if self._place is not None:
            self._place.release()


@dataclass
class _RayTeam:
    """Workers by what they are at; one that dies is replaced, and its files go back."""

    request: LabelRequest
    load: Load
    size: int
    needs: dict[str, int]
    settings: RunSettings = field(default_factory=dict)
    at_work: dict[Any, tuple[Any, list[Case]]] = field(default_factory=dict)
    """For each promise of Ray: the worker and its files; none while it loads the models."""
    idle: list[Any] = field(default_factory=list)
    waiting: deque[list[Case]] = field(default_factory=deque)
    deaths: Counter[str] = field(default_factory=Counter)
    started: int = 0

    def gather(self) -> None:
        """Start all workers; return when the first is ready."""
        for _ in range(self.size):
            self._start()
        while not self.idle:
            list(self._next())

    def label(self, cases: Sequence[Case]) -> Iterator[Done]:
        """See `Team.label`."""
        together = max(1, min(FILES_AT_ONCE, len(cases) // (PORTIONS * self.size)))
        self.waiting.extend(list(cases[start : start + together]) for start in range(0, len(cases), together))
        while self.waiting or any(files for _, files in self.at_work.values()):
            while self.waiting and self.idle:
                worker, files = self.idle.pop(), self.waiting.popleft()
                self.at_work[worker.label.remote(files)] = worker, files
            yield from self._next()

    def dismiss(self) -> None:
        """Let the workers give the folder free, and end them."""
        import ray  # noqa: PLC0415

        with suppress(Exception):
            ray.get([worker.leave.remote() for worker in self.idle], timeout=LEAVING_S)
        for worker in (*self.idle, *(worker for worker, _ in self.at_work.values())):
            ray.kill(worker)

    def _start(self) -> None:
        """Every worker has a place of its own in the folder: that of a dead one may not be free yet."""
        import ray  # noqa: PLC0415

        self.started += 1
        part = Shard(self.started, MOST)
        worker = ray.remote(_Worker).options(**self.needs).remote(self.request, self.load, part)
        self.at_work[worker.load.remote()] = worker, []

    def _next(self) -> Iterator[Done]:
        """Wait for a worker: it has done its files, has loaded its models, or has died."""
        import ray  # noqa: PLC0415

        (promise,), _ = ray.wait(list(self.at_work), num_returns=1)
        worker, files = self.at_work.pop(promise)
        try:
            answer = ray.get(promise)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
            self._start()
            yield from self._take_back(files)
            return
        self.idle.append(worker)
        if files:
            yield from answer
        else:
            self.deaths[""] = 0
            self._agree(answer)

    def _take_back(self, files: list[Case]) -> Iterator[Done]:
        """What a worker had when it died: each file alone, to learn which of them killed it."""
        if len(files) > 1:
            self.waiting.extendleft([file] for file in reversed(files))
            return
        name = files[0].name if files else ""
        self.deaths[name] += 1
        if self.deaths[name] < MOST_DEATHS:
            self.waiting.extendleft([files] if files else [])
        elif files:
            yield Done(tuple(self._failed(files[0])))
        else:
            raise UserError(
                f"{MOST_DEATHS} workers died while loading the models", "read what they said, or give fewer --workers"
            )

    def _failed(self, case: Case) -> Iterator[Record]:
        for prompt in case.prompts or (None,):
            yield case.record(prompt, self.settings["config_sha256"], status="failed", reason=KILLED)

    def _agree(self, settings: RunSettings) -> None:
        """Raise `BadInput` where a worker would answer differently from the first."""
        if self.settings and settings["config_sha256"] != self.settings["config_sha256"]:
            devices = self.settings["device"], settings["device"]
            raise BadInput(f"workers differ ({', '.join(devices)}), so would their masks", "give --device cpu or cuda")
        self.settings = self.settings or settings
