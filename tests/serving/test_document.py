"""The OpenAPI document and the service agree: schemathesis makes requests of it, right and wrong,
and holds every answer against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api import build_api
from serving.front.front import Front
from serving.front.keys import Keys, new_key
from serving.front.settings import FrontSettings
from serving.live import LivePolicy
from serving.source import Source

EXAMPLES = 20  # of each operation: right by the document, and wrong
OPERATIONS = {
    "POST /v1/recommendations", "GET /v1/health", "GET /v1/policies",
    "POST /v1/policies/classical", "POST /v1/policies/champion",
    "POST /v1/policies/{version}/promote", "POST /v1/policies/{version}/rollback",
}  # fmt: skip


@pytest.mark.nightly
def test_every_answer_is_one_of_the_document(artifact_folder: Path) -> None:
    """Status, type, schema, no 5xx, and nothing wrong is accepted; of the whole document."""
    import schemathesis  # takes a second
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    key, line = new_key("ann", "recommend,operate")
    api = build_api(LivePolicy(Source(artifact=str(artifact_folder))))
    front = Front(api, FrontSettings(rate=1e6), Keys(line))
    # The document itself isn't shown where there are keys.
    schema = schemathesis.openapi.from_dict(api.openapi())
    schema.app = front
    operations: list[Any] = [cast(Any, found).ok() for found in schema.get_all_operations()]
    assert {operation.label for operation in operations} == OPERATIONS
    headers = {"Authorization": f"Bearer {key}"}
    statuses: dict[str, set[int]] = {}
    for operation in operations:
        both: st.SearchStrategy[Any] = st.one_of(
            [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
        )

        @settings(max_examples=EXAMPLES, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(both)
        def hold(case: Any) -> None:
            # A right request can name a location that the network hasn't: 422.
            got = case.call_and_validate(
                headers=headers, excluded_checks=[positive_data_acceptance]
            )
            statuses.setdefault(case.operation.label, set()).add(got.status_code)

        hold()
    assert statuses.keys() == OPERATIONS
    assert {200, 422} <= statuses["POST /v1/recommendations"]
