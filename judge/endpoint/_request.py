"""The body of a chat request: exactly what is sent, and therefore what is hashed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from judge.endpoint._spec import ModelSpec


class OutputMode(StrEnum):
    """How the server is asked for JSON; the rungs of the fallback ladder, best first."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


_LADDER = (OutputMode.JSON_SCHEMA, OutputMode.JSON_OBJECT, OutputMode.TEXT)
_OPTIONAL = ("temperature", "top_p", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Decoding parameters as wanted; None leaves a parameter to the server."""

    temperature: float | None = 0.7
    top_p: float | None = None
    max_tokens: int = 2048
    seed: int | None = None
    top_logprobs: int | None = None
    """How many alternatives to give for every token, with log-probabilities; None: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the endpoint accepts: the rung of the ladder, and parameters that it refuses."""

    output_mode: OutputMode = OutputMode.JSON_SCHEMA
    refused: frozenset[str] = frozenset()

    def without(self, parameter: str | None, decoding: Decoding) -> Capabilities | None:
        """The next thing to try after the endpoint refused a parameter (None: did not say which).

        A decoding parameter is refused at the value that was sent. None if nothing is left to
        give up.
        """
        if parameter is not None and parameter != "response_format":
            entry = parameter
            if parameter in _OPTIONAL:
                entry = f"{parameter}={getattr(decoding, parameter)}"
            if entry in self.refused:
                return None
            return replace(self, refused=self.refused | {entry})
        step = _LADDER.index(self.output_mode) + 1
        if step == len(_LADDER):
            return None
        return replace(self, output_mode=_LADDER[step])

    def at_most(self, mode: OutputMode | None) -> Capabilities:
        """The same with a form of structured output no better than ``mode``."""
        if mode is None or _LADDER.index(mode) <= _LADDER.index(self.output_mode):
            return self
        return replace(self, output_mode=mode)

    def to_dict(self) -> dict[str, Any]:
        """For storage."""
        return {"output_mode": self.output_mode.value, "refused": sorted(self.refused)}

    @staticmethod
    def from_dict(body: Mapping[str, Any]) -> Capabilities:
        """Inverse of `to_dict`."""
        return Capabilities(
            output_mode=OutputMode(body["output_mode"]), refused=frozenset(body["refused"])
        )


def request_body(
    spec: ModelSpec,
    messages: list[dict[str, str]],
    schema: Mapping[str, Any] | None,
    decoding: Decoding,
    capabilities: Capabilities,
) -> dict[str, Any]:
    """The JSON body of a chat completion request, without anything that the endpoint refuses."""
    limit = spec.max_tokens_parameter
    if limit in capabilities.refused:
        limit = "max_tokens" if limit == "max_completion_tokens" else "max_completion_tokens"
    body: dict[str, Any] = {
        "model": spec.model,
        "messages": messages,
        limit: decoding.max_tokens,
    }
    for name in _OPTIONAL:
        value = getattr(decoding, name)
        if value is not None and f"{name}={value}" not in capabilities.refused:
            body[name] = value
    if decoding.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": decoding.top_logprobs}
    if schema is not None and capabilities.output_mode is OutputMode.JSON_SCHEMA:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": schema},
        }
    elif schema is not None and capabilities.output_mode is OutputMode.JSON_OBJECT:
        body["response_format"] = {"type": "json_object"}
    return body
