"""Plain values, as YAML and JSON hold them, to frozen types and back, by the types' annotations.

A part of a network is described once, by the fields of its dataclass: their names, types and
defaults. What people write in YAML (`envs.scenarios.explicit`) and what an artifact stores
(`evaluation.artifact.network_io`) are both read and written from those, so a new field needs no
code in either.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np

from envs.errors import ConfigError, EchelonError, did_you_mean

# metadata of a field that files of before don't have: it is left out where it has its default. So
# those files still load, and what hasn't got the new feature keeps its hash.
ADDED: Mapping[str, Any] = {"added": True}
_INFINITE = float("inf")
# What text is a number: plain decimals, so neither 1_000 nor other scripts' digits.
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def one_of(kinds: Mapping[str, type], always: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a field whose class is one of `kinds`, a frozen dataclass each.

    Its plain form stands under the name of its kind, beside the other fields; of a kind with one
    field, that field's value. always: what is written under names of kinds that aren't used.
    """
    return {"one_of": kinds, "always": always}


def to_plain(hint: Any, value: Any, forms: Mapping[type, Callable[[Any], Any]]) -> Any:
    """Return the value of type `hint` as dicts, lists, text and finite numbers.

    An infinite number (no limit) is None. forms: type -> how values of it are written instead.
    """
    if value is None:
        return None
    if hint in forms:
        return forms[hint](value)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # X | None
        return to_plain(_not_none(arguments), value, forms)
    if origin is Mapping:
        return plain_tree(value, "a value")
    if origin is tuple:
        return [to_plain(arguments[0], item, forms) for item in value]
    if is_dataclass(hint):
        hints = type_hints(hint)  # type: ignore[arg-type]
        plain: dict[str, Any] = {}
        for f in fields(hint):
            item = getattr(value, f.name)
            if kinds := f.metadata.get("one_of"):
                [name] = [name for name, kind in kinds.items() if kind is type(item)]
                written = to_plain(kinds[name], item, forms)
                [*first], alone = written.values(), len(fields(item)) == 1
                plain |= {**f.metadata["always"], name: first[0] if alone else written}
            elif not ("added" in f.metadata and item == f.default):
                plain[f.name] = to_plain(hints[f.name], item, forms)
        return plain
    if hint is float:
        return None if value == _INFINITE else float(value)
    return hint(value) if hint in (int, bool) else str(value)


def plain_tree(value: Any, where: str) -> Any:
    """Return nested mappings, lists and arrays as plain values.

    Raises ConfigError, naming `where`, for what JSON can't hold (NaN, infinity, objects).
    """
    if isinstance(value, Mapping):
        return {str(key): plain_tree(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain_tree(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and np.isfinite(value):
        return float(value)
    raise ConfigError(f"{where} is {value!r}; expected text or a finite number.")


@dataclass(frozen=True)
class Reader:
    """Reads plain values into the types that annotations ask for.

    Every mistake is a ConfigError of one line with the path of the value, such as
    `lanes.truck.lead_time`. A value that has its type already is taken as it is.

    complete: every field must be there, as in a file that a program wrote. Else what is left out
      has its default, and parts can be written as people like to: `{id: part}` for a list of them,
      a lone value for a part's second field (`{shop: store}` for a node of kind store); numbers and
      truth values may be text, as `conf.yaml_text` reads them.
    forms: type -> function (value, path) that returns the value spelled out, or the object itself.
    """

    complete: bool = False
    forms: Mapping[type, Callable[[Any, str], Any]] = field(default_factory=dict)

    def read(self, hint: Any, value: Any, where: str) -> Any:
        """Return the value as the type `hint`. Raises ConfigError naming `where`."""
        form, arguments = _form(hint)
        if form == "optional":
            return None if value is None else self.read(arguments[0], value, where)
        if not self.complete:
            value = _from_text(hint, value)
        if form == "float":
            if not _is_number(value):
                raise wrong(where, value, _WANTED[float])
            return float(value)
        if form == "part":
            return self.part(hint, value, where)
        if form == "tuple":
            return self._tuple(arguments, value, where)
        if form == "list":
            return list(self._tuple((*arguments, ...), value, where))
        if form == "mapping":
            if not isinstance(value, Mapping):
                raise wrong(where, value, _OBJECT)
            return {k: self.read(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
        if form == "enum":
            if value not in [member.value for member in hint]:
                raise wrong(where, value, " | ".join(hint))
            return hint(value)
        if hint is not Any and type(value) is not hint:
            raise wrong(where, value, _WANTED.get(hint, str(hint)))
        return value

    def part(
        self, cls: type[Any], value: Any, where: str, given: Mapping[str, Any] | None = None
    ) -> Any:
        """Return a mapping as a dataclass; `given`: fields that aren't read from it."""
        value = self.forms[cls](value, where) if cls in self.forms else value
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise wrong(where, value, _OBJECT)
        values, hints = dict(given or {}), type_hints(cls)  # type: ignore[arg-type]
        parts = _fields(cls)  # type: ignore[arg-type]
        must_know_keys(value, _keys(cls, values), where)
        for f in parts:
            if "one_of" in f.metadata and f.name not in values:
                values[f.name] = self._one_of(f.metadata["one_of"], value, where)
            elif f.name in value:
                path, item = f"{where}.{f.name}" if where else f.name, value[f.name]
                no_limit = f.default == _INFINITE
                if no_limit and (item is None or item in (_INFINITE, "inf", ".inf")):
                    values[f.name] = _INFINITE
                else:
                    values[f.name] = self.read(hints[f.name], item, path)
            elif f.name not in values:
                optional = f.default is not MISSING or f.default_factory is not MISSING
                if not optional or (self.complete and "added" not in f.metadata):
                    at = f" in {where}" if where else ""
                    raise ConfigError(
                        f"'{f.name}' is missing{at}; expected {_described(hints[f.name])}."
                    )
        try:
            return cls(**values)
        except EchelonError as error:
            # Parts that begin with their id say themselves which one is wrong.
            if not where or hints[parts[0].name] is str:
                raise
            raise type(error)(f"{where}: {error}") from error

    def _one_of(self, kinds: Mapping[str, type[Any]], value: Mapping[str, Any], where: str) -> Any:
        given = [name for name in kinds if value.get(name) not in (None, [], ())]
        if len(given) != 1:
            raise ConfigError(
                f"{where} has {' and '.join(given) or 'none'} of {', '.join(kinds)}; expected one."
            )
        [name] = given
        cls, path = kinds[name], f"{where}.{name}"
        parts, hints = _fields(cls), type_hints(cls)  # type: ignore[arg-type]
        if len(parts) != 1:
            return self.part(cls, value[name], path)
        return cls(self.read(hints[parts[0].name], value[name], path))

    def _tuple(self, arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
        hint = arguments[0]
        if isinstance(value, Mapping) and is_dataclass(hint) and not self.complete:
            assert isinstance(hint, type)
            return tuple(self._keyed(hint, key, v, f"{where}.{key}") for key, v in value.items())
        if not isinstance(value, list | tuple):
            raise wrong(where, value, "a list")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise wrong(where, value, f"{len(arguments)} values")
        if hint is float and all(map(_is_number, value)):
            return tuple(map(float, value))  # long lists: no path is spelled out
        return tuple(self.read(hint, item, f"{where}[{i}]") for i, item in enumerate(value))

    def _keyed(self, cls: type[Any], key: Any, value: Any, where: str) -> Any:
        """The key is the part's first field; a lone value its second."""
        if not isinstance(key, str):
            raise ConfigError(f"{where}: the name {key!r} isn't text; put it in quotes.")
        first, second, *more = [f.name for f in fields(cls)]
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or not more:
            value = {second: value}
        return self.part(cls, value, where, {first: key})


def must_know_keys(value: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    """Refuse a key that is none of the known ones. Raises ConfigError with the nearest."""
    for key in value:
        if key not in known:
            at = f" in {where}" if where else ""
            raise ConfigError(f"'{key}' is unknown{at}.{did_you_mean(str(key), known)}")


def wrong(where: str, value: Any, wanted: str) -> ConfigError:
    """Return the error that says where, what was got and what was wanted."""
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    number = isinstance(value, int | float) and wanted == _WANTED[str]  # bool too
    quotes = "; put it in quotes" if number else ""
    return ConfigError(f"{where} is {text}; expected {wanted}{quotes}.")


_OBJECT = "an object (name: value)"
_WANTED = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}


def untyped(value: Any) -> Any:
    """Return the value with text that is a number, a truth value or null as such; lists and
    mappings as well."""
    if isinstance(value, Mapping):
        return {key: untyped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [untyped(item) for item in value]
    if not isinstance(value, str):
        return value
    if _WHOLE.fullmatch(value) and (value == "0" or value.lstrip("-+")[0] != "0"):
        return int(value)
    if NUMBER.fullmatch(value) and not _WHOLE.fullmatch(value):
        return float(value)
    return {"true": True, "false": False, ".inf": _INFINITE}.get(value, value)


def _from_text(hint: Any, value: Any) -> Any:
    """The number or truth value that a text is, where one is wanted; else the value."""
    if hint is Any:
        return untyped(value)
    if not isinstance(value, str):
        return value
    if hint is float and NUMBER.fullmatch(value):
        return float(value)
    if hint is int and _WHOLE.fullmatch(value):
        return int(value)
    if hint is bool:
        return _TRUTH.get(value.lower(), value)
    return value


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def _described(hint: Any) -> str:
    if hint in _WANTED:
        return _WANTED[hint]
    return "a list" if typing.get_origin(hint) is tuple else _OBJECT


# What annotations say is looked up once: a network has many parts and few kinds of them.
@cache
def _form(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """What kind of hint it is, and its arguments."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # X | None
        return "optional", (_not_none(arguments),)
    if origin in (Mapping, dict):
        return "mapping", arguments
    if origin in (tuple, list):
        return origin.__name__, arguments
    if is_dataclass(hint):
        return "part", ()
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "enum", ()
    return ("float" if hint is float else "plain"), ()


@cache
def _fields(cls: Any) -> tuple[Field[Any], ...]:
    return fields(cls)


def _keys(cls: Any, given: Collection[str]) -> list[str]:
    """What the fields that aren't given can be under. Not cached: registries may grow."""
    parts = [f for f in _fields(cls) if f.name not in given]
    return [name for f in parts for name in f.metadata.get("one_of", (f.name,))]


@cache
def type_hints(cls: Any) -> dict[str, Any]:
    """Return the types of a class's fields, by name."""
    return typing.get_type_hints(cls)


def _not_none(arguments: tuple[Any, ...]) -> Any:
    [wanted] = [argument for argument in arguments if argument is not type(None)]
    return wanted
