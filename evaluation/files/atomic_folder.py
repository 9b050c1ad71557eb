"""Folders that are there whole, or not at all.

Writing: fill a temporary sibling, write ``SHA256SUMS`` last, flush every file and directory to
the disk, rename. A crash, a full disk or a kill at any moment leaves the previous folder as it
was, and a temporary sibling that the next write clears away. When ``write_folder`` has returned,
the folder survives the loss of the process and of the machine's power.

Reading: every file must be listed and every listed file must be there with its SHA-256. The list
itself is read strictly (fixed form, lower-case hexadecimals), so that a flipped bit in it is
found too. It has the form of ``sha256sum``: ``sha256sum -c SHA256SUMS`` checks it by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from envs.errors import EchelonError

SUMS_FILE = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f]+)")
_CHUNK = 1 << 20  # bytes


def write_folder(
    folder: Path,
    fill: Callable[[Path], object],
    *,
    replace: bool = False,
    sealed: bool = False,
    error: type[EchelonError] = EchelonError,
) -> None:
    """Make ``folder`` from what ``fill(temporary_folder)`` writes; all or nothing.

    sealed: ``fill`` leaves a copy of a sealed folder, which is verified, not sealed anew.

    One writer at a time for one ``folder``. With ``replace`` an existing folder gives way, and
    stays until the new one is complete. Raises ``error`` when the disk refuses (full, read-only);
    whatever ``fill`` raises passes through. Either way the previous folder is untouched.
    """
    folder = Path(os.path.abspath(folder))
    try:
        make_folder(folder.parent)
        recover_folder(folder)
        if folder.exists() and not replace:
            raise error(
                f"Folder '{folder}' exists already; expected a new name. "
                "Choose another folder or remove this one."
            )
        with _temporary_sibling(folder) as temporary:
            fill(temporary)
            if sealed:
                verify_folder(temporary, error=error)
            else:
                _seal(temporary, error)
            _flush(temporary)
            _move_into_place(temporary, folder)
    except OSError as problem:
        raise error(
            f"Folder '{folder}' could not be written: {problem}. The previous one is untouched; "
            "check free space and permissions, then try again (a run goes on with resume=FOLDER)."
        ) from problem


def verify_folder(folder: Path, *, error: type[EchelonError] = EchelonError) -> None:
    """Raise ``error``, naming the first bad file, unless the folder is exactly as written."""
    for name, wanted in _listed(folder, error).items():
        _compare(folder, name, wanted, file_hash(folder / name, error), error)


def read_folder(
    folder: Path, names: frozenset[str], *, error: type[EchelonError] = EchelonError
) -> dict[str, bytes]:
    """Return the content of each file, verified, for folders that hold exactly ``names``.

    The bytes returned are the bytes that were hashed: nothing can change in between. A folder
    with any other file in it (a pickle, say) is refused before that file is opened.
    """
    wanted = _listed(folder, error, allowed=names)
    content = {}
    for name in wanted:
        try:
            content[name] = (folder / name).read_bytes()
        except OSError as problem:
            raise error(f"File '{folder / name}' can't be read: {problem}.") from problem
        _compare(folder, name, wanted[name], hashlib.sha256(content[name]).hexdigest(), error)
    return content


def recover_folder(folder: Path) -> None:
    """Clear leftovers of killed writes; put back a folder whose replacement was cut short."""
    folder = Path(os.path.abspath(folder))
    if not folder.parent.is_dir():
        return
    for leftover in sorted(folder.parent.glob(f".{folder.name}.old-*")):
        with contextlib.suppress(OSError), _directory_lock(leftover):
            if folder.exists():
                shutil.rmtree(leftover, ignore_errors=True)
            else:  # killed between the two renames of a replacement: the old one is still whole
                os.rename(leftover, folder)
                flush_directory(folder.parent)
    for leftover in folder.parent.glob(f".{folder.name}.tmp-*"):
        with contextlib.suppress(OSError), _directory_lock(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Replace one small file in one step, on the disk when this returns."""
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_directory(path.parent)


@contextlib.contextmanager
def _temporary_sibling(folder: Path) -> Iterator[Path]:
    temporary = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        # The lock ends with its process, so that the next writer can distinguish a leftover
        # from a folder that is being filled.
        with _directory_lock(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _directory_lock(directory: Path) -> Iterator[None]:
    """Hold the exclusive lock of a directory; BlockingIOError where another process has it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _seal(folder: Path, error: type[EchelonError]) -> None:
    """Write the list of hashes."""
    lines = []
    for name, path in sorted(_files(folder, error)):
        if _LINE.fullmatch(f"{'0' * 64}  {name}") is None or name == SUMS_FILE:
            raise error(f"File '{name}' in '{folder}': the name can't be listed. Rename it.")
        lines.append(f"{file_hash(path, error)}  {name}\n")
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def _flush(folder: Path) -> None:
    """Flush every file, then the directories."""
    for directory, _, names in os.walk(folder):
        for name in names:
            flush_file(Path(directory, name))
    for directory, _, _ in os.walk(folder):
        flush_directory(Path(directory))


def _move_into_place(temporary: Path, folder: Path) -> None:
    if folder.exists():  # rename can't replace a folder that has files: see recover_folder
        aside = folder.with_name(f".{folder.name}.old-{secrets.token_hex(4)}")
        with _directory_lock(folder):
            os.rename(folder, aside)
            os.rename(temporary, folder)
            flush_directory(folder.parent)
            shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(temporary, folder)
        flush_directory(folder.parent)


def _listed(
    folder: Path, error: type[EchelonError], allowed: frozenset[str] | None = None
) -> dict[str, str]:
    """Return {file name: SHA-256} after comparing the names with what lies in the folder."""
    recover_folder(folder)
    if not folder.is_dir():
        raise error(f"Folder '{folder}' does not exist. Check the path.")
    present = {name for name, _ in _files(folder, error)} - {SUMS_FILE}
    sums = read_sums(folder / SUMS_FILE, error)
    for name in sorted(present ^ set(sums)):
        state = "is missing" if name in sums else f"is not listed in {SUMS_FILE}"
        raise error(
            f"File '{folder / name}' {state}; expected exactly the files that were written. "
            "Use another copy of the folder."
        )
    if allowed is not None and present != allowed:
        name = min(present ^ allowed)
        state = "is missing" if name in allowed else "does not belong here and was not opened"
        raise error(
            f"File '{folder / name}' {state}; expected exactly: {', '.join(sorted(allowed))}. "
            "Use another copy of the folder."
        )
    return sums


def read_sums(path: Path, error: type[EchelonError] = EchelonError) -> dict[str, str]:
    """Return {file name: SHA-256} of a list that ``write_folder`` wrote. Raises ``error``."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise error(f"File '{path}' can't be read: {problem}. Use another copy.") from problem
    if text and not text.endswith("\n"):
        raise error(f"File '{path}' ends in the middle of a line. Use another copy.")
    sums: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums:
            raise error(
                f"File '{path}', line {number} is damaged; expected "
                "'<64 lower-case hexadecimals>  <file name>', once per file. Use another copy."
            )
        sums[match[2]] = match[1]
    return sums


def _compare(folder: Path, name: str, wanted: str, got: str, error: type[EchelonError]) -> None:
    if got != wanted:
        raise error(
            f"File '{folder / name}' is damaged: its SHA-256 is {got[:12]}..., {SUMS_FILE} says "
            f"{wanted[:12]}.... Use another copy of the folder."
        )


def _files(folder: Path, error: type[EchelonError]) -> Iterator[tuple[str, Path]]:
    """Yield (name relative to the folder, path); refuse links, which could point anywhere."""
    for directory, subdirectories, names in os.walk(folder):
        for name in [*subdirectories, *names]:
            path = Path(directory, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise error(f"'{path}' is neither a file nor a folder. Remove it.")
        for name in names:
            path = Path(directory, name)
            yield path.relative_to(folder).as_posix(), path


def file_hash(path: Path, error: type[EchelonError] = EchelonError) -> str:
    """Return a file's SHA-256. Raises `error` where it can't be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as problem:
        raise error(f"File '{path}' can't be read: {problem}. Use another copy.") from problem
    return digest.hexdigest()


def flush_file(path: Path) -> None:
    """Return when the file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make it and what lacks above it; on the disk when this returns.

    All above it that is this user's is flushed: a process that was killed may have made it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for parent in Path(os.path.abspath(folder)).parents:
        if parent.stat().st_uid != os.getuid():
            break
        flush_directory(parent)


def flush_directory(path: Path) -> None:
    """Return when the names in it are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
