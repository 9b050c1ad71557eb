"""Take credentials out of text before it is stored or shown."""

from __future__ import annotations

import os
import re
from typing import Any

# An address alone, or after KEY=: all up to the last @, whatever a password has in it. What was
# taken for a path has one slash.
_ADDRESS = re.compile(r"(?s)\A((?:[^\s=]*=)?['\"]?\w[\w+.-]*:/{1,2}(?!/)).*@")
# In other text user:password@, where passwords may have slashes and quotes that nobody escaped; or
# user@
_CREDENTIALS = re.compile(r"(:/{1,2})(?:[^/\s'\":]*:\S*|[^/\s'\"]*)@")
_ASSIGNED = re.compile(r"(?i)\b(password|passwd|token|secret|api_?key)=[^&\s'\"]+")
_SECRET_NAME = re.compile(r"(?i)password|passwd|token|secret|api_?key")
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def redact(text: str) -> str:
    """Return the text without ``user:password@``, ``password=...`` or a secret variable's value.

    >>> redact("no answer from http://ann:s3cret@tracking:5000/api")
    'no answer from http://***@tracking:5000/api'
    """
    text = _CREDENTIALS.sub(r"\1***@", _ADDRESS.sub(r"\1***@", text))
    text = _ASSIGNED.sub(r"\1=***", text)
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable)
        if secret:
            text = text.replace(secret, "***")
    return text


def redact_tree(value: Any) -> Any:
    """Return plain data with every text in it redacted, and texts under secret names left out."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            str(key): "***"
            if isinstance(item, str) and _SECRET_NAME.search(str(key))
            else redact_tree(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_tree(item) for item in value]
    return value
