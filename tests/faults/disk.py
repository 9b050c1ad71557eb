"""A disk that forgets what was not flushed, fills up, refuses, and takes its time.

Files lie in a real folder, which shows what the operating system shows. Beside it stands what the
disk is bound to have: what was there when a file, or the names in a folder, were flushed last.
`Disk.lose_power` leaves that, and of what was done since: of each folder's names the first so many
changes, of each file any of its writes, whole, torn or as zeros.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from tests.faults.world import Process, World

Trouble = Literal["full", "read-only", "slow"]
_LONGEST_OPERATION = 20.0  # seconds, of a slow disk

# As they are: a disk stands in for them.
_open, _stat, _mkdir, _replace, _fsync = io.open, os.stat, os.mkdir, os.replace, os.fsync
_scandir, _listdir = os.scandir, os.listdir


class _Node:
    """A file or folder, as flushed; and the changes since."""

    def __init__(self, *, is_folder: bool) -> None:
        self.is_folder = is_folder
        self.content = b""
        self.names: dict[str, _Node] = {}
        self.changes: list[tuple[Any, ...]] = []

    def flush(self) -> None:
        for change in self.changes:
            self.apply(change)
        self.changes.clear()

    def apply(self, change: tuple[Any, ...]) -> None:
        match change:
            case "write", at, data:
                before = self.content.ljust(at, b"\0")
                self.content = before[:at] + data + before[at + len(data) :]
            case "truncate", size:
                self.content = self.content[:size].ljust(size, b"\0")
            case "add", name, node:
                self.names[name] = node
            case "remove", name:
                self.names.pop(name, None)
            case "move", old, new, node:
                self.names.pop(old, None)
                self.names[new] = node


class Disk:
    """All below the folder `root`, for the processes of a world. The observer sees it as it is.

    trouble: of every operation from now on; None: none.
    """

    def __init__(self, world: World, root: Path) -> None:
        self.root, self._inside = root, f"{root}/"
        self.trouble: Trouble | None = None
        self._world = world
        self._top = _Node(is_folder=True)
        self._nodes = {_stat(root).st_ino: self._top}

    @property
    def refuses(self) -> bool:
        """Whether nothing new can be written now."""
        return self.trouble in ("full", "read-only")

    def lose_power(self) -> None:
        """What was flushed is left, and chance decides of the rest; all processes are dead."""
        self._nodes.clear()
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._bring_back(self.root, self._top)

    def flip_a_bit(self, among: str = "*") -> Path | None:
        """In some file of such a name that is flushed; returns it, None where there is none."""
        files = [p for p in sorted(self.root.rglob(among)) if p.is_file() and _stat(p).st_size]
        files = [path for path in files if not self._node(path).changes]
        if not files:
            return None
        path = self._world.random.choice(files)
        content = bytearray(path.read_bytes())
        content[self._world.random.randrange(len(content))] ^= 1 << self._world.random.randrange(8)
        path.write_bytes(content)
        self._node(path).content = bytes(content)
        return path

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Processes of the world have it where the folder is."""
        own = {
            "rename": self._rename, "replace": self._rename, "mkdir": self._mkdir,
            "unlink": self._remove(os.unlink), "rmdir": self._remove(os.rmdir),
            "fsync": self._fsync, "scandir": lambda place: _Entries(_scandir(place)),
            "listdir": lambda place: sorted(_listdir(place)),
        }  # fmt: skip
        with contextlib.ExitStack() as stack:
            for name, function in own.items():
                function = self._for_processes(getattr(os, name), function)
                stack.enter_context(patch.object(os, name, function))
            opens = self._for_processes(io.open, self._open)
            stack.enter_context(patch.object(io, "open", opens))
            stack.enter_context(patch.object(builtins, "open", opens))
            stack.enter_context(patch.object(shutil, "_USE_CP_SENDFILE", False))
            yield

    def write(self, file: _File, data: bytes) -> int:
        """Of `_File.write`: returns how much of it."""
        self._operate("write", file.path)
        if self.trouble == "full":
            data = data[: self._world.random.randrange(len(data) + 1)]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        at = os.fstat(file.fileno()).st_size if "a" in file.mode else file.tell()
        io.FileIO.write(file, data)
        self._node(file.fileno()).changes.append(("write", at, data))
        return len(data)

    def truncate(self, file: _File, size: int) -> None:
        """Of `_File.truncate`."""
        self._operate("truncate", file.path)
        io.FileIO.truncate(file, size)
        self._node(file.fileno()).changes.append(("truncate", size))

    def _bring_back(self, path: Path, node: _Node) -> None:
        chance = self._world.random
        self._nodes[_stat(path).st_ino] = node
        changes = node.changes
        if node.is_folder:
            changes = changes[: chance.randint(0, len(changes))]
        for change in changes:
            if change[0] == "write":
                _, at, data = change
                fate = chance.choice(("kept", "kept", "torn", "zeros", "lost"))
                if fate == "lost":
                    continue
                if fate == "torn":
                    data = data[: chance.randint(0, len(data))]
                change = ("write", at, bytes(len(data)) if fate == "zeros" else data)
            node.apply(change)
        node.changes = []
        if not node.is_folder:
            path.write_bytes(node.content)
        for name, child in node.names.items():
            if child.is_folder:
                (path / name).mkdir()
            else:
                (path / name).touch()
            self._bring_back(path / name, child)

    def _node(self, place: str | Path | int) -> _Node:
        return self._nodes[_stat(place).st_ino]

    def _for_processes(self, original: Any, own: Any) -> Any:
        def call(place: Any, *args: Any, **options: Any) -> Any:
            if self._world.process is None:
                return original(place, *args, **options)
            if self._has(place, options.get("dir_fd")):
                return own(place, *args, **options)
            if original is not _fsync:  # of another disk: it takes long, and shows nothing
                return original(place, *args, **options)

        return call

    def _has(self, place: Any, folder: int | None) -> bool:
        if isinstance(place, int):
            return os.fstat(place).st_ino in self._nodes
        return _path(place, folder).startswith(self._inside)

    def _operate(self, what: str, path: str) -> None:
        """Raises OSError where the disk doesn't."""
        self._world.step(f"{what} {path.removeprefix(self._inside)}")
        problem = 0
        if self.trouble == "slow":
            self._world.wait(lambda: False, self._world.random.uniform(0.0, _LONGEST_OPERATION))
        elif self.trouble == "read-only":
            problem = errno.EROFS
        elif self.trouble == "full" and what in ("create", "mkdir"):
            problem = errno.ENOSPC
        if problem:
            raise OSError(problem, os.strerror(problem), path)

    def _open(
        self, place: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, **_: Any,
    ) -> Any:  # fmt: skip
        if mode in ("r", "rb", "rt"):
            return _open(place, mode, buffering, encoding, errors, newline)
        file = self._open_to_write(_path(place), mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return file
        buffered = io.BufferedWriter(file)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline)

    def _open_to_write(self, path: str, mode: str) -> _File:
        is_new = not os.path.exists(path)
        if is_new:
            self._operate("create", path)
        elif mode == "w":
            self._operate("empty", path)
        process = self._world.process
        assert process is not None
        file = _File(self, process, path, mode)
        if is_new:
            self._add(path, _Node(is_folder=False))
        elif mode == "w":
            self._node(path).changes.append(("truncate", 0))
        process.files.append(file)
        return file

    def _add(self, path: str, node: _Node) -> None:
        self._nodes[_stat(path).st_ino] = node
        folder, name = os.path.split(path)
        self._node(folder).changes.append(("add", name, node))

    def _mkdir(self, place: Any, mode: int = 0o777) -> None:
        path = _path(place)
        if not os.path.exists(path):  # else it fails as it does
            self._operate("mkdir", path)
        _mkdir(path, mode)
        self._add(path, _Node(is_folder=True))

    def _rename(self, place: Any, target: Any) -> None:
        old, new = _path(place), _path(target)
        folder, name = os.path.split(new)
        assert os.path.dirname(old) == folder, "a move between folders isn't simulated"
        self._operate("rename", old)
        _replace(old, new)
        change = ("move", os.path.basename(old), name, self._node(new))
        self._node(folder).changes.append(change)

    def _remove(self, original: Any) -> Any:
        def remove(place: Any, *, dir_fd: int | None = None) -> None:
            path = _path(place, dir_fd)
            self._operate("remove", path)
            original(path)
            folder, name = os.path.split(path)
            self._node(folder).changes.append(("remove", name))

        return remove

    def _fsync(self, descriptor: int) -> None:
        node = self._node(descriptor)
        self._operate("flush", _opened(descriptor))
        node.flush()


def _path(place: Any, folder: int | None = None) -> str:
    return os.path.join("." if folder is None else _opened(folder), place)


def _opened(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


class _File(io.FileIO):
    """An open file of a process."""

    def __init__(self, disk: Disk, process: Process, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk, self._process, self.path = disk, process, path

    def write(self, data: Any) -> int:
        if self._process.is_dead:  # what a buffer held is lost
            return len(data)
        return self._disk.write(self, bytes(data))

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        if not self._process.is_dead:
            self._disk.truncate(self, size)
        return size


class _Entries:
    """What `os.scandir` gives, by name: the order of a real folder differs by machine."""

    def __init__(self, entries: Any) -> None:
        with entries:
            self._entries = iter(sorted(entries, key=lambda entry: entry.name))

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass
