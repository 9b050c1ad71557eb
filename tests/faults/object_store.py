"""Storages as pyarrow shows them: an object store behind a network, and a disk that is shared."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from pyarrow import fs

from tests.faults.world import Process, World

# What happens to a request, as in tests/faults/server.py; "late": the client has given up when it
# is done.
Fate = Literal["refused", "black hole", "500", "answer lost", "late", "slow", "done"]
FATES: tuple[tuple[Fate, ...], ...] = (
    ("done",), ("done",), ("done",), ("refused",), ("black hole",), ("500",),
    ("answer lost", "done"), ("late", "done"), ("slow",),
    ("done", "done", "done", "slow", "answer lost", "late", "500", "refused"),
)  # fmt: skip
_TIMEOUT, _LATEST = 20.0, 200.0  # seconds


class ObjectStore:
    """Objects by path, each there as a whole or not at all.

    fates: one of them is drawn for each request.
    """

    type_name = "s3"

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects: dict[str, bytes] = {}
        self.fates: tuple[Fate, ...] = ("done",)
        self._late: list[tuple[Process, Any]] = []

    def open_output_stream(self, path: str) -> _Upload:
        return _Upload(self, path)

    def open_input_file(self, path: str) -> _Download:
        return _Download(self._request(f"get {path}", lambda: self._object(path)))

    open_input_stream = open_input_file

    def get_file_info(self, selector: Any) -> list[Any]:
        below = f"{selector.base_dir}/"

        def listed() -> list[Any]:
            return [
                fs.FileInfo(path, fs.FileType.File)
                for path in self.objects
                if path.startswith(below)
            ]

        found: list[Any] = self._request(f"list {below}", listed)
        return found

    def delete_file(self, path: str) -> None:
        def delete() -> None:
            self._object(path)
            del self.objects[path]

        self._request(f"delete {path}", delete)

    def delete_dir(self, path: str) -> None:
        for info in self.get_file_info(fs.FileSelector(path, recursive=True)):
            self._request(f"delete {info.path}", lambda: self.objects.pop(info.path, None))  # noqa: B023

    def put(self, path: str, content: bytes) -> None:
        """Of `_Upload`."""
        self._request(f"put {path}", lambda: self.objects.__setitem__(path, content))

    def flip_a_bit(self) -> str:
        """In some object that isn't empty; returns its path, '' where there is none."""
        chance = self.world.random
        paths = [path for path, content in sorted(self.objects.items()) if content]
        if not paths:
            return ""
        path = chance.choice(paths)
        content = bytearray(self.objects[path])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        self.objects[path] = bytes(content)
        return path

    def settle(self) -> None:
        """Return when the last request that was late is done."""
        for process, actor in self._late:
            self.world.join(process, actor)

    def _object(self, path: str) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(errno.ENOENT, "no such object", path)
        return self.objects[path]

    def _request(self, what: str, action: Callable[[], Any]) -> Any:
        self.world.step(what)
        fate = self.world.random.choice(self.fates)
        if fate == "slow":
            self._pause(self.world.random.uniform(0.0, _TIMEOUT))
        if fate in ("black hole", "late"):
            if fate == "late":
                self._do_later(action)
            self._pause(_TIMEOUT)
        if fate not in ("done", "slow", "answer lost"):
            raise OSError(f"{what}: {fate}")
        answer = action()
        if fate == "answer lost":
            raise OSError(f"{what}: {fate}")
        return answer

    def _do_later(self, action: Callable[[], Any]) -> None:
        def do() -> None:
            self._pause(self.world.random.uniform(0.0, _LATEST))
            with contextlib.suppress(FileNotFoundError):
                action()

        process = Process("network")
        self._late.append((process, self.world.spawn(process, do)))

    def _pause(self, seconds: float) -> None:
        self.world.wait(lambda: False, seconds)


class _Upload:
    """What is written to a stream is an object when that is closed, after an error too."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        self._store, self._path, self._content = store, path, b""

    def write(self, data: bytes) -> None:
        self._content += data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.put(self._path, self._content)


class _Download:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def size(self) -> int:
        return len(self._content)

    def read(self, most: int | None = None) -> bytes:
        most = len(self._content) if most is None else most
        data, self._content = self._content[:most], self._content[most:]
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class SharedFiles:
    """Files of a disk (`tests.faults.disk`) that all machines have."""

    type_name = "local"

    def open_output_stream(self, path: str) -> Any:
        return open(path, "wb")

    def open_input_file(self, path: str) -> _Download:
        return _Download(Path(path).read_bytes())

    open_input_stream = open_input_file

    def get_file_info(self, selector: Any) -> list[Any]:
        return [
            fs.FileInfo(os.path.join(folder, name), fs.FileType.File)
            for folder, _, names in os.walk(selector.base_dir)
            for name in names
        ]

    def delete_file(self, path: str) -> None:
        os.unlink(path)

    def delete_dir(self, path: str) -> None:
        shutil.rmtree(path)
