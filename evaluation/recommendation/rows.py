"""The contract for callers with tables: a row is a request, its columns are the request's fields.

What MLflow's model reads and says of itself; nothing here imports MLflow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from evaluation.artifact.network_io import scenario_from_plain
from evaluation.recommendation.findings import RequestError, field_path
from evaluation.recommendation.schemas import (
    FieldError,
    RecommendationRequest,
    RecommendationResponse,
)

_MOST_EXAMPLES = 3  # rows of stock
# MLflow's double refuses 3 where 3.0 is meant; a request's own check takes both.
_TYPES = {"string": "string", "boolean": "boolean", "integer": "long", "number": "any"}


def request_of(row: Mapping[Any, Any]) -> RecommendationRequest:
    """Return the request of one row; a cell without a value is a field left out.

    Raises RequestError, with the path of each field, for what isn't of the contract.
    """
    given = {str(name): value for name, value in row.items() if not _is_missing(value)}
    try:
        return RecommendationRequest.model_validate_json(json.dumps(given, default=_plain))
    except ValidationError as problem:
        errors = problem.errors(include_url=False, include_context=False, include_input=False)
    except (TypeError, ValueError) as problem:
        raise RequestError([FieldError(field="", message=f"is no JSON: {problem}")]) from problem
    raise RequestError([FieldError(field=field_path(e["loc"]), message=e["msg"]) for e in errors])


def signature() -> dict[str, str]:
    """Return the types of a request's and an answer's fields, as MLflow stores a signature."""
    return {
        "inputs": json.dumps(_columns(RecommendationRequest, "validation")),
        "outputs": json.dumps(_columns(RecommendationResponse, "serialization")),
    }


def example(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request that the policy of this network answers, as a dict of plain JSON values.

    network: as in an artifact's network.json. Raises ArtifactError, NetworkError.
    """
    scenario = scenario_from_plain(network)
    shops = [s for s in scenario.network.stocks if s.demand is not None][:_MOST_EXAMPLES]
    names = [{"location": s.node, "item": s.sku} for s in shops]
    return {
        "as_of": scenario.first_date.isoformat(),
        "stock": [{**name, "on_hand": 10.0} for name in names],
        "recent_sales": [{**name, "quantities": [2.0, 3.0]} for name in names],
    }


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    """What pandas and NumPy put into cells, as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, date):  # pandas' time stamps too
        return value.isoformat()[:10]
    raise TypeError(f"{type(value).__name__} in a cell; expected text, numbers, lists or objects")


def _columns(model: type[BaseModel], mode: Any) -> list[dict[str, Any]]:
    schema = model.model_json_schema(mode=mode)
    columns = []
    for name, field in _properties(schema, schema["$defs"]).items():
        # Rows that leave out different fields have NaN there, which MLflow takes for `any` alone.
        is_open = not field["required"] and field["type"] in ("array", "object")
        columns.append({"name": name, **({"type": "any", "required": False} if is_open else field)})
    return columns


def _properties(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    needed = schema.get("required", [])
    return {
        name: {**_type(part, defs), "required": name in needed}
        for name, part in schema["properties"].items()
    }


def _type(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """MLflow's type for JSON Schema's; `any` for numbers, dates and what has several."""
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return _type(kinds[0], defs) if len(kinds) == 1 else {"type": "any"}
    kind = schema.get("type")
    if kind == "array":
        return {"type": "array", "items": _type(schema["items"], defs)}
    if kind == "object":
        return {"type": "object", "properties": _properties(schema, defs)}
    if "format" in schema:
        return {"type": "any"}
    return {"type": _TYPES[str(kind)]}
