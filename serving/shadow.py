"""The challenger's answers to the champion's requests: written down, never returned.

One thread of its own, with a short queue: where it doesn't keep up, requests are left out, and the
next row says how many.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from envs.errors import EchelonError
from evaluation.recommendation.schemas import RecommendationRequest, RecommendationResponse
from serving.json_log import JsonLog
from serving.live import LivePolicy
from serving.source import Source

_WAITING = 4  # requests, whole: they can be large

_log = logging.getLogger(__name__)


class Shadow:
    """Asks the challenger of a model; there may be none yet."""

    def __init__(self, source: Source, folder: Path) -> None:
        """source: of the champion; folder: gets one file for each process."""
        self._source = replace(source, artifact="challenger", cache=None)
        name = f"{source.network}-{socket.gethostname()}-{os.getpid()}.jsonl"
        self._file = JsonLog(str(folder / name))
        self._asked: queue.Queue[tuple[RecommendationRequest, RecommendationResponse]] = (
            queue.Queue(_WAITING)
        )
        self._missed = 0
        self._challenger: LivePolicy | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._work, name="shadow", daemon=True).start()

    def ask(self, request: RecommendationRequest, answer: RecommendationResponse) -> None:
        """Let the challenger answer, later. answer: the champion's."""
        if request.policy != "champion" or answer.policy != "champion":
            return
        try:
            self._asked.put_nowait((request, answer))
        except queue.Full:
            self._missed += 1

    def stop(self) -> None:
        """End the thread after the request that it is at."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            self._look()
            seconds = self._source.poll_seconds
            try:
                while not self._stopped.is_set():
                    self._compare(*self._asked.get(timeout=seconds))
                    if self._asked.empty():
                        self._look()
            except queue.Empty:
                continue
            except Exception:  # the next request may be another
                _log.exception("The challenger failed at a request.")

    def _look(self) -> None:
        """Take the challenger of now."""
        if self._challenger is not None:
            self._challenger.poll()
            return
        try:
            self._challenger = LivePolicy(self._source)
        except EchelonError as error:  # none is registered, or it can't be served
            _log.info("No challenger of %s: %s", self._source.model, error)

    def _compare(self, request: RecommendationRequest, answer: RecommendationResponse) -> None:
        if self._challenger is None:
            return
        recommender = self._challenger.recommender
        if recommender.info.version == answer.model.version:
            return
        proposed = recommender.recommend(request)
        missed, self._missed = self._missed, 0
        lines: dict[str, dict[str, Any]] = {}
        for name, its in (("champion", answer), ("challenger", proposed)):
            for line in its.lines:
                row = lines.setdefault(line.lane, {"lane": line.lane, "classical": line.classical})
                row[name] = line.quantity
        self._file.write({
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "network": self._source.network,
            "request_id": request.request_id,
            "as_of": None if request.as_of is None else request.as_of.isoformat(),
            "champion": answer.model.version,
            "challenger": proposed.model.version,
            "fallback": proposed.fallback.used,
            "missed_before": missed,
            "request": json.loads(request.model_dump_json(by_alias=True, exclude_defaults=True)),
            "lines": list(lines.values()),
        })  # fmt: skip
