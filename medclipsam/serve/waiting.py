"""Does one piece of work after another in a thread of its own, with a short queue before it.

put --> [ ticket ticket ticket ] --> thread: work(stop) --> future
full: `Busy`, with how long to wait        a ticket that is given up frees its place; work that runs sees `stop`
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from math import ceil
from threading import Condition, Event, Thread
from time import perf_counter
from typing import Any

FIRST_GUESS_S = 2.0
"""Time of one piece of work before any has been done."""
MEMORY = 0.8
"""Share that the time of earlier work keeps in the running mean."""


class Busy(Exception):
    """The queue is full; `seconds` says when to come again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"come again in {seconds} s")
        self.seconds = seconds


class GivenUp(Exception):
    """Nobody waits for the answer any more."""


class Stop:
    """Tells work that nobody waits for it."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """Nobody waits any more."""
        self._event.set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            GivenUp: nobody waits any more.
        """
        if self._event.is_set():
            raise GivenUp


class Ticket:
    """A place in the queue."""

    def __init__(self, work: Callable[[Stop], Any]) -> None:
        self.work = work
        self.stop = Stop()
        self.future: Future[Any] = Future()


class Waiting:
    """A queue of bounded length and the one thread that works on it.

    Args:
        most: how many may wait or be worked on together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._tickets: deque[Ticket] = deque()
        self._running: Ticket | None = None
        self._changed = Condition()
        self._mean_s = FIRST_GUESS_S
        self._closed = False
        self._thread = Thread(target=self._work, name="medclipsam-answers", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        with self._changed:
            return len(self._tickets) + (self._running is not None)

    def check(self) -> None:
        """Refuse before anything is read.

        Raises:
            Busy: there is no free place.
        """
        if len(self) >= self.most:
            raise Busy(self._wait_s())

    def put(self, work: Callable[[Stop], Any]) -> Ticket:
        """Take a place.

        Raises:
            Busy: there is no free one.
        """
        ticket = Ticket(work)
        with self._changed:
            if self._closed or len(self) >= self.most:
                raise Busy(self._wait_s())
            self._tickets.append(ticket)
            self._changed.notify()
        return ticket

    def give_up(self, ticket: Ticket) -> None:
        """Free a place; work that has begun ends at its next step."""
        with self._changed:
            ticket.stop.set()
            if ticket in self._tickets:
                self._tickets.remove(ticket)
                ticket.future.cancel()

    def close(self, seconds: float) -> bool:
        """Give up everything; whether the thread came to rest in that time."""
        with self._changed:
            self._closed = True
            for ticket in (*self._tickets, *([self._running] if self._running else [])):
                self.give_up(ticket)
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _wait_s(self) -> int:
        return max(1, ceil(self._mean_s * (len(self._tickets) + 1)))

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            began = perf_counter()
            try:
                ticket.future.set_result(ticket.work(ticket.stop))
            except BaseException as error:
                ticket.future.set_exception(error)
            self._done(perf_counter() - began)

    def _next(self) -> Ticket | None:
        with self._changed:
            self._changed.wait_for(lambda: self._tickets or self._closed)
            if self._closed:
                return None
            self._running = self._tickets.popleft()
            self._running.future.set_running_or_notify_cancel()
            return self._running

    def _done(self, seconds: float) -> None:
        with self._changed:
            self._running = None
            self._mean_s = MEMORY * self._mean_s + (1 - MEMORY) * seconds
