"""Taking turns: workers that are compared stand ready together, and one at a time may work.

What a machine does changes from second to second: its clock rate, its neighbours. Two processes that run one after the
other meet different machines. So the workers of a pair start together, and when all are warm their rounds alternate,
A B, B A, A B, …: round i of one arm has run beside round i of the other. Arms whose calls are much shorter have several
turns while a slow one S has one: S A B, B A, A B, B A, and back, A B, B A, A B, B A S. So every call of A has one of B
beside it, not a second away behind S, and a machine that grows slower all the time does the same to all.

Of three or more, those at both ends would follow themselves in every other turn, and find their data in the cache: so
each there and back begins one arm further, A B C, C B A, B C A, A C B, …. Without that four builds that were alike came
out 1 to 3 % apart, the two at the ends on one side.

A worker whose turn is over is stopped (SIGSTOP) until the next: it would sleep in `read`, but threads of MindSpore's
go on spinning for a second after the last operator of PyNative mode and take half of two processors from whoever is
timed meanwhile.

A worker and the clock speak through a socket, a line of JSON a message:

    worker: {"say": "hello", "turns": 1}            once
    worker: {"say": "want"}                         → {"do": "go"}, or {"do": "stop", "because": …}
    worker: {"say": "done"}                         its turn is over
    worker: {"say": "warm", "seconds": s}           the turn of its first calls is over → {"do": "time", "rounds": n}
    worker: {"say": "want"}                         after its last round → {"do": "stop", …} when all have had theirs
    worker: {"say": "over", "case": id}             it has left the case, whatever became of it

Both sides go through the same cases in the same order. Whoever leaves a case early, dies, or says nothing until the
time is up, stops the others with the reason; nobody waits for ever.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.gates import Invalid

TURNS = 1
"""Version of what is spoken; a worker of another one is refused."""

POLL = 0.25
"""Seconds between two looks at whether time is up."""

Message = dict[str, Any]


class Turns(Protocol):
    """A worker's side."""

    @property
    def interleaved(self) -> bool:
        """Whether there is anybody to take turns with."""

    def take(self) -> None:
        """Wait for this worker's turn. Raises `Invalid` when none will come."""

    def give(self) -> None:
        """End the turn."""

    def warm(self, seconds: float, rounds: int) -> int:
        """End the turn of the first calls, the last of which took `seconds`; returns the rounds to time."""

    def rest(self) -> None:
        """After the last round: wait until nobody is timed any more. Gates compute, and would disturb the others."""

    def over(self, case: str) -> None:
        """Leave a case."""


class Alone:
    """Nobody to take turns with."""

    interleaved = False

    def take(self) -> None:
        """At once."""

    def give(self) -> None:
        """To nobody."""

    def warm(self, seconds: float, rounds: int) -> int:  # noqa: ARG002 - the protocol's signature
        """As many as planned."""
        return rounds

    def rest(self) -> None:
        """Nobody is timed."""

    def over(self, case: str) -> None:
        """Nobody asks."""


class Stopped(Exception):  # noqa: N818 - an ending, not an error of this program
    """The other side has gone, or its time is up; the text says which."""


class Line:
    """One end of the socket: a JSON object a line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = b""

    def send(self, **message: Any) -> None:
        """Send a message. Raises `Stopped` when nobody listens any more."""
        try:
            self._end.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise Stopped("it has ended") from None

    def receive(self, deadline: float | None = None, meanwhile: Callable[[], None] = lambda: None) -> Message:
        """The next message; until it comes `meanwhile` is called. Raises `Stopped` at the end or the `deadline`."""
        self._end.settimeout(None if deadline is None else POLL)
        while b"\n" not in self._read:
            if deadline is not None and time.perf_counter() > deadline:
                raise Stopped("its time was up")
            try:
                part = self._end.recv(65536)
            except TimeoutError:
                meanwhile()
                continue
            except OSError:
                part = b""
            if not part:
                raise Stopped("it has ended")
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def close(self) -> None:
        """Nothing more will be said."""
        self._end.close()


class InTurn:
    """A worker that takes turns with others, through the inherited socket with file descriptor `number`."""

    interleaved = True

    def __init__(self, number: int) -> None:
        self._line = Line(socket.socket(fileno=number))
        self._line.send(say="hello", turns=TURNS)

    def take(self) -> None:
        """Wait for this worker's turn. Raises `Invalid` when none will come."""
        self._ask(say="want")

    def give(self) -> None:
        """End the turn."""
        self._tell(say="done")

    def warm(self, seconds: float, rounds: int) -> int:  # noqa: ARG002 - the clock decides how many
        """End the turn of the first calls, the last of which took `seconds`; how many rounds are to be timed."""
        return int(self._ask(say="warm", seconds=seconds)["rounds"])

    def rest(self) -> None:
        """Wait until nobody is timed any more; whatever ended it, this worker's rounds are complete."""
        self._heard(say="want")

    def over(self, case: str) -> None:
        """Leave a case."""
        try:
            self._line.send(say="over", case=case)
        except Stopped:  # the clock knows already: it was the one to hang up
            return

    def _tell(self, **message: Any) -> None:
        try:
            self._line.send(**message)
        except Stopped:
            raise Invalid("the clock ended this pair") from None

    def _ask(self, **message: Any) -> Message:
        answer = self._heard(**message)
        if answer["do"] == "stop":
            raise Invalid(str(answer["because"]))
        return answer

    def _heard(self, **message: Any) -> Message:
        self._tell(**message)
        try:
            return self._line.receive()
        except Stopped:
            raise Invalid("the clock ended this pair") from None


Rounds = Callable[[str, Mapping[str, float], float], Mapping[str, int]]
"""How many rounds each worker times, from the case, the seconds of each worker's last untimed call, and the seconds
that all of them took to get ready: to start, if it is their first case, to compile, and to make the untimed calls.

The smallest number divides all others, and all divide the largest."""


@dataclass(frozen=True)
class Hold:
    """How to stop all of a worker's threads where they are, and how to let them go on."""

    stop: Callable[[], None] = lambda: None
    resume: Callable[[], None] = lambda: None


class _Left(Exception):  # noqa: N818 - an ending, not an error of this program
    """A worker left a case before its end."""


class _Worker:
    """A worker as the clock sees it: where it is and whether it waits for an answer."""

    def __init__(self, name: str, line: Line, hold: Hold, deadline: float, meanwhile: Callable[[], None]) -> None:
        self.name, self.hold = name, hold
        self._line, self._deadline, self._meanwhile = line, deadline, meanwhile
        self._waits = self._inside = False

    def greet(self) -> None:
        """Hear the first message."""
        if self._hear().get("turns") != TURNS:
            raise Stopped("it takes turns in another way than this clock")

    def enter(self) -> None:
        """The worker is about to enter the next case."""
        self._inside = True

    def expect(self, say: str) -> Message:
        """The next message, which says this. Raises `_Left` when the worker has left the case instead."""
        message = self._hear()
        if message["say"] == "over":
            raise _Left(self.name)
        if message["say"] != say:
            raise Stopped(f"it said {message['say']!r} where {say!r} was expected")
        return message

    def rest(self) -> None:
        """Hear that the worker waits after its last round, and stop it there.

        Code older than this does not wait but goes on to its gates: they are heard out, while all others are stopped.
        """
        with suppress(_Left):
            self.expect("want")
            self.hold.stop()

    def answer(self, **message: Any) -> None:
        """Answer what the worker waits for."""
        self._line.send(**message)
        self._waits = False

    def release(self, reason: str) -> None:
        """Let the worker go on, with a refusal if it asks for something."""
        self.hold.resume()
        if self._inside and self._waits:
            self.answer(do="stop", because=reason)

    def leave(self, reason: str) -> None:
        """Hear the worker out until it has left the case; whatever it asks for meanwhile it is refused."""
        while self._inside:
            self._hear()
            self.release(reason)

    def dismiss(self, reason: str) -> None:
        """Say no to whatever the worker will ask next, and hang up."""
        self.hold.resume()
        with suppress(Stopped):  # it may be the one that has gone
            self.answer(do="stop", because=reason)
        self._line.close()

    def _hear(self) -> Message:
        try:
            message = self._line.receive(self._deadline, self._meanwhile)
        except Stopped as stop:
            raise Stopped(f"the worker of {self.name} stopped: {stop}") from None
        self._waits = message["say"] in ("want", "warm")
        self._inside = self._inside and message["say"] != "over"
        return message


def conduct(
    lines: Mapping[str, Line],
    cases: Sequence[str],
    *,
    rounds: Rounds,
    deadline: float,
    meanwhile: Callable[[], None] = lambda: None,
    holds: Mapping[str, Hold] | None = None,
) -> str | None:
    """Grant turns to the workers of one pair until they have gone through all `cases`; the first of `lines` begins.

    `holds`: how to stop those whose turn it is not, by name; without, they are trusted to keep quiet. `deadline` is by
    `time.perf_counter`. Returns None, or why the pair was ended before; never raises for what happens to a worker,
    whose rows will say so, and those of the others.
    """
    held = holds or {}
    workers = [_Worker(name, line, held.get(name, Hold()), deadline, meanwhile) for name, line in lines.items()]
    reason, since = None, time.perf_counter()
    try:
        for worker in workers:
            worker.greet()
        for case in cases:
            _case(workers, case, rounds, since)
            since = time.perf_counter()
    except Stopped as stop:
        reason = str(stop)
    for worker in workers:
        worker.dismiss(reason or "there are no more cases")
    return reason


def _case(workers: Sequence[_Worker], case: str, rounds: Rounds, since: float) -> None:
    """One case: every worker's first calls, the rounds by turns, then all gates at once. It began at `since`."""
    for worker in workers:
        worker.enter()
    reason = "the rounds are over"
    try:
        for worker in workers:  # all are ready before the first begins
            worker.expect("want")
            worker.hold.stop()
        called = {worker.name: _first_calls(worker) for worker in workers}
        found = rounds(case, called, time.perf_counter() - since)
        counts = {worker.name: found[worker.name] for worker in workers}  # this pair's first begins
        for worker in workers:
            worker.answer(do="time", rounds=counts[worker.name])
        named, ahead = {worker.name: worker for worker in workers}, dict(counts)
        for name in order(counts):
            _turn(named[name])
            ahead[name] -= 1
            if ahead[name]:
                named[name].hold.stop()
            else:
                named[name].rest()
    except _Left as left:
        reason = f"the worker of {left} left this case before its rounds were over"
    for worker in workers:
        worker.release(reason)
    for worker in workers:
        worker.leave(reason)


def order(counts: Mapping[str, int]) -> Iterator[str]:
    """Whose turn it is, until all have had so many: see `Rounds`.

    One turn of those with the fewest, with all turns that others have meanwhile; then the same backwards, and so on,
    each time there and back begun one further.
    """
    fewest = min(counts.values())
    for i in range(fewest):
        once = _one_turn(counts, i // 2)
        yield from once if i % 2 == 0 else reversed(once)


def _one_turn(counts: Mapping[str, int], begin: int) -> list[str]:
    """One turn of those with the fewest, and all turns that others have meanwhile."""
    fewest, most = min(counts.values()), max(counts.values())
    once: list[str] = []
    for i in range(most // fewest):
        having = [count for count in sorted(set(counts.values())) if i % (most // count) == 0]
        turn = [name for count in having for name in _as_many(counts, count, begin + i // 2)]
        once += turn if i % 2 == 0 else reversed(turn)
    return once


def _as_many(counts: Mapping[str, int], count: int, begin: int) -> list[str]:
    """Those with that `count`, of whom another one begins each time; two change places anyway."""
    names = [name for name, each in counts.items() if each == count]
    first = begin % len(names) if len(names) > 2 else 0
    return names[first:] + names[:first]


def _first_calls(worker: _Worker) -> float:
    """Seconds of the last of them."""
    worker.hold.resume()
    worker.answer(do="go")
    seconds = float(worker.expect("warm")["seconds"])
    worker.hold.stop()
    return seconds


def _turn(worker: _Worker) -> None:
    """One round."""
    worker.hold.resume()
    worker.expect("want")
    worker.answer(do="go")
    worker.expect("done")
