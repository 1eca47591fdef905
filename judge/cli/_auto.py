"""Which judge ``auto`` stands for."""

from __future__ import annotations

import os

from judge.endpoint import OPENAI_URL
from judge.errors import UsageError
from judge.terminal import say

_STRONG = ("gpt-6.1-sol", "gpt-6-sol", "gpt-5.5", "gpt-5.4", "gpt-5.2", "gpt-5.1", "gpt-5")
"""OpenAI's general models that the pinned SDK knows, newest first; used if the account has them."""


def auto_judge(spec: str) -> str:
    """The SPEC behind ``auto``; any other SPEC is itself.

    PLUMBLINE_JUDGE if it is set; else, with OPENAI_API_KEY or OPENAI_BASE_URL, OPENAI_MODEL or
    the model that the endpoint serves (several, at OpenAI itself: the newest strong one); else
    offline. Says what was chosen. Raises UsageError where the choice is not ours to make.
    """
    if spec != "auto":
        return spec
    if chosen := os.environ.get("PLUMBLINE_JUDGE"):
        return _announced(chosen, "PLUMBLINE_JUDGE")
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return _announced(f"openai:{os.environ.get('OPENAI_MODEL') or _model()}", "OPENAI_*")
    say(
        "No endpoint is configured (PLUMBLINE_JUDGE, OPENAI_API_KEY or OPENAI_BASE_URL), so the "
        "offline baseline scores: fixed formulas, not an LLM."
    )
    return "offline"


def _announced(spec: str, source: str) -> str:
    if spec != "offline":
        say(
            f"Judging with {spec} (from {source}); its calls may be billed. JUDGE=offline or "
            "--judge offline needs no model, --budget sets a cap."
        )
    return spec


def _model() -> str:
    """The model to judge with at the configured endpoint."""
    import openai

    base_url = os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    try:
        with openai.OpenAI(
            api_key=os.environ.get("OPENAI_API_KEY") or "none", base_url=base_url, timeout=20.0
        ) as client:
            names = [model.id for model in client.models.list()]
    except openai.OpenAIError as error:
        raise UsageError(
            f"The configured endpoint does not list its models ({error}). Name the judge with "
            "PLUMBLINE_JUDGE, e.g. openai:MODEL, or use --judge offline."
        ) from error
    if len(names) == 1:
        return names[0]
    if base_url.rstrip("/") == OPENAI_URL:
        for name in _STRONG:
            if name in names:
                return name
    raise UsageError(
        f"The configured endpoint serves {len(names)} models. Say which one judges: "
        "PLUMBLINE_JUDGE=openai:MODEL (or OPENAI_MODEL), or use --judge offline."
    )
