"""Whatever order several processes' requests arrive in, the alias ends on the best of them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evaluation.gate.checks import Check, Verdict
from evaluation.gate.ledger import How, Ledger, Move
from evaluation.gate.page import Decision


class Registry:
    """What all processes share; one request at a time, in an order that a seed draws."""

    def __init__(self, seed: int, processes: int) -> None:
        self.champion: str | None = "1"
        self.moves = [Move(1, "1", None, "gate", "", "0", "")]
        self._random, self._turn = random.Random(seed), threading.Condition()
        self._live, self._waiting = processes, {}  # type: ignore[var-annotated]

    @contextmanager
    def request(self, process: str) -> Iterator[None]:
        """Wait until everybody waits, and this one is drawn."""
        with self._turn:
            self._waiting[process] = False
            self._draw()
            self._turn.wait_for(lambda: self._waiting[process])
            del self._waiting[process]
            yield
            self._draw()

    def leave(self) -> None:
        with self._turn:
            self._live -= 1
            self._draw()

    def _draw(self) -> None:
        if self._waiting and len(self._waiting) == self._live:
            self._waiting[self._random.choice(sorted(self._waiting))] = True
            self._turn.notify_all()


class Process(Ledger):
    """A ledger whose requests go to that registry."""

    def __init__(self, registry: Registry, name: str) -> None:
        super().__init__("model", "")
        self._registry, self._name = registry, name

    def champion(self) -> str | None:
        with self._registry.request(self._name):
            return self._registry.champion

    def moves(self) -> list[Move]:
        with self._registry.request(self._name):
            return sorted(self._registry.moves, key=lambda m: (m.number, m.when))

    def give(self, version: str) -> None:
        with self._registry.request(self._name):
            self._registry.champion = version

    def write(
        self, number: int, version: str, before: str | None, how: How, who: str, why: str
    ) -> Move:
        with self._registry.request(self._name):
            when = f"{len(self._registry.moves):09}"
            self._registry.moves.append(Move(number, version, before, how, who, when, why))
            return self._registry.moves[-1]

    def record(self, decision: Decision) -> None:
        """Nobody reads it."""


def play(seed: int, costs: dict[str, float]) -> Registry:
    """Let versions 2, 3, ... contest version 1 at the same time."""
    registry = Registry(seed, len(costs) - 1)

    def judge(version: str, champion: str | None) -> Decision:
        assert champion is not None
        is_better = costs[version] < costs[champion] - 0.1  # less is noise
        verdict = Verdict.passed if is_better else Verdict.failed
        return Decision("model", version, champion, (Check("cost", verdict, None, ""),))

    def contest(version: str) -> None:
        try:
            Process(registry, version).contest(version, judge, "", "")
        finally:
            registry.leave()

    threads = [threading.Thread(target=contest, args=(v,), daemon=True) for v in costs if v != "1"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return registry


@pytest.mark.parametrize("part", range(4))
def test_the_best_of_those_that_end_at_once_has_the_alias(part: int) -> None:
    """Up to four of them, two of them ties perhaps, in 50 orders of their requests each."""
    for seed in range(50 * part, 50 * part + 50):
        chance = random.Random(seed)
        costs = {"1": 5.0}
        for version in range(2, chance.randint(4, 6)):
            costs[str(version)] = chance.choice([4.0, 4.05, 4.5, 4.8, 5.0, 5.05, 6.0])
        registry = play(seed, costs)
        assert registry.champion is not None
        assert costs[registry.champion] <= min(costs.values()) + 0.1, (seed, costs)
        holders = {move.version for move in registry.moves}
        assert max(costs[h] for h in holders) <= 5.0
