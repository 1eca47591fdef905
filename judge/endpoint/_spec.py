"""SPEC: how people name a model on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from judge.errors import UsageError

OPENAI_URL = "https://api.openai.com/v1"
_FORMS = "openai:MODEL, http://HOST:PORT/v1#MODEL, https://HOST/v1#MODEL or offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model and where it is reached.

    ``identity`` names the model in keys, rulers and reports: the SPEC itself, with the base URL
    where it is not the provider's own. ``base_url`` is None for the offline judge.
    """

    identity: str
    model: str
    base_url: str | None
    max_tokens_parameter: str = "max_tokens"

    @property
    def offline(self) -> bool:
        """Whether this is the baseline judge, which needs no endpoint."""
        return self.base_url is None

    def api_key(self) -> str:
        """The key from the environment.

        OPENAI_API_KEY goes to OpenAI and to OPENAI_BASE_URL only; another server gets
        PLUMBLINE_API_KEY. Raises UsageError if OpenAI is meant and no key is set.
        """
        if self.identity.startswith("openai:"):
            key = os.environ.get("OPENAI_API_KEY", "")
            if not key and self.base_url == OPENAI_URL:
                raise UsageError(
                    f"{self.identity}: OPENAI_API_KEY is not set. Set it, or name a server of "
                    "your own (http://HOST:PORT/v1#MODEL), or use the offline baseline (offline)."
                )
            return key or "none"
        return os.environ.get("PLUMBLINE_API_KEY", "") or "none"


def parse_spec(spec: str) -> ModelSpec:
    """Read a SPEC. Raises UsageError with the forms that exist for anything else."""
    spec = spec.strip()
    if spec == "offline":
        return ModelSpec(identity="offline", model="offline", base_url=None)
    if spec.startswith("openai:") and len(spec) > len("openai:"):
        base_url = _without_secrets(os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        identity = spec if base_url == OPENAI_URL else f"{spec}@{base_url}"
        return ModelSpec(
            identity=identity,
            model=spec.removeprefix("openai:"),
            base_url=base_url,
            max_tokens_parameter="max_completion_tokens",
        )
    if spec.startswith(("http://", "https://")):
        base_url, _, model = spec.partition("#")
        if model and _is_address(base_url):
            base_url = _without_secrets(base_url)
            return ModelSpec(identity=f"{base_url}#{model}", model=model, base_url=base_url)
        raise UsageError(f"{spec}: expected a server and a model, as in http://HOST:PORT/v1#MODEL.")
    if spec.startswith(("vllm:", "hf:")):
        raise UsageError(
            f"{spec}: this version does not start models itself. Serve the model (vllm serve "
            "MODEL) and name the server: http://HOST:PORT/v1#MODEL."
        )
    raise UsageError(f"{spec}: not a model SPEC; expected {_FORMS}.")


def _is_address(base_url: str) -> bool:
    """Whether a URL names a host and, if any, a port that can exist."""
    try:
        parts = urlsplit(base_url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_secrets(base_url: str) -> str:
    """A base URL in its plain form. Raises UsageError for one with credentials or a query.

    The URL is part of the judge's name, which ledgers, reports and exports show.
    """
    parts = urlsplit(base_url)
    if parts.username or parts.password or parts.query:
        raise UsageError(
            f"{parts.scheme}://{parts.hostname}/...: a server's URL is shown in reports and "
            "cannot hold credentials or a query. Put the key into PLUMBLINE_API_KEY (or "
            "OPENAI_API_KEY for openai: models)."
        )
    return base_url.rstrip("/")
