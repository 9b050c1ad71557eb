"""A PostgreSQL server on loopback, of a test alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def _program(name: str) -> str:
    """Find a program of the server, which Debian keeps off the path; install it if need be."""

    def found() -> str | None:
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(places[-1]) if places else shutil.which(name)

    if found() is None:
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(["apt-get", "install", "--yes", "postgresql"], check=True)
    program = found()
    if program is None:
        raise RuntimeError(f"PostgreSQL's {name} is missing; install Debian's postgresql.")
    return program


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the address of an empty database, which is gone afterwards."""
    _program("initdb")  # makes the user, where it has to be installed
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="postgres_"))  # pytest's are of their owner alone
    if user:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [_program(name), "-D", data, *arguments], user=user, check=True,
            stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip

    run("initdb", "--username=ann", "--auth=trust")
    run("pg_ctl", "start", "-w", "-t", "300", "-l", f"{folder}/log", "-o", options)
    try:
        yield f"postgresql+pg8000://ann@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "-w", "-m", "immediate")
        shutil.rmtree(folder)
