"""Command-line arguments as users type them.

Hydra reads what its grammar can; text that it can't is quoted for it. Keys, lists and mappings with
other characters (`scenario.lanes.Zürich.lead_time=3`, `{sea (2): {}}`) are read here, as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from envs.errors import ConfigError

_AN_EXAMPLE = """'scenario.events={"strike #1": {lanes: ["sea (2)"], availability: 0}}'"""


def overrides_of(arguments: Sequence[str], sweep: bool) -> list[str]:
    """Return overrides; text that Hydra's grammar can't read is taken as it is typed.

    `out=run (2)` becomes `out='run (2)'`, `policies=[a #1,b]` becomes `policies=['a #1',b]`.
    sweep: a comma parts the values of several runs; else it belongs to the text.
    Raises ConfigError for what isn't key=value, or can't be read in quotes either.
    """
    return [_override(argument, sweep) for argument in arguments]


def parsed(override: str) -> Override | None:
    """Return what Hydra reads; None where its grammar can't, or takes a name's @ for its own."""
    try:
        read = OverridesParser.create().parse_override(override)
    except HydraException:
        return None
    return read if read.package is None else None


def set_value(config: DictConfig, override: str) -> None:
    """Set what Hydra can't read: `key=value`, or `+key=value` for a new key, as Hydra does.

    Raises OmegaConf's errors for a key that doesn't exist, or a value of the wrong type.
    """
    key, _, text = override.partition("=")
    values = _value(text)
    for part in reversed(key.lstrip("+").split(".")):
        values = {part: values}
    with open_dict(config) if key.startswith("+") else nullcontext():
        config.merge_with(values)


def _override(argument: str, sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        raise ConfigError(f"argument '{argument}' isn't of the form key=value; see --help.")
    candidates = [value, _quoted(value)]
    if re.fullmatch(r"\[[^][{}]*\]", value):
        items = re.findall(r"(?:'[^']*'|\"[^\"]*\"|[^,])+", value[1:-1])
        candidates[1] = "[" + ",".join(_item(item.strip()) for item in items) + "]"
    elif value.startswith("{") or (value.startswith("[") and value.endswith("]")):
        del candidates[1]  # quoted it would be text, where a list or mapping is wanted
    for candidate in candidates:
        override = parsed(f"key={candidate}")
        if override is not None and (sweep or not override.is_sweep_override()):
            return f"{key}={candidate}"
    try:
        _value(value)
    except (YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"argument '{argument}' can't be read. Put names with special characters into double "
            f"quotes inside of the argument, as in {_AN_EXAMPLE}."
        ) from error
    return argument


def _value(text: str) -> Any:
    """Return what Hydra reads; lists and mappings that it can't: what YAML does."""
    override = parsed(f"key={text}")
    return override.value() if override else OmegaConf.create(f"value: {text}").value


def _item(text: str) -> str:
    return text if parsed(f"key=[{text}]") else _quoted(text)


def _quoted(text: str) -> str:
    """Backslashes are doubled before a quote only, as Hydra's quoted strings have it."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
