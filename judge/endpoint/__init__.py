"""The one way to reach a model: an OpenAI-compatible chat endpoint."""

from judge.endpoint._client import ChatEndpoint, Completion, OnFault, RetryPolicy
from judge.endpoint._faults import (
    BudgetSpent,
    Halted,
    RejectedRequest,
    StillFailing,
    TransientFault,
    UnsupportedParameter,
    fault_of,
)
from judge.endpoint._limits import AdaptiveLimit, Budget, Prices, RateLimits, estimated_tokens
from judge.endpoint._local import LocalModel
from judge.endpoint._reply import Usage, read_reply, read_usage
from judge.endpoint._request import Capabilities, Decoding, OutputMode, request_body
from judge.endpoint._spec import OPENAI_URL, ModelSpec, parse_spec

__all__ = [
    "OPENAI_URL",
    "AdaptiveLimit",
    "Budget",
    "BudgetSpent",
    "Capabilities",
    "ChatEndpoint",
    "Completion",
    "Decoding",
    "Halted",
    "LocalModel",
    "ModelSpec",
    "OnFault",
    "OutputMode",
    "Prices",
    "RateLimits",
    "RejectedRequest",
    "RetryPolicy",
    "StillFailing",
    "TransientFault",
    "UnsupportedParameter",
    "Usage",
    "estimated_tokens",
    "fault_of",
    "parse_spec",
    "read_reply",
    "read_usage",
    "request_body",
]
