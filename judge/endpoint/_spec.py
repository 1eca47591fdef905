"""SPEC: how people name a model on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from judge.endpoint._local import LocalModel, parse_local
from judge.errors import UsageError

OPENAI_URL = "https://api.openai.com/v1"
_FORMS = (
    "openai:MODEL, http://HOST:PORT/v1#MODEL, https://HOST/v1#MODEL, vllm:MODEL, hf:FOLDER or "
    "offline"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model and where it is reached.

    ``identity`` names the model in keys, rulers and reports: the SPEC itself, with the base URL
    where it is not the provider's own. ``base_url`` is None for the offline judge, and for a
    model of ours (``local``) until `judge.local_models.serving` has started it.
    """

    identity: str
    model: str
    base_url: str | None
    max_tokens_parameter: str = "max_tokens"
    local: LocalModel | None = None
    """How to start the model (``vllm:`` and ``hf:``); None where a server runs already."""
    key: str = field(default="", repr=False, compare=False)
    """The key of a server of ours, made anew at each start."""

    @property
    def offline(self) -> bool:
        """Whether this is the baseline judge, which needs no endpoint."""
        return self.identity == "offline"

    def served_at(self, base_url: str, key: str) -> ModelSpec:
        """The same model, of the same identity, behind a server that runs now."""
        return replace(self, base_url=base_url, key=key)

    def api_key(self) -> str:
        """The key from the environment.

        OPENAI_API_KEY goes to OpenAI and to OPENAI_BASE_URL only; another server gets
        PLUMBLINE_API_KEY, and one that we started the key that it was started with. Raises
        UsageError if OpenAI is meant and no key is set.
        """
        if self.local is not None:
            return self.key or "none"
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
    """Read a SPEC. Raises UsageError with the forms that exist for anything else.

    For ``vllm:`` and ``hf:`` this looks at the model's folder (see `judge.checkpoints`), so that
    a model that is not there, or not whole, is refused before anything starts.
    """
    spec = spec.strip()
    if "," in spec:
        raise UsageError(f"{spec}: this takes one model, not a list.")
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
        local = parse_local(spec)
        return ModelSpec(identity=local.identity, model=local.reference, base_url=None, local=local)
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
