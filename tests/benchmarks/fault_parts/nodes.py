"""A Ray of several nodes on this machine, whose processes are killed."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from typing import Any, Self

import psutil
import ray
from ray.cluster_utils import Cluster

from tests.benchmarks.fault_parts.row import say


class Nodes:
    """A head without CPUs, and nodes with one CPU each, each a raylet of its own."""

    def __init__(self, count: int = 2) -> None:
        # Ray's hooks for the end of the process can be set by its main thread alone, and nodes are
        # added by others.
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0}, shutdown_at_exit=False
        )
        self.nodes: list[Any] = []
        for _ in range(count):
            self.add()

    def __enter__(self) -> Self:
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
        self._cluster.shutdown()

    def add(self) -> None:
        """A node joins."""
        self.nodes.append(self._cluster.add_node(num_cpus=1))

    def remove(self, node: Any) -> None:
        """SIGKILL its raylet and all that belongs to it."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def runners(self) -> list[int]:
        """Process numbers of what samples on the nodes."""
        found = []
        for node in self.nodes:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            for process in raylet.children(recursive=True):
                try:
                    title = (process.cmdline() or [""])[0]
                except psutil.Error:
                    continue
                if title.startswith("ray::") and "Runner" in title:
                    found.append(process.pid)
        return found


class Killer:
    """Kills a runner or a node, in turns, every so many seconds; a node comes back after ten."""

    def __init__(self, nodes: Nodes, every: float, seed: int = 0) -> None:
        self._nodes, self._every, self._chance = nodes, every, random.Random(seed)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.kills: list[str] = []
        self._problem: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _work(self) -> None:
        try:
            self._kill()
        except Exception as problem:
            self._problem = problem

    def _kill(self) -> None:
        while not self._end.wait(self._every):
            runners = self._nodes.runners()
            if len(self.kills) % 2 == 0 and runners:
                os.kill(self._chance.choice(runners), signal.SIGKILL)
                self.kills.append("runner")
            else:
                self._nodes.remove(self._chance.choice(self._nodes.nodes))
                self.kills.append("node")
                self._end.wait(10.0)
                self._nodes.add()
            say(f"kill {len(self.kills)}: a {self.kills[-1]}")


def kill(pids: Sequence[int]) -> None:
    """SIGKILL, by number."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
