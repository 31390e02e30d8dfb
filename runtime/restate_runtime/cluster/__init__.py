"""The same handlers on a Restate cluster: `endpoint(app)` is what the cluster calls, `lambda_handler(app)` what AWS Lambda calls."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("restate") is None:
    raise ModuleNotFoundError("an endpoint needs restate-sdk: pip install 'protoc-gen-restate[cluster]'", name="restate")

from .aws_lambda import LambdaHandler, lambda_handler
from .endpoint import Endpoint, endpoint

__all__ = ["Endpoint", "LambdaHandler", "endpoint", "lambda_handler"]
