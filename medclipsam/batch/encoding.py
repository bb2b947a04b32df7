"""How are images encoded before they are asked about? Some at once, where that is faster, and on a CPU ahead of time.

    reader:   1 2 3 4 5 6 ...
    encoder:     [1 2]  [3 4]  [5 6] ...     on a CPU by threads of its own, each with an image to itself
    asked:              1 2    3 4    ...    meanwhile, by one thread

Threads that share one small image wait for each other at every layer; where others compute beside them, that is most of
their time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice

from medclipsam.batch.ahead import ahead
from medclipsam.batch.arrivals import Arrival
from medclipsam.methods.contract import Segmenter

_log = logging.getLogger(__name__)


@contextmanager
def encoded_ahead(arriving: Iterator[Arrival], segmenter: Segmenter, most: int) -> Iterator[Iterator[Arrival]]:
    """The same arrivals, read ahead, their images encoded when they come.

    Args:
        arriving: in the order in which they will be asked about.
        segmenter: says how many it encodes at once.
        most: of these.
    """
    import torch  # noqa: PLC0415  (who reads records needs none)

    from medclipsam.runtime import one_thread  # noqa: PLC0415

    step = segmenter.images_at_once(most)
    with closing(ahead(arriving, depth=step + 1)) as read:
        if step == 1:
            yield read
            return
        encoded = _encoded(read, segmenter, step, torch.get_num_threads())
        if segmenter.describe().get("device") != "cpu":
            yield encoded
            return
        with one_thread(), closing(ahead(encoded, depth=step)) as ready:
            yield ready


def _encoded(coming: Iterator[Arrival], segmenter: Segmenter, step: int, threads: int) -> Iterator[Arrival]:
    """Encode `step` images at a time; what fails fails again with its own image."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(threads)
    while some := list(islice(coming, step)):
        images = [arrival.image for arrival in some if arrival.image is not None]
        try:
            segmenter.prepare(images)
        except Exception:
            _log.warning("%d images could not be encoded together", len(images), exc_info=True)
        yield from some
