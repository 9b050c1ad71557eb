"""Sealed folders kept where every node reaches them: s3://bucket/prefix, file:///shared, a path.

A folder (`evaluation.files.atomic_folder`) is stored file by file, SHA256SUMS last. An object store
can't rename a folder, but where that list is missing there is no folder: one that a kill, a full
storage or a lost network cut short is none. What is fetched is compared with the list, as on disks.

Credentials come from the environment alone, as AWS's own tools read it; AWS_ENDPOINT_URL names a
server other than AWS's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from envs.errors import ConfigError, StorageError
from envs.redact import redact
from evaluation.files.atomic_folder import (
    SUMS_FILE,
    file_hash,
    flush_directory,
    flush_file,
    make_folder,
    read_sums,
    write_file,
    write_folder,
)
from evaluation.files.sealed_json import parse_sealed, sealed_bytes

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_CHUNK = 1 << 22  # bytes
_SECONDS = 20.0  # without an answer, until a request is made again
_ATTEMPTS = 3
_LARGEST_RECORD = 64 * 2**20  # bytes
_EXPECTED = "expected s3://bucket/prefix, file:///folder or a path"


def is_uri(text: str) -> bool:
    """Whether it has a scheme, and so is no path."""
    return "://" in text


def is_damage(problem: StorageError) -> bool:
    """Whether what is stored is at fault, and not the way to it or the disk here: then asking again
    brings nothing else."""
    return not isinstance(problem.__cause__, OSError)


def open_storage(uri: str) -> Storage:
    """Return the place that a URI or a path names; nothing is asked there yet.

    Raises ConfigError for any other scheme, and for a URI with credentials or options in it.
    """
    from pyarrow import fs  # takes a while

    uri = uri if is_uri(uri) else os.path.abspath(uri)  # wherever it is asked from
    scheme, _, rest = uri.partition("://") if is_uri(uri) else ("file", "", uri)
    if scheme == "file" and rest.startswith("/"):
        return Storage(uri.rstrip("/"), fs.LocalFileSystem(), os.path.normpath(rest))
    if scheme != "s3" or not rest.strip("/"):
        raise ConfigError(f"storage {redact(uri)} can't be used; {_EXPECTED}.")
    if any(mark in rest for mark in "@?#"):
        raise ConfigError(
            f"storage {redact(uri).partition('?')[0]} has credentials or options in it; expected "
            "s3://bucket/prefix alone. Credentials come from the environment: AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL names the server."
        )
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    store = fs.S3FileSystem(
        endpoint_override=endpoint or None,
        connect_timeout=_SECONDS / 2,
        request_timeout=_SECONDS,
        allow_delayed_open=True,  # small objects in one request, not four
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
    return Storage(uri.rstrip("/"), store, rest.strip("/"))


@dataclass(frozen=True, eq=False)
class Storage:
    """A place in a storage: of a sealed folder, of folders, of records, or of plain files."""

    uri: str
    _fs: FileSystem
    _path: str

    def at(self, *names: str) -> Storage:
        """Return the place of that name in this one."""
        below = "/".join(names)
        return replace(self, uri=f"{self.uri}/{below}", _path=f"{self._path}/{below}")

    def put(self, folder: Path, progress: Callable[[], object] = lambda: None) -> None:
        """Store a sealed folder here, where nothing is; it is there when this returns.

        progress: called after each piece. Raises StorageError where the storage refuses, and where
        a file is not what the list says; then there is no folder here.
        """
        listed = folder / SUMS_FILE
        sums = read_sums(listed, StorageError)
        made = {Path(self._path, name).parent for name in (*sums, SUMS_FILE)}
        with self._told("store"):
            try:
                self._on_disk(made, make_folder)
                for name, wanted in sums.items():
                    if self._copy_in(folder / name, name, progress) != wanted:
                        raise StorageError(
                            f"File '{folder / name}' is not what {SUMS_FILE} says; not stored."
                        )
                self._on_disk(made, flush_directory)
                self._copy_in(listed, SUMS_FILE, progress)
                self._on_disk({Path(self._path)}, flush_directory)
            except Exception:
                with contextlib.suppress(Exception):  # a full storage needs the room
                    self._clear()
                raise

    def fetch(self, folder: Path) -> None:
        """Make `folder` here from the one that is stored, verified, all or nothing.

        Raises StorageError where there is none, or a file is missing, too many or damaged.
        """

        def fill(temporary: Path) -> None:
            with self._told("fetch"):
                present = set(self._names())
                if SUMS_FILE not in present:
                    raise StorageError(f"There is no folder at {self.uri}. Check the address.")
                self._copy_out(SUMS_FILE, temporary / SUMS_FILE)
                sums = read_sums(temporary / SUMS_FILE, StorageError)
                for name in sorted({*sums, SUMS_FILE} ^ present):
                    state = "is missing" if name in sums else f"is not listed in {SUMS_FILE}"
                    raise StorageError(f"File '{self.uri}/{name}' {state}.")
                for name in sums:
                    if ".." in PurePosixPath(name).parts or name.startswith("/"):
                        raise StorageError(f"File '{self.uri}/{name}' has no usable name.")
                    self._copy_out(name, temporary / name)

        write_folder(folder, fill, sealed=True, error=StorageError)

    def put_file(self, source: Path, name: str) -> None:
        """Store one file in one step: what was there stays until all of it is."""
        with self._told("store"):
            content = source.read_bytes()
            if self._is_disk:
                make_folder(Path(self._path))
                write_file(Path(self._path, name), content)
                return
            with self._fs.open_output_stream(f"{self._path}/{name}") as stream:
                stream.write(content)

    def fetch_file(self, name: str, target: Path) -> str:
        """Copy one file to this machine; returns its SHA-256. Raises StorageError, as where there
        is none."""
        with self._told(f"fetch {name}"):
            self._copy_out(name, target)
        return file_hash(target, StorageError)

    def file_hash(self, name: str) -> str | None:
        """Return the SHA-256 of one file; None where there is none."""
        digest = hashlib.sha256()
        with self._told(f"read {name}"):
            try:
                with self._fs.open_input_stream(f"{self._path}/{name}") as stream:
                    while chunk := stream.read(_CHUNK):
                        digest.update(chunk)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def files(self) -> list[str]:
        """Return the names of all files below, sorted."""
        with self._told("list"):
            return sorted(self._names())

    def folders(self) -> list[str]:
        """Return the names of the whole folders below, sorted."""
        end = f"/{SUMS_FILE}"
        return sorted(name.removesuffix(end) for name in self.files() if name.endswith(end))

    def remove(self) -> None:
        """Remove the folder that is here, its list first."""
        with self._told("remove"):
            self._delete(SUMS_FILE)
            self._clear()

    def write(self, name: str, plain: Mapping[str, Any]) -> None:
        """Store a small record, sealed, in one step."""
        with self._told("store"):
            if self._is_disk:
                make_folder(Path(self._path))
                write_file(Path(self._path, name), sealed_bytes(plain))
                return
            with self._fs.open_output_stream(f"{self._path}/{name}") as stream:
                stream.write(sealed_bytes(plain))

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a record; None where there is none. Raises StorageError where it is damaged."""
        with self._told("read"):
            content = self._read(name)
            try:
                return None if content is None else parse_sealed(content)
            except ValueError as problem:
                raise StorageError(f"'{self.uri}/{name}' can't be read: {problem}.") from problem

    def erase(self, name: str) -> None:
        """Remove a record."""
        with self._told("remove"):
            self._delete(name)

    @property
    def _is_disk(self) -> bool:
        return bool(self._fs.type_name == "local")

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as problem:
            lines = str(problem).splitlines() or [type(problem).__name__]
            raise StorageError(
                f"Storage {self.uri}: can't {what} ({redact(lines[0])[:300]}). Check that it can "
                "be reached, has room, and lets these credentials read and write."
            ) from problem

    def _names(self) -> list[str]:
        """Of all files below, relative."""
        from pyarrow import fs

        selector = fs.FileSelector(self._path, recursive=True, allow_not_found=True)
        found = self._fs.get_file_info(selector)
        return [info.path[len(self._path) + 1 :] for info in found if info.type is fs.FileType.File]

    def _read(self, name: str) -> bytes | None:
        """Return a small object's bytes; None where there is none."""
        try:
            with self._fs.open_input_file(f"{self._path}/{name}") as file:
                if file.size() > _LARGEST_RECORD:
                    raise StorageError(f"'{self.uri}/{name}' has {file.size()} bytes: too many.")
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def _copy_in(self, source: Path, name: str, progress: Callable[[], object]) -> str:
        """Store one file; returns the SHA-256 of what was read."""
        target, digest = f"{self._path}/{name}", hashlib.sha256()
        with source.open("rb") as file, self._fs.open_output_stream(target) as stream:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                stream.write(chunk)
                progress()
        self._on_disk({Path(target)}, flush_file)
        return digest.hexdigest()

    def _copy_out(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._fs.open_input_stream(f"{self._path}/{name}") as stream,
            target.open("wb") as file,
        ):
            while chunk := stream.read(_CHUNK):
                file.write(chunk)

    def _on_disk(self, paths: set[Path], do: Callable[[Path], None]) -> None:
        """An object store has no folders, and keeps what it has taken."""
        for path in sorted(paths if self._is_disk else ()):
            do(path)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._path}/{name}")

    def _clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_dir(self._path)
