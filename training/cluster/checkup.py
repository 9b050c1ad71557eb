"""What can be wrong before a long job: on this machine, or on every node of a cluster."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from envs.errors import EchelonError
from envs.redact import redact
from evaluation.files.storage import open_storage
from evaluation.tracking.config import TrackingConfig

# What has to be of one version everywhere; the distribution by its name.
_VERSIONS = {name: name for name in ("ray", "torch", "mlflow", "numpy", "numba")}
_VERSIONS["echelon"] = "echelon-rl"
_LEAST_MEMORY, _LEAST_DISK = 1.0, 2.0  # GiB: less can't hold a worker, logs and spilled objects
_GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup")

Facts = Mapping[str, Any]  # of a node, as `node_facts` returns them


@dataclass(frozen=True)
class Finding:
    """What one look showed."""

    node: str
    what: str
    found: str
    is_wrong: bool = False
    advice: str = ""  # what to do; also where nothing is wrong, but something costs time


def node_facts(storage: str | None) -> dict[str, Any]:
    """Look at the machine on which this runs; plain data, so that any node can send it."""
    import torch  # takes seconds

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    versions = {name: _version(of) for name, of in _VERSIONS.items()}
    return {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version(), **versions},
        "cores": len(os.sched_getaffinity(0)),
        "memory": _free_memory() / _GIB,
        "disk": shutil.disk_usage(tempfile.gettempdir()).free / _GIB,
        "gpus": gpus,
        "kernels": compiled_kernels(),
        "storage": None if storage is None else storage_error(storage),
    }


def _free_memory() -> float:
    """[bytes] What the machine has, or the container where that is less."""
    free = float(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit: "max"
        limit, used = (
            int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        free = min(free, float(limit - used))
    return free


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def compiled_kernels() -> tuple[int, int]:
    """Return how many of a period's kernels have machine code for this processor on the disk, and
    how many there are."""
    from envs.observation import pairs, slopes
    from envs.simulation import reverse, simulator

    kernels = [
        pairs.write_observation, slopes.reverse_observation, simulator._open_period,
        simulator._close_period, reverse._reverse_open, reverse._reverse_close,
    ]  # fmt: skip
    return sum(map(_is_on_disk, kernels)), len(kernels)


def _is_on_disk(kernel: Any) -> bool:
    """Whether Numba's index, which is private, lists code for this processor."""
    if not hasattr(kernel, "_cache"):  # the compiler is off
        return True
    processor = kernel.targetctx.codegen().magic_tuple()
    return any(key[1] == processor for key in kernel._cache._cache_file._load_index())


def storage_error(storage: str) -> str:
    """Write, read and delete a record in a storage; '' where all of it works."""
    name, record = f"doctor_{uuid.uuid4().hex}.json", {"echelon": "doctor"}
    try:
        place = open_storage(storage)
        place.write(name, record)
        read = place.read(name)
        place.erase(name)
    except EchelonError as error:
        return str(error)
    return "" if read == record else "what was read isn't what was written"


def tracking_finding(config: TrackingConfig) -> Finding:
    """Ask the tracking server for its experiments, from here."""
    where = redact(config.uri)
    if not config.enabled:
        return Finding("here", "tracking", "off")
    from evaluation.tracking.mlflow_destination import reach

    try:
        reach(config)
    except Exception as error:  # whatever MLflow, requests or a database raise
        text = redact(" ".join(str(error).split())[:200])
        return Finding(
            "here", "tracking", f"{where}: {text}", True,
            "start the server, or set tracking.uri, MLFLOW_TRACKING_USERNAME and _PASSWORD",
        )  # fmt: skip
    return Finding("here", "tracking", f"{where} answers")


def findings(nodes: Sequence[Facts], device: str, storage: str | None) -> Iterator[Finding]:
    """Judge the nodes, the first of which is this process's own.

    device: cuda where a GPU is expected on some node.
    """
    for facts in nodes:
        node = str(facts["node"])
        if error := facts.get("error"):
            advice = "install echelon there in the same environment, or remove the node"
            yield Finding(node, "answer", str(error), True, advice)
            continue
        yield from _version_findings(node, facts["versions"], nodes[0]["versions"])
        yield _at_least(node, "memory", facts["memory"], _LEAST_MEMORY,
                        "end what takes it, or take a larger node")  # fmt: skip
        yield _at_least(node, "disk", facts["disk"], _LEAST_DISK,
                        "free the folder for temporary files, or set TMPDIR")  # fmt: skip
        yield _cores(node, facts)
        ready, all_kernels = facts["kernels"]
        yield Finding(
            node, "kernels", f"{ready} of {all_kernels} compiled",
            advice="" if ready == all_kernels else "the first job compiles them: some minutes",
        )  # fmt: skip
        if storage is not None:
            error = facts["storage"]
            yield Finding(
                node, "storage", f"{redact(storage)}: {error or 'written and read'}", bool(error),
                "" if not error else "mount it, or give the node its credentials",
            )  # fmt: skip
    gpus = [gpu for facts in nodes for gpu in facts.get("gpus", ())]
    missing = device == "cuda" and not gpus
    yield Finding(
        "all", "GPU", ", ".join(sorted({f"{gpus.count(g)} x {g}" for g in gpus})) or "none",
        missing, "add a node with one, or set resources.device=cpu" * missing,
    )  # fmt: skip


def _version_findings(
    node: str, own: Mapping[str, str], wanted: Mapping[str, str]
) -> list[Finding]:
    words = ", ".join(f"{name} {version}" for name, version in own.items())
    other = [f"{name} {wanted[name]}" for name in wanted if own.get(name) != wanted[name]]
    if not other:
        return [Finding(node, "versions", words)]
    return [Finding(node, "versions", words, True, f"install {', '.join(other)}, as here")]


def _at_least(node: str, what: str, got: float, least: float, advice: str) -> Finding:
    is_wrong = got < least
    return Finding(node, what, f"{got:.1f} GiB free", is_wrong, advice * is_wrong)


def _cores(node: str, facts: Facts) -> Finding:
    cpus, cores = facts.get("cpus"), facts["cores"]
    if cpus is None:
        return Finding(node, "cores", f"{cores}")
    advice = "Ray counts more CPUs than there are: workers share cores" if cpus > cores else ""
    return Finding(node, "cores", f"{cores}, {cpus:g} CPUs of Ray", advice=advice)


def facts_of_nodes(storage: str | None, seconds: float) -> list[dict[str, Any]]:
    """Look at every node of the Ray that was joined; one that fails has an `error`.

    seconds: until a node that is silent is given up.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(node_facts)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(storage): node
        for node in nodes
    }
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    answers = []
    for answer, node in asked.items():
        facts: dict[str, Any] = {"error": f"no answer within {seconds:g} s"}
        if answer in ready:
            try:
                facts = ray.get(answer)
            except (ray.exceptions.RayError, EchelonError, ImportError) as error:
                facts = {"error": " ".join(str(error).split())[-200:]}
        cpus = node["Resources"].get("CPU", 0.0)
        answers.append({**facts, "node": node["NodeManagerAddress"], "cpus": cpus})
    return answers
