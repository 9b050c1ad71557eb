"""Take credentials out of text before it is stored or shown."""

from __future__ import annotations

import functools
import os
import re
from typing import Any
from urllib.parse import quote, quote_plus, unquote

# An address alone, or after KEY=: all up to the last @, whatever a password has in it. What was
# taken for a path has one slash.
_ADDRESS = re.compile(r"(?s)\A((?:[^\s=]*=)?['\"]?\w[\w+.-]*:/{1,2}(?!/)).*@")
# In other text user:password@, where passwords may have slashes and quotes that nobody escaped; or
# user@
_CREDENTIALS = re.compile(r"(:/{1,2})(?:[^/\s'\":]*:\S*|[^/\s'\"]*)@")
_SECRET = "password|passwd|token|secret|credential|(?:api|access)_?key"
_ASSIGNED = re.compile(rf"(?i)\b(\w*(?:{_SECRET})\w*)=[^&\s'\"]+")
_SECRET_NAME = re.compile(rf"(?i){_SECRET}")
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_KEPT_BY_REQUESTS = "!#$%&'()*+,/:;=?@[]~"  # what `requests` doesn't encode in an address
_ADDRESS_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
# What is before the @ of each address in a text that is nothing but addresses and their keys.
_BEFORE_AT = re.compile(r"(?s):/{1,2}(?!/)((?:(?!://).)+)@")

_known: set[str] = set()  # credentials of addresses that were given, in every spelling


def keep_out(given: str) -> None:
    """Let `redact` know the credentials of an address that was given, as an argument or setting:
    in other text nothing tells where a password with spaces begins and ends."""
    for credentials in _BEFORE_AT.findall(given):
        _known.update(_spellings(credentials))


def redact(text: str) -> str:
    """Return the text without ``user:password@``, ``password=...``, a secret variable's value, or
    what is known by `keep_out`.

    >>> redact("no answer from http://ann:s3cret@tracking:5000/api")
    'no answer from http://***@tracking:5000/api'
    """
    for variable in _ADDRESS_VARIABLES:
        keep_out(os.environ.get(variable, ""))
    if "@" in text:
        for credentials in sorted(_known, key=len, reverse=True):
            text = text.replace(f"{credentials}@", "***@")
    text = _CREDENTIALS.sub(r"\1***@", _ADDRESS.sub(r"\1***@", text))
    text = _ASSIGNED.sub(r"\1=***", text)
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable)
        for spelling in _spellings(secret) if secret else ():
            text = text.replace(spelling, "***")
    return text


@functools.lru_cache(maxsize=64)  # of few secrets, in every text
def _spellings(secret: str) -> tuple[str, ...]:
    """As it is, as addresses have it, and each as messages quote it; the longest first."""
    found = set()
    for plain in (secret, unquote(secret)):
        encoded = [quote(plain, safe=safe) for safe in ("", ":", ":/", " :", _KEPT_BY_REQUESTS)]
        for spelling in (plain, quote_plus(plain, safe=":"), *encoded):
            found |= {spelling, repr(spelling)[1:-1]}
            found |= {spelling.replace(mark, f"\\{mark}") for mark in "'\""}
    return tuple(sorted(found, key=len, reverse=True))


def is_secret_name(name: str) -> bool:
    """Whether what a key or a variable of this name holds is a secret."""
    return _SECRET_NAME.search(name) is not None


def redact_tree(value: Any) -> Any:
    """Return plain data with every text in it redacted, and texts under secret names left out."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            str(key): "***"
            if isinstance(item, str) and is_secret_name(str(key))
            else redact_tree(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_tree(item) for item in value]
    return value
