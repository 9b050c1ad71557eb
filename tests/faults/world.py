"""Processes, their threads and their clocks, played in an order that one seed draws.

The code under test runs in threads of which one goes on at a time. At every file operation, request
and wait (`World.step`, `World.wait`) the seed draws who is next, and only there time passes, and
processes are killed. So a seed that fails fails again in the same way.
"""

from __future__ import annotations

import _thread
import contextlib
import io
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from unittest.mock import patch

_START = 1_700_000_000.0  # seconds since 1970
_LONGEST_STEP = 0.005  # seconds


class Killed(BaseException):
    """The process was killed: nothing that its code does after that happens."""


class Process:
    """Some threads, which die together.

    lives: steps until it is killed; None: it isn't.
    clock_error: seconds that its wall clock is ahead.
    files: open ones, which the system closes when it dies.
    """

    def __init__(self, name: str, lives: int | None = None) -> None:
        self.name, self.lives = name, lives
        self.clock_error = 0.0
        self.is_dead = False
        self.files: list[io.FileIO] = []


class _Actor:
    """A thread, and what it waits for."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.baton = _thread.allocate_lock()
        self.baton.acquire()
        self.condition: Callable[[], bool] | None = None
        self.deadline = 0.0
        self.is_finished = False
        self.result: Any = None
        self.error: BaseException | None = None


class World:
    """The clock and all processes. The thread that makes it looks on: it is in no process.

    now: seconds, of the true clock.
    log: what was done, by whom.
    at_step: called at every step, with the process and what it is about to do.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = _START
        self.log: list[str] = []
        self.at_step: Callable[[Process, str], None] = lambda process, what: None
        self._observer = _Actor(Process("observer"))
        self._actors = [self._observer]
        self._by_thread = {_thread.get_ident(): self._observer}

    @property
    def process(self) -> Process | None:
        """The process whose thread calls; None for the observer, and for foreign threads."""
        actor = self._by_thread.get(_thread.get_ident())
        return None if actor is None or actor is self._observer else actor.process

    def step(self, what: str) -> None:
        """Before anything that others can see: they may go on first, or the process is killed."""
        actor = self._me
        process = actor.process
        if process.is_dead:
            raise Killed
        self.now += self.random.random() * _LONGEST_STEP
        self.log.append(f"{self.now - _START:10.3f} {process.name}: {what}")
        if process.lives is not None:
            process.lives -= 1
        if process.lives == 0:
            self.log.append(f"{process.name} is killed")
            self.kill(process)
            raise Killed
        self.at_step(process, what)
        self._hand_over(actor)

    def wait(self, condition: Callable[[], bool], seconds: float = math.inf) -> bool:
        """Wait until it holds, for so long at most; returns whether it does."""
        actor, deadline = self._me, self.now + seconds
        while not condition():
            if self.now >= deadline:
                return False
            actor.condition, actor.deadline = condition, deadline
            self._hand_over(actor)
            actor.condition = None
        return True

    def spawn(self, process: Process, function: Callable[[], Any]) -> _Actor:
        """Begin a thread."""
        actor = _Actor(process)
        self._actors.append(actor)
        _thread.start_new_thread(self._play, (actor, function))
        return actor

    def run(self, process: Process, function: Callable[[], Any]) -> Any:
        """Run it as the main thread of a process; returns what it returns, None where it was
        killed, and raises what it raises."""
        return self.join(process, self.spawn(process, function))

    def join(self, process: Process, actor: _Actor) -> Any:
        """Wait for the main thread of a process, and end the others with it."""
        self.wait(lambda: actor.is_finished)
        self.kill(process)
        self.wait(lambda: all(a.is_finished for a in self._actors if a.process is process))
        if actor.error is not None:
            raise actor.error
        return actor.result

    def kill(self, process: Process) -> None:
        """Its threads do nothing more."""
        process.is_dead = True
        for file in process.files:
            file.close()

    def _play(self, actor: _Actor, function: Callable[[], Any]) -> None:
        actor.baton.acquire()
        self._by_thread[_thread.get_ident()] = actor
        try:
            if not actor.process.is_dead:
                actor.result = function()
        except Killed:
            pass
        except BaseException as problem:  # told by `join`; files of the dead are closed
            actor.error = None if actor.process.is_dead else problem
        del self._by_thread[_thread.get_ident()]
        actor.is_finished = True
        self._actors.remove(actor)
        self._next().baton.release()

    @property
    def _me(self) -> _Actor:
        return self._by_thread[_thread.get_ident()]

    def _hand_over(self, actor: _Actor) -> None:
        following = self._next()
        if following is not actor:
            following.baton.release()
            actor.baton.acquire()
        if actor.process.is_dead:
            raise Killed

    def _next(self) -> _Actor:
        ready = [actor for actor in self._actors if self._is_ready(actor)]
        if not ready:  # all wait: the time of the first of them has come
            self.now = min(actor.deadline for actor in self._actors)
            assert self.now < math.inf, "all threads wait for each other"
            ready = [actor for actor in self._actors if self._is_ready(actor)]
        return ready[0] if len(ready) == 1 else self.random.choice(ready)

    def _is_ready(self, actor: _Actor) -> bool:
        if actor.process.is_dead or actor.condition is None or self.now >= actor.deadline:
            return True
        return actor.condition()

    @contextlib.contextmanager
    def clocks(self) -> Iterator[None]:
        """In processes, time, threads, locks, events and chance are the world's."""
        import atexit
        import secrets
        import threading
        import time

        real: dict[str, Any] = {
            "time": time.time, "monotonic": time.monotonic, "sleep": time.sleep,
            "token_hex": secrets.token_hex, "register": atexit.register,
        }  # fmt: skip

        def wall() -> float:
            process = self.process
            return real["time"]() if process is None else self.now + process.clock_error

        def monotonic() -> float:
            return real["monotonic"]() if self.process is None else self.now

        def sleep(seconds: float) -> None:
            if self.process is None:
                real["sleep"](seconds)
            else:
                self.wait(lambda: False, seconds)

        def token_hex(size: int) -> str:
            inside = self.process is not None
            return self.random.randbytes(size).hex() if inside else real["token_hex"](size)

        def register(function: Any) -> Any:
            return function if self.process is not None else real["register"](function)

        def in_processes(original: Any, simulated: Any) -> Any:
            def make(*args: Any, **options: Any) -> Any:
                if self.process is None:
                    return original(*args, **options)
                return simulated(self, *args, **options)

            return make

        with contextlib.ExitStack() as stack:
            for target, name, value in (
                (time, "time", wall),
                (time, "monotonic", monotonic),
                (time, "sleep", sleep),
                (secrets, "token_hex", token_hex),
                (atexit, "register", register),
                (threading, "Thread", in_processes(threading.Thread, _Thread)),
                (threading, "Event", in_processes(threading.Event, _Event)),
                (threading, "Lock", in_processes(threading.Lock, _Lock)),
            ):
                stack.enter_context(patch.object(target, name, value))
            yield


class _Thread:
    def __init__(self, world: World, *, target: Callable[[], Any], **_: Any) -> None:
        self._world, self._target = world, target
        self._actor: _Actor | None = None

    def start(self) -> None:
        process = self._world.process
        assert process is not None
        self._actor = self._world.spawn(process, self._target)

    def is_alive(self) -> bool:
        return self._actor is not None and not self._actor.is_finished

    def join(self, timeout: float = math.inf) -> None:
        self._world.wait(lambda: not self.is_alive(), timeout)


class _Event:
    def __init__(self, world: World) -> None:
        self._world, self._is_set = world, False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        return self._world.wait(self.is_set, math.inf if timeout is None else timeout)


class _Lock:
    def __init__(self, world: World) -> None:
        self._world, self._is_held = world, False

    def __enter__(self) -> None:
        self._world.wait(lambda: not self._is_held)
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
