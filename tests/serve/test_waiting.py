"""The queue is short, a place that is given up is free, and one piece of work follows another."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from medclipsam.serve.waiting import Busy, GivenUp, Stop, Waiting


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """Two places."""
    found = Waiting(2)
    yield found
    assert found.close(5)


def test_work_is_done_in_turn_and_its_errors_are_handed_on(waiting: Waiting) -> None:
    order: list[int] = []
    first, second = (waiting.put(lambda _, number=number: order.append(number)) for number in (1, 2))
    first.future.result(5), second.future.result(5)
    assert order == [1, 2]

    def fail(_: Stop) -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        waiting.put(fail).future.result(5)


def test_a_full_queue_says_when_to_come_again_and_a_place_given_up_is_free(waiting: Waiting) -> None:
    go, running = Event(), Event()

    def work(_: Stop) -> None:
        running.set()
        go.wait(5)

    first = waiting.put(work)
    running.wait(5)
    second = waiting.put(work)
    with pytest.raises(Busy) as refused:
        waiting.put(work)
    assert refused.value.seconds >= 1
    waiting.give_up(second)
    assert second.future.cancelled()
    third = waiting.put(lambda _: "done")
    go.set()
    assert (first.future.result(5), third.future.result(5)) == (None, "done")


def test_work_that_nobody_waits_for_ends_at_its_next_step(waiting: Waiting) -> None:
    running, go = Event(), Event()

    def work(stop: Stop) -> None:
        running.set()
        go.wait(5)
        stop.check()

    ticket = waiting.put(work)
    running.wait(5)
    waiting.give_up(ticket)
    go.set()
    with pytest.raises(GivenUp):
        ticket.future.result(5)
