"""YAML as users write it: bounded, and every scalar as it is written.

YAML would make 15 of an item 0017 and False of a country NO. Here a scalar is text, and the types
that it is read into (`envs.network.plain`) say where a number is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from envs.errors import ConfigError
from envs.network.plain import untyped

_MOST_BYTES = 8 * 2**20  # of a file: tens of thousands of lanes
_MOST_VALUES = 1_000_000  # aliases spelled out
_DEEPEST = 40  # mappings and lists in each other
_NULL = ("", "~", "null", "Null", "NULL")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of events only: it constructs nothing


def read_yaml(path: Path) -> Any:
    """Return a file's mappings, lists and text; null is None.

    Raises ConfigError for a file that is missing, too long, too deep, not UTF-8 or no YAML, and for
    a key that comes twice.
    """
    text = read_text(path)
    try:
        return parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from error


def read_text(path: Path) -> str:
    """Return a file's text. Raises ConfigError where it is missing, too long or not UTF-8."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise ConfigError(
                f"{path}: has {size / 2**20:.0f} MB; expected at most {_MOST_BYTES // 2**20} MB. "
                "Check that it is a network file."
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read as UTF-8 text ({error}).") from error


def parse_yaml(text: str, numbers: bool = False) -> Any:
    """Return the text's mappings, lists and scalars. Raises ConfigError with the line.

    numbers: scalars without quotes that are numbers or truth values are read as such.
    """
    try:
        return _Builder(numbers).value(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{line}no YAML: {problem}.") from error


class _Builder:
    """Builds values from events, so that nothing is built of what is too deep or too much."""

    def __init__(self, numbers: bool) -> None:
        self._numbers = numbers
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, how many values are in it
        self._built = 0

    def value(self, events: Iterator[Any]) -> Any:
        """Return the first document's value."""
        for event in events:
            if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                return self._value(events, event, 1)
        return None

    def _value(self, events: Iterator[Any], event: Any, depth: int) -> Any:
        before = self._built
        self._count(1, event)
        if isinstance(event, AliasEvent):
            if event.anchor not in self._anchors:
                raise _at(event, f"*{event.anchor} is not defined before")
            value, size = self._anchors[event.anchor]
            self._count(size, event)
            return value
        if depth > _DEEPEST:
            raise _at(event, f"values are nested deeper than {_DEEPEST}; expected a network")
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(events, depth)
        else:
            value = []
            while not isinstance(item := next(events), SequenceEndEvent):
                value.append(self._value(events, item, depth + 1))
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._built - before
        return value

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        inherited: dict[str, Any] = {}
        while not isinstance(key := next(events), MappingEndEvent):
            if not isinstance(key, ScalarEvent):
                raise _at(key, "a key is a list, a mapping or an alias; expected a name")
            if key.value in mapping:
                raise _at(key, f"'{key.value}' comes twice; expected each name once")
            value = self._value(events, next(events), depth + 1)
            if key.value == "<<" and key.implicit[0] and isinstance(value, dict):
                inherited = value
            else:
                mapping[key.value] = value
        return {**inherited, **mapping}

    def _scalar(self, event: ScalarEvent) -> Any:
        as_written = event.implicit[0]  # without quotes
        if as_written and event.value in _NULL:
            return None
        return untyped(event.value) if as_written and self._numbers else event.value

    def _count(self, values: int, event: Any) -> None:
        self._built += values
        if self._built > _MOST_VALUES:
            raise _at(event, f"more than {_MOST_VALUES} values, those of aliases included")


def _at(event: Any, problem: str) -> ConfigError:
    return ConfigError(f"line {event.start_mark.line + 1}: {problem}.")
