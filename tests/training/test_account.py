"""What a training takes: nodes, time lost, price."""

from __future__ import annotations

import pytest

from training.job.account import Account


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nodes_come_and_go_and_are_paid() -> None:
    clock, nodes = Clock(), [(2, 1.0)]
    account = Account(3.6, 5.0, lambda: nodes[-1], clock)
    clock.now += 1000.0
    account.note()
    assert account.metrics(900.0) == {
        "time/to_first_iteration_seconds": 1000.0,
        "time/lost_seconds": 0.0,  # 100 s were needed to begin
        "time/effective_share": 0.9,
        "cluster/nodes": 2.0,
        "cluster/gpus": 1.0,
        "cluster/node_hours": pytest.approx(2000 / 3600),
        "cluster/price": pytest.approx(2.0),
    }
    assert not account.is_spent
    nodes.append((3, 1.0))
    clock.now += 1000.0
    account.note()
    assert account.price == pytest.approx(5.0)
    assert account.is_spent
    numbers = account.metrics(1500.0)
    assert numbers["time/to_first_iteration_seconds"] == 1000.0
    assert numbers["time/lost_seconds"] == 400.0


def test_a_resumed_training_goes_on_counting() -> None:
    clock = Clock()
    account = Account(3.6, 5.0, lambda: (1, 0.0), clock)
    account.go_on({"wall": 3000.0, "node_seconds": 4500.0, "start": 100.0})
    assert account.price == pytest.approx(4.5)
    clock.now += 1000.0
    account.note()
    assert account.kept == {"wall": 4000.0, "node_seconds": 5500.0, "start": 100.0}
    assert account.is_spent
    numbers = account.metrics(2000.0)
    assert numbers["time/effective_share"] == 0.5
    assert numbers["time/lost_seconds"] == 1900.0


def test_a_checkpoint_of_nothing_learned_has_no_start_yet() -> None:
    clock = Clock()
    resumed = Account(0.0, None, lambda: (1, 0.0), clock)
    resumed.go_on(Account(0.0, None, lambda: (1, 0.0), clock).kept)
    clock.now += 10.0
    resumed.note()
    assert resumed.metrics(4.0)["time/lost_seconds"] == 0.0


def test_without_a_price_nothing_is_spent() -> None:
    account = Account(0.0, None, lambda: (1, 0.0))
    account.note()
    assert not account.is_spent
    assert "cluster/price" not in account.metrics(0.0)
