"""Jobs on a running Ray cluster, through Ray's job API."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from ray.dashboard.modules.job import sdk
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient
from rich.console import Console

from envs.errors import ClusterError
from evaluation.console import ConsoleProgress
from evaluation.progress import LINES, play_line

_DEFAULT = "http://127.0.0.1:8265"
# Seconds from SIGTERM to SIGKILL of a job that is stopped: Ray's 3 are too few for a checkpoint.
_STOP_WAIT = "60"
_RETRIES, _RETRY_WAIT = 30, 2.0  # of a connection that broke: a minute [s]
_STOPPED = 143  # what shells report for SIGTERM

Client = Any  # a JobSubmissionClient: Ray's types are skipped


def connect(address: str | None) -> Client:
    """Return a client of the cluster whose dashboard has this address; after `prepare_ray`.

    address: None for what RAY_API_SERVER_ADDRESS or RAY_ADDRESS say, else this machine's.
    Raises ClusterError.
    """
    if address is not None:  # it comes before what the environment says
        os.environ["RAY_API_SERVER_ADDRESS"] = address
    logging.getLogger(sdk.__name__).setLevel(logging.WARNING)  # it tells of every connection
    known = {"RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"} & os.environ.keys()
    with _cluster_errors():
        return JobSubmissionClient(address if known else _DEFAULT)


def send(client: Client, entrypoint: str, variables: Mapping[str, str], folder: Path | None) -> str:
    """Start a job and return its id.

    entrypoint: a shell command. variables: of its environment; Ray writes them into its logs.
    folder: sent with it, and its working directory. Raises ClusterError.
    """
    environment: dict[str, Any] = {
        "env_vars": {**variables, LINES: "1", "RAY_JOB_STOP_WAIT_TIME_S": _STOP_WAIT}
    }
    if folder is not None:
        environment["working_dir"] = str(folder)
    with _cluster_errors():
        job: str = client.submit_job(entrypoint=entrypoint, runtime_env=environment)
    return job


def follow(client: Client, job: str, console: Console) -> int:
    """Show a job's log and progress until it has ended, and return its exit code.

    Ctrl-C stops the job, which saves what it has first; a second one leaves it to itself. A
    connection that breaks is made again. Raises ClusterError where that fails for a minute.
    """
    with ConsoleProgress(console) as progress:
        log = _Log(client, job, progress)
        try:
            log.follow()
        except KeyboardInterrupt:
            console.print("Stopping the job; it may save a checkpoint. Ctrl-C leaves it alone.")
            with _cluster_errors():
                client.stop_job(job)
            log.follow()
            return 130
    with _cluster_errors():
        return _exit_code(client.get_job_info(job), console)


class _Log:
    """A job's log, as far as it was shown."""

    def __init__(self, client: Client, job: str, progress: ConsoleProgress) -> None:
        self._client, self._job, self._progress = client, job, progress
        self._shown, self._rest = 0, ""  # characters; a line that isn't complete

    def follow(self) -> None:
        """Show what comes until the job has ended."""
        failures = 0
        while True:
            before = self._shown
            try:
                asyncio.run(self._tail())
                if self._client.get_job_status(self._job).is_terminal():
                    break
            except (RuntimeError, OSError, aiohttp.ClientError) as error:
                failures = 1 if self._shown > before else failures + 1
                if failures > _RETRIES:
                    raise ClusterError(
                        f"the cluster doesn't answer any more ({error}); job {self._job} may still "
                        "run; expected an answer within a minute. See echelon status."
                    ) from error
            time.sleep(_RETRY_WAIT)
        self._show(self._rest)
        self._rest = ""

    async def _tail(self) -> None:
        seen = 0
        async for text in self._client.tail_job_logs(self._job):
            new = text[max(0, self._shown - seen) :]
            seen += len(text)
            self._shown = max(self._shown, seen)
            *lines, self._rest = (self._rest + new).split("\n")
            for line in lines:
                self._show(line)

    def _show(self, line: str) -> None:
        if line and not play_line(line, self._progress):
            kept = line.rstrip("\r").expandtabs()
            text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in kept)
            self._progress.console.print(text, highlight=False, soft_wrap=True)


def _exit_code(info: Any, console: Console) -> int:
    if info.driver_exit_code is not None:
        code = int(info.driver_exit_code)
        return code if code >= 0 else 128 - code  # by a signal, as shells report it
    if str(info.status.value) == "STOPPED":
        console.print("The job was stopped.")
        return _STOPPED
    console.print(f"The job {info.status.value.lower()}: {info.message}", highlight=False)
    return int(info.status.value != "SUCCEEDED")


def jobs_and_nodes(client: Client) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return the cluster's jobs, oldest first, and what its dashboard says of each node.

    A node: state, ip, name, head, cpu [%], memory [total, free: bytes], resources (in words).
    Raises ClusterError.
    """
    with _cluster_errors():
        jobs = [job for job in client.list_jobs() if job.submission_id is not None]
        answer = client._do_request("GET", "/nodes?view=summary")
        answer.raise_for_status()
        data = answer.json()["data"]
    words = data.get("nodeLogicalResources", {})
    nodes = []
    for node in data["summary"]:
        raylet = node.get("raylet", {})
        nodes.append({
            "state": raylet.get("state", "?"), "ip": node.get("ip", ""),
            "name": node.get("hostname", ""), "head": bool(raylet.get("isHeadNode")),
            "cpu": node.get("cpu"), "memory": node.get("mem", [0, 0])[:2],
            "resources": words.get(raylet.get("nodeId", ""), ""),
        })  # fmt: skip
    return sorted(jobs, key=lambda job: job.start_time or 0), nodes


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """Raise ClusterError for whatever Ray's client raises."""
    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            "the cluster wants its token; expected it in RAY_AUTH_TOKEN, or in a file that "
            "RAY_AUTH_TOKEN_PATH names; give it, and set RAY_AUTH_MODE=token."
        ) from error
    except (RuntimeError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:500]
        if "status code 401" in text or "status code 403" in text or "Unauthorized" in text:
            text += " (RAY_AUTH_TOKEN has to be the cluster's)"
        raise ClusterError(
            f"{text.rstrip('.') or type(error).__name__}; expected a Ray cluster whose dashboard "
            "answers. Start one, or give its address, such as address=http://127.0.0.1:8265."
        ) from error
