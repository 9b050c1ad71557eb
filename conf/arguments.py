"""Command-line arguments as users type them.

Hydra reads what its grammar can; text that it can't is quoted for it. Keys, lists and mappings with
other characters (`scenario.lanes.Zürich.lead_time=3`, `{sea (2): {}}`) are read here, as YAML.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import (
    DictConfig,
    FloatNode,
    IntegerNode,
    ListConfig,
    OmegaConf,
    StringNode,
    open_dict,
)

from conf.yaml_text import parse_yaml
from envs.errors import ConfigError, shown
from envs.network.plain import NUMBER

_AN_EXAMPLE = """'scenario.events={"strike #1": {lanes: ["sea (2)"], availability: 0}}'"""
_LONGEST, _DEEPEST = 100_000, 20  # characters of an argument; lists and mappings in each other
_ITEM = re.compile(r"(?:'[^']*'|\"[^\"]*\"|[^,])+")  # of a list without lists in it
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD = re.compile(r"[^\s,:\[\]{}]+")
_LIKE_A_NUMBER = re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?([eE][-+]?[\d_]+)?")  # in any digits


def overrides_of(arguments: Sequence[str], sweep: bool) -> list[str]:
    """Return overrides; text that Hydra's grammar can't read is taken as it is typed.

    `out=run (2)` becomes `out='run (2)'`, `policies=[a #1,b]` becomes `policies=['a #1',b]`.
    sweep: a comma parts the values of several runs; else it belongs to the text.
    Raises ConfigError for what isn't key=value, or can't be read in quotes either.
    """
    return [_override(argument, sweep) for argument in arguments]


@functools.lru_cache(maxsize=1024)  # a few ms each
def parsed(override: str) -> Override | None:
    """Return what Hydra reads; None where its grammar can't, or takes a name's @ for its own."""
    try:
        read = OverridesParser.create().parse_override(override)
    except HydraException:
        return None
    return read if read.package is None else None


def set_value(config: DictConfig, override: str) -> None:
    """Set `key=value`, or `+key=value` for a new key, as Hydra does; what it can't read as well.

    Raises Hydra's or OmegaConf's errors for a key that doesn't exist, or a value of another type.
    """
    if read := parsed(override):
        ConfigLoaderImpl._apply_overrides_to_config([read], config)
        return
    key, _, text = override.partition("=")
    values = _value(text)
    for part in reversed(key.lstrip("+").split(".")):
        values = {part: values}
    with open_dict(config) if key.startswith("+") else nullcontext():
        config.merge_with(values)


def keep_as_typed(config: DictConfig, overrides: Sequence[str]) -> None:
    """Set texts that Hydra read as numbers (`out=2024_01`, `name=1E5`) as they were typed.

    Raises ConfigError where a number is wanted and what was typed is none: 1_000, other digits.
    """
    for override in overrides:
        key, _, text = override.partition("=")
        node, value = _node_at(config, key.lstrip("+")), _value(text)
        if isinstance(node, StringNode):
            if isinstance(value, int | float):
                OmegaConf.update(config, key.lstrip("+"), text)
        elif isinstance(node, ListConfig) and node._metadata.element_type is str:
            items = [item.strip() for item in _ITEM.findall(text.strip()[1:-1])]
            if isinstance(value, list) and len(items) == len(value):
                pairs = zip(value, items, strict=True)
                node[:] = [t if isinstance(v, int | float) else v for v, t in pairs]
        else:
            is_number = isinstance(node, IntegerNode | FloatNode) and isinstance(value, str)
            words = [value] if is_number else _WORD.findall(_QUOTED.sub("", text))
            for word in words:
                if _LIKE_A_NUMBER.fullmatch(word) and not NUMBER.fullmatch(word):
                    raise ConfigError(
                        f"{key} is {shown(word)}; expected numbers in plain digits, such as "
                        "1500.5, or a name in quotes."
                    )


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted key; an empty mapping is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _node_at(config: DictConfig, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            return None
        node = node._get_node(part)
    return node


def _override(argument: str, sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or not key.strip("+~"):
        raise ConfigError(f"argument {shown(argument)} isn't of the form key=value; see --help.")
    _must_be_bounded(argument)
    candidates = [value, _quoted(value)]
    if re.fullmatch(r"\[[^][{}]*\]", value):
        items = _ITEM.findall(value[1:-1])
        candidates[1] = "[" + ",".join(_item(item.strip()) for item in items) + "]"
    elif value.startswith("{") or (value.startswith("[") and value.endswith("]")):
        del candidates[1]  # quoted it would be text, where a list or mapping is wanted
    for candidate in candidates:
        override = parsed(f"key={candidate}")
        if override is not None and (sweep or not override.is_sweep_override()):
            return f"{key}={candidate}"
    try:
        _value(value)
    except ConfigError as error:
        raise ConfigError(
            f"argument {shown(argument, 200)} can't be read. Put names with special characters "
            f"into double quotes inside of the argument, as in {_AN_EXAMPLE}."
        ) from error
    return argument


def _must_be_bounded(argument: str) -> None:
    """Refuse what would take minutes to parse, and `${...}`, which OmegaConf would fill in."""
    depth = deepest = 0
    for character in argument:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    key = argument.partition("=")[0]
    if any("\ud800" <= c <= "\udfff" for c in argument):  # bytes that are no UTF-8
        raise ConfigError(f"argument {shown(argument)} is no text; expected UTF-8.")
    if len(key) > 1_000 or len(argument) > _LONGEST or deepest > _DEEPEST:
        raise ConfigError(
            f"argument {shown(argument)} has {len(argument)} characters, {deepest} deep; expected "
            f"at most {_LONGEST}, 1000 of them a key, {_DEEPEST} deep. Write a file instead."
        )
    if "${" in argument:
        raise ConfigError(
            f"argument {shown(argument)} has a '${{'; expected values as they are: nothing is "
            "filled in. Give passwords by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


def _value(text: str) -> Any:
    """Return what Hydra reads; lists and mappings that it can't: what YAML does."""
    override = parsed(f"key={text}")
    return override.value() if override else parse_yaml(text, numbers=True)


def _item(text: str) -> str:
    return text if parsed(f"key=[{text}]") else _quoted(text)


def _quoted(text: str) -> str:
    """Backslashes are doubled before a quote only, as Hydra's quoted strings have it."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
