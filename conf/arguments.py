"""Command-line arguments as users type them: quoted where Hydra's grammar needs it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from envs.errors import ConfigError


def overrides_of(arguments: Sequence[str], sweep: bool) -> list[str]:
    """Return Hydra's overrides; text that its grammar can't read is taken as it is typed.

    `out=run (2)` becomes `out='run (2)'`, `policies=[a #1,b]` becomes `policies=['a #1',b]`.
    sweep: a comma parts the values of several runs; else it belongs to the text.
    Raises ConfigError for what isn't key=value, or can't be read in quotes either.
    """
    return [_override(argument, sweep) for argument in arguments]


def _override(argument: str, sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        raise ConfigError(f"argument '{argument}' isn't of the form key=value; see --help.")
    candidates = [value, _quoted(value)]
    if value.startswith("[") and value.endswith("]"):
        items = re.findall(r"(?:'[^']*'|\"[^\"]*\"|[^,])+", value[1:-1])
        candidates[1] = "[" + ",".join(_item(item.strip()) for item in items) + "]"
    elif value.startswith("{"):
        del candidates[1]  # quoted it would be text, where a mapping is wanted
    reason = ""
    for candidate in candidates:
        try:
            override = OverridesParser.create().parse_override(f"{key}={candidate}")
        except HydraException as error:
            reason = reason or str(error).splitlines()[0]
            continue
        if sweep or not override.is_sweep_override():
            return f"{key}={candidate}"
    raise ConfigError(
        f"argument '{argument}' can't be read ({reason}). Put names with spaces or special "
        "characters into quotes inside of the argument, as in \"policies=['my rule',base_stock]\"; "
        "keys with such characters, and mappings of them, go into a scenario file."
    )


def _item(text: str) -> str:
    try:
        OverridesParser.create().parse_override(f"key=[{text}]")
    except HydraException:
        return _quoted(text)
    return text


def _quoted(text: str) -> str:
    """Backslashes are doubled before a quote only, as Hydra's quoted strings have it."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
