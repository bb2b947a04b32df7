"""How are images decoded while the model works? One thread runs the reader a few items ahead; no hidden processes.

reader:    1 2 3 4 . .          (waits when `depth` items are ready)
consumer:  . 1 . 2 . 3
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterator[Item], depth: int = 2) -> Generator[Item, None, None]:
    """The items in their order, produced by one other thread, at most `depth` of them waiting.

    What the producer raises is raised here, at its place. Closing this iterator stops the producer.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="medclipsam-reader")
    ready: deque[Future[Item | object]] = deque(worker.submit(next, items, _END) for _ in range(depth))
    try:
        while (item := ready.popleft().result()) is not _END:
            ready.append(worker.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        worker.shutdown(cancel_futures=True)
