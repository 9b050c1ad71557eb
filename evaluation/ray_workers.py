"""Ray for a command: a local instance of the size it needs, or the cluster at RAY_ADDRESS."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.queue import Queue
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from envs.errors import ClusterError, ConfigError, WorkerError, shown
from evaluation.loopback import require_loopback
from evaluation.progress import Progress, TextProgress
from evaluation.tasks import Ended, Task

T = TypeVar("T")
_OPEN = "ECHELON_ALLOW_OPEN_RAY"  # in the environment, 1: Ray may do without a token
_MOST_LOSSES = 3  # of a task's process

_log = logging.getLogger(__name__)


@contextmanager
def ray_workers(count: int, bundles: Sequence[Mapping[str, float]]) -> Iterator[RayWorkers]:
    """Give `count` workers that have their resources for as long as the block lasts, so that the
    actors which one's tasks start can't be kept waiting by another's."""
    each = sum(bundle.get("CPU", 0.0) for bundle in bundles)
    with ray_session(int(count * each)):
        present = ray.cluster_resources().get("CPU", 0.0)
        if count * each > present:
            raise ConfigError(
                f"workers is {count}, of {each:g} CPUs each; Ray has {present:g} CPUs in all. "
                "Set a lower workers, or add nodes."
            )
        workers = RayWorkers(count, bundles)
        try:
            yield workers
        finally:
            workers.close()


class RayWorkers:
    """Workers that are Ray tasks, one at a time in each placement group."""

    def __init__(self, count: int, bundles: Sequence[Mapping[str, float]]) -> None:
        self._bundles = [dict(bundle) for bundle in bundles]
        self._groups = [placement_group(self._bundles) for _ in range(count)]

    def close(self) -> None:
        """Give the resources back."""
        for group in self._groups:
            remove_placement_group(group)

    def run(self, title: str, tasks: Sequence[Task[T]], progress: Progress) -> Iterator[Ended[T]]:
        """Yield the tasks as they end.

        One whose process is lost, with its node or alone, is done again where there is room; the
        one that is lost each time ends with WorkerError.
        """
        progress.phase(title, len(tasks))
        # Where this process is: elsewhere it could be lost with its node.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        messages = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        waiting, free = list(range(len(tasks))), list(self._groups)
        running: dict[ray.ObjectRef[Any], tuple[int, PlacementGroup]] = {}
        losses, done = Counter[int](), 0
        try:
            while done < len(tasks):
                while waiting and (group := next(filter(_is_placed, free), None)) is not None:
                    free.remove(group)
                    index = waiting.pop(0)
                    running[_start(tasks[index], group, messages)] = index, group
                if not running:
                    if not free[0].wait(timeout_seconds=1):
                        progress.update(done, "waiting for a node with room")
                    continue
                ready, _ = ray.wait(list(running), timeout=1.0)
                if not ready:
                    for text in messages.get_nowait_batch(messages.qsize()):
                        progress.update(done, text)
                    continue
                index, group = running.pop(ready[0])
                ended = _ended(index, ready[0])
                if isinstance(ended.error, WorkerError):
                    group = self._placed_anew(group)
                free.append(group)
                if isinstance(ended.error, WorkerError) and losses[index] < _MOST_LOSSES:
                    losses[index] += 1
                    waiting.insert(0, index)
                    _log.warning("%s: %s It is done again.", tasks[index].name, ended.error)
                    continue
                done += 1
                progress.update(done, tasks[index].name)
                yield ended
        finally:
            for task_left in running:
                ray.cancel(task_left, force=True)
            messages.shutdown(force=True)

    def _placed_anew(self, lost: PlacementGroup) -> PlacementGroup:
        """Resources in place of those that may be lost in part, wherever all of them are free."""
        remove_placement_group(lost)
        group = placement_group(self._bundles)
        self._groups[self._groups.index(lost)] = group
        return group


def _is_placed(group: PlacementGroup) -> bool:
    """Whether it has its resources: there may be no room for those that a lost node had."""
    return bool(placement_group_table(group)["state"] == "CREATED")


def _start(task: Task[Any], group: PlacementGroup, messages: Queue) -> Any:
    strategy = PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    own = group.bundle_specs[0]
    work = _work.options(
        name=task.name, max_retries=0, scheduling_strategy=strategy,
        num_cpus=own.get("CPU", 0.0), num_gpus=own.get("GPU", 0.0),
    )  # fmt: skip
    return work.remote(task.run, messages, os.getcwd())


@ray.remote
def _work(run: Callable[[Progress], Any], messages: Queue, folder: str) -> Any:
    with contextlib.suppress(OSError):  # another node may not have it
        os.chdir(folder)
    return run(TextProgress(messages.put_nowait))


def _ended(index: int, task: Any) -> Ended[Any]:
    try:
        return Ended(index, ray.get(task))
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        cause.__cause__ = error if cause is not error else None  # it shows where, in the worker
        return Ended(index, error=cause)
    except RayError as error:
        text = " ".join(str(error).split()).partition(". ")[0]
        return Ended(index, error=WorkerError(
            f"The worker process ended before its work did, killed or out of memory; Ray: {text}."
        ))  # fmt: skip


@contextmanager
def ray_session(cpus: int) -> Iterator[None]:
    """Start Ray, or join the running one; stop it at the end if it was started here.

    A local instance has so many CPUs.
    """
    # RLlib greets every new algorithm with a paragraph on its API.
    logging.getLogger("ray").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    with _own_sigterm():
        if address:
            # What workers print comes into the job's log: they are on other machines.
            ray.init(address=address, log_to_driver=True, logging_level="ERROR")
        else:
            start_local_ray(cpus)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the handler that the program has: Ray would put its own in its place."""
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(own) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, own)


@contextmanager
def joined_cluster() -> Iterator[int]:
    """Join the cluster at RAY_ADDRESS, if there is one, for `ray_session` within the block. Gives
    the CPUs for work: `usable_cpus`."""
    with ray_session(0) if os.environ.get("RAY_ADDRESS") else contextlib.nullcontext():
        yield usable_cpus()


def usable_cpus() -> int:
    """Return how many CPUs the Ray that was started or joined has; without one, how many of this
    machine this process may use."""
    if ray.is_initialized():
        return int(ray.cluster_resources().get("CPU", 1.0))
    return len(os.sched_getaffinity(0))


def start_local_ray(cpus: int) -> None:
    """Start Ray on loopback only, without a dashboard.

    It is tried twice: on a loaded machine Ray gives up after a fixed half minute.

    Raises:
        ConfigError: Ray would take jobs without a token, or listens beyond loopback.
        ClusterError: Ray does not start.
    """
    _require_token()
    for attempt in (1, 2):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
            )
            break
        except Exception as error:
            if attempt == 2:
                raise ClusterError(
                    f"Ray did not start twice ({' '.join(str(error).split())[:300]}); expected it "
                    "within half a minute. Try again when the machine has less to do, or look for "
                    "the cause in /tmp/ray/session_latest/logs."
                ) from error
            _log.warning("Ray did not start (%s); trying once more.", error)
            ray.shutdown()
    try:
        require_loopback()
    except ConfigError:
        ray.shutdown()
        raise


def _require_token() -> None:
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token" and os.environ.get(_OPEN) != "1":
        raise ConfigError(
            f"RAY_AUTH_MODE is {shown(mode)}: any user of this machine could run code in this "
            f"Ray; expected token, or nothing; unset it, or set {_OPEN}=1 if that is what you want."
        )
