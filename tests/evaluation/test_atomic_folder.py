"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from envs.errors import CheckpointError, EchelonError
from evaluation.files.atomic_folder import (
    SUMS_FILE,
    read_folder,
    recover_folder,
    verify_folder,
    write_file,
    write_folder,
)


def fill(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "weights.bin").write_bytes(random.Random(0).randbytes(3000))
    (folder / "note.txt").write_text("hello")
    (folder / "empty").write_bytes(b"")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_folder(tmp_path / "folder", fill)
    return tmp_path / "folder"


def test_written_folder_verifies_by_hand_too(written: Path) -> None:
    """With sha256sum, which knows nothing of us."""
    verify_folder(written)
    subprocess.run(["sha256sum", "--strict", "-c", SUMS_FILE], cwd=written, check=True)


def test_every_flipped_bit_is_found(written: Path) -> None:
    """In any file, the list of hashes included; the message names a file."""
    chance = random.Random(1)
    files = [path for path in written.rglob("*") if path.is_file() and path.stat().st_size]
    for path in files:
        good = path.read_bytes()
        every = range(8 * len(good))
        for bit in every if path.name == SUMS_FILE else chance.sample(every, 40):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            with pytest.raises(CheckpointError, match="File '"):
                verify_folder(written, error=CheckpointError)
        path.write_bytes(good)
    verify_folder(written)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda f: (f / "note.txt").unlink(), "note.txt' is missing"),
        (lambda f: (f / "extra.pkl").write_bytes(b"x"), "extra.pkl' is not listed"),
        (lambda f: (f / "inner" / "weights.bin").write_bytes(b""), "weights.bin' is damaged"),
        (lambda f: (f / SUMS_FILE).unlink(), "SHA256SUMS' can't be read"),
        (lambda f: (f / "link").symlink_to("/etc/passwd"), "neither a file nor a folder"),
        (lambda f: os.rename(f, f.with_name("elsewhere")), "does not exist"),
    ],
    ids=["missing", "extra", "emptied", "no list", "link", "no folder"],
)
def test_harm_is_named(written: Path, harm: object, named: str) -> None:
    """The message says which file and what is wrong with it."""
    assert callable(harm)
    harm(written)
    with pytest.raises(EchelonError, match=named):
        verify_folder(written)


def test_failed_write_leaves_the_previous_folder(written: Path) -> None:
    """What fill raises passes through; nothing of the new folder stays."""

    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        write_folder(written, fail, replace=True)
    verify_folder(written)
    assert os.listdir(written.parent) == ["folder"]


def test_refusing_disk_leaves_the_previous_folder(tmp_path: Path) -> None:
    """The file-size limit stands for a full disk: the write fails half-way in the kernel."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from evaluation.files.atomic_folder import write_folder\n"
        "folder = Path(sys.argv[1])\n"
        "write_folder(folder, lambda f: (f / 'data').write_bytes(b'good'))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "write_folder(folder, lambda f: (f / 'data').write_bytes(b'x' * 20000), replace=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "folder")], capture_output=True, text=True
    )
    assert "could not be written" in done.stderr
    assert "check free space" in done.stderr
    verify_folder(tmp_path / "folder")
    assert (tmp_path / "folder" / "data").read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["folder"]


def test_existing_folder_is_replaced_only_on_request(written: Path) -> None:
    """A second export to the same place is a mistake unless asked for."""
    with pytest.raises(EchelonError, match="exists already"):
        write_folder(written, fill)
    write_folder(written, lambda folder: (folder / "new").write_text("n"), replace=True)
    assert sorted(os.listdir(written)) == [SUMS_FILE, "new"]
    verify_folder(written)


def test_leftovers_of_a_kill_are_cleared(written: Path) -> None:
    """Half-filled folders go; a folder moved aside by a cut replacement comes back."""
    (written.parent / ".folder.tmp-1234").mkdir()
    os.rename(written, written.parent / ".folder.old-1234")
    recover_folder(written)
    assert os.listdir(written.parent) == ["folder"]
    verify_folder(written)


def test_folder_being_filled_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    """A reader that clears leftovers while another process writes must not disturb it."""

    def slow(folder: Path) -> None:
        fill(folder)
        code = "import sys; from pathlib import Path\n"
        code += "from evaluation.files.atomic_folder import recover_folder\n"
        code += "recover_folder(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "folder")], check=True)

    write_folder(tmp_path / "folder", slow)
    verify_folder(tmp_path / "folder")


def test_read_folder_opens_no_other_file(written: Path) -> None:
    """A file beyond those asked for is refused, listed in the hashes or not."""
    names = frozenset({"note.txt", "empty", "inner/weights.bin"})
    assert read_folder(written, names)["note.txt"] == b"hello"
    with pytest.raises(EchelonError, match="does not belong here and was not opened"):
        read_folder(written, names - {"empty"})
    with pytest.raises(EchelonError, match="is missing"):
        read_folder(written, names | {"more"})


def test_write_file_replaces_in_one_step(tmp_path: Path) -> None:
    """And leaves no temporary file."""
    write_file(tmp_path / "best.json", b"1")
    write_file(tmp_path / "best.json", b"2")
    assert (tmp_path / "best.json").read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["best.json"]
