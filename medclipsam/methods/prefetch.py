"""Reads and encodes images before they are asked about.

    reader:   1 2 3 4 5 6 ...                    waits when enough are ready
    encoder:     [1 2]  [3 4]  [5 6] ...         on a CPU by threads of its own, each with an image to itself
    asked:              1 2    3 4    ...        meanwhile, by one thread

Threads that share one small image wait for each other at every layer; where others compute beside them, that is most of
their time. One thread reads, in the same process.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import TypeVar

from medclipsam.methods.contract import Segmenter
from medclipsam.types import MedImage

AT_ONCE = 8
"""Images encoded together, where nobody says how many."""
READ_AHEAD = 2
"""Items read ahead on a CPU, where reading is much faster than encoding; images may be large."""
Item = TypeVar("Item")
_END = object()
_log = logging.getLogger(__name__)


def read_ahead(items: Iterator[Item], depth: int = 2) -> Generator[Item, None, None]:
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


@contextmanager
def encoded_ahead(
    items: Iterator[Item], image_of: Callable[[Item], MedImage | None], segmenter: Segmenter, most: int = AT_ONCE
) -> Iterator[Iterator[Item]]:
    """The same items, read ahead, their images encoded when they come.

    Args:
        items: in the order in which they will be asked about.
        image_of: the image of an item; None where it has none.
        segmenter: says how many it encodes at once.
        most: the largest number of images encoded at once.
    """
    step, on_cpu = segmenter.images_at_once(most), segmenter.info.computes_on_cpu
    with closing(read_ahead(items, depth=READ_AHEAD if on_cpu else step + 1)) as read:
        if step == 1:
            yield read
            return
        with _shared_threads(segmenter) as begin:
            encoded = _encoded(read, image_of, segmenter, step, begin)
            if not on_cpu:
                yield encoded
                return
            with closing(read_ahead(encoded, depth=step)) as ready:
                yield ready


@contextmanager
def _shared_threads(segmenter: Segmenter) -> Iterator[Callable[[], None]]:
    """Leave torch's threads to the encoder: who asks has one, and the thread that encodes calls what this gives first.

    On a GPU nobody waits for threads, and other engines have threads of their own.
    """
    info = segmenter.info
    if not info.computes_on_cpu or not info.uses_torch:
        yield lambda: None
        return
    import torch  # noqa: PLC0415  (neither records of a folder nor other engines need it)

    from medclipsam.runtime import one_thread  # noqa: PLC0415

    threads = torch.get_num_threads()
    with one_thread():
        yield partial(torch.set_num_threads, threads)


def _encoded(
    coming: Iterator[Item],
    image_of: Callable[[Item], MedImage | None],
    segmenter: Segmenter,
    step: int,
    begin: Callable[[], None],
) -> Iterator[Item]:
    """Encode `step` images at a time; what fails fails again with its own image."""
    begin()
    while some := list(islice(coming, step)):
        try:
            segmenter.prepare([image for image in map(image_of, some) if image is not None])
        except Exception:
            _log.warning("%d images could not be encoded together", len(some), exc_info=True)
        yield from some
