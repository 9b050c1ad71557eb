"""An exported policy as MLflow's model: `mlflow.pyfunc.load_model`, `mlflow models serve`.

MLflow copies this file beside the policy and runs it where the model is loaded ("models from
code"), so it is short: what it imports is of the Echelon that is installed there. Ray isn't needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from evaluation.artifact.artifact import load_artifact
from evaluation.recommendation.findings import RequestError
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.rows import request_of


class PolicyModel(PythonModel):
    """Answers each row of a table, a request of the recommendations contract."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify the policy. Raises ArtifactError."""
        artifact = load_artifact(Path(context.artifacts["policy"]))
        self._recommender = Recommender(artifact, **context.model_config)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Return one answer a row. Raises MlflowException (HTTP 400) for what doesn't fit."""
        rows = model_input.to_dict("records")
        try:
            answers = [self._recommender.recommend(request_of(row)) for row in rows]
        except RequestError as problem:
            raise MlflowException.invalid_parameter_value(str(problem)) from problem
        return [answer.model_dump(mode="json") for answer in answers]


set_model(PolicyModel())
