"""Does the reader run ahead, but not far, in order, and stop when asked?"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from medclipsam.methods.prefetch import read_ahead


def test_items_keep_their_order() -> None:
    assert list(read_ahead(iter(range(50)))) == list(range(50))
    assert list(read_ahead(iter(()))) == []


def test_they_are_produced_by_another_thread_before_they_are_asked_for() -> None:
    threads: list[int] = []
    third_is_made = threading.Event()

    def reader() -> Iterator[int]:
        for item in range(5):
            threads.append(threading.get_ident())
            if item == 2:
                third_is_made.set()
            yield item

    items = read_ahead(reader(), depth=2)
    assert next(items) == 0
    assert third_is_made.wait(10)
    items.close()
    assert set(threads).isdisjoint({threading.get_ident()})
    assert len(set(threads)) == 1


def test_no_more_than_depth_are_made_ahead() -> None:
    made: list[int] = []

    def reader() -> Iterator[int]:
        for item in range(100):
            made.append(item)
            yield item

    items = read_ahead(reader(), depth=3)
    for wanted in range(10):
        assert next(items) == wanted
        assert len(made) <= wanted + 1 + 3
    items.close()


def test_an_error_comes_at_its_place() -> None:
    def reader() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    items = read_ahead(reader())
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    items = read_ahead(iter(range(1000)))
    next(items)
    items.close()
    assert threading.active_count() == before
