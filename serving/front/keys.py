"""Who may call: API keys, of which only hashes are kept.

A line of the keys' text is `NAME ROLE[,ROLE...] SHA256`. `python -m serving.front.keys NAME ROLE`
makes one. A key is 32 random bytes, so that one round of SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envs.errors import ConfigError

# read: health, policies, metrics. recommend: orders. decide: a planner's decisions on lines.
# operate: promotion, rollback, classical only.
ROLES = ("read", "recommend", "decide", "operate")
KEYS, KEYS_FILE = "ECHELON_API_KEYS", "ECHELON_API_KEYS_FILE"  # in the environment
_RELOAD_SECONDS = 5.0
_LONGEST = 200  # characters of a key

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """Who it is, and what they may do; digest: SHA-256 of the key."""

    name: str
    roles: frozenset[str]
    digest: bytes


class Keys:
    """The keys of a text. Raises ConfigError, which names the line and never shows it."""

    def __init__(self, text: str, where: str = KEYS) -> None:
        self._keys: list[Key] = []
        for number, line in enumerate(re.split("[\n;]", text), 1):
            line = line.partition("#")[0].strip()
            if line:
                self._keys.append(_read_key(line, f"{where}, line {number}"))
        names = [key.name for key in self._keys]
        if len(set(names)) < len(names):
            raise ConfigError(f"{where} gives a name twice; expected one line for each.")
        if not self._keys:
            raise ConfigError(f"{where} holds no key; make one: python -m serving.front.keys NAME "
                              "recommend.")  # fmt: skip

    def find(self, presented: str) -> Key | None:
        """Return whose key it is. Takes equally long for every wrong one."""
        digest = hashlib.sha256(presented[:_LONGEST].encode()).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


class KeyFile:
    """Keys of a file that may change while it is used: a broken one leaves the old ones valid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked, self._stamp = time.monotonic(), _stamp(path)
        self._keys = Keys(_read(path), str(path))

    def find(self, presented: str) -> Key | None:
        """Return whose key it is, by the file of a few seconds ago."""
        if time.monotonic() - self._looked > _RELOAD_SECONDS:
            self._looked = time.monotonic()
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._keys = Keys(_read(self._path), str(self._path))
                except ConfigError as error:
                    _log.error("%s The keys of before are still valid.", error)
        return self._keys.find(presented)


def read_keys(environment: Mapping[str, str]) -> Keys | KeyFile | None:
    """Return the keys that the environment names; None: there are none. Raises ConfigError."""
    if path := environment.get(KEYS_FILE):
        return KeyFile(Path(path))
    text = environment.get(KEYS)
    return Keys(text) if text else None


def new_key(name: str, roles: str) -> tuple[str, str]:
    """Return a new key, and its line for the file. Raises ConfigError."""
    key = secrets.token_urlsafe(32)
    line = f"{name} {roles} {hashlib.sha256(key.encode()).hexdigest()}"
    _read_key(line, "the new key")
    return key, line


def _read_key(line: str, where: str) -> Key:
    match = re.fullmatch(r"([\w.@-]{1,64})\s+([a-z,]+)\s+([0-9a-f]{64})", line)
    if match is None:
        raise ConfigError(
            f"{where} is no key; expected NAME ROLE[,ROLE] SHA256, as python -m serving.front.keys "
            "prints it."
        )
    roles = frozenset(match[2].split(","))
    if unknown := sorted(roles - {*ROLES}):
        raise ConfigError(f"{where}: role {unknown[0]} is unknown; expected {', '.join(ROLES)}.")
    return Key(match[1], roles, bytes.fromhex(match[3]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:  # what a text of keys holds is never shown
        why = problem.strerror if isinstance(problem, OSError) else "it isn't UTF-8"
        raise ConfigError(
            f"the keys in '{path}' can't be read ({why}); expected a file with a line for each: "
            "python -m serving.front.keys NAME recommend makes one."
        ) from None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def main(arguments: list[str]) -> int:
    """Print a new key, which is kept nowhere, and the line that lets it in."""
    if len(arguments) != 2:
        print("usage: python -m serving.front.keys NAME ROLE[,ROLE...]", file=sys.stderr)
        return 2
    key, line = new_key(*arguments)
    print(f"The key, shown this once:\n{key}\nIts line for the file of {KEYS_FILE}:\n{line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
