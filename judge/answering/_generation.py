"""How an answer came about: what is recorded with it, and what of that must agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from judge import __version__
from judge.answering._plan import AnswerSettings, messages_template, sent_decoding
from judge.endpoint import Capabilities, ModelSpec
from judge.ledger import Ledger

_INFLUENCES = ("model", "system", "messages_template", "strip_thinking")
"""Facts of a generation that influence the answer, beside the decoding and the chat template."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What all answers of a run have in common."""

    spec: ModelSpec
    settings: AnswerSettings
    capabilities: Capabilities
    template_key: bytes | None = None
    """The ledger's document with the template's text, once it is stored."""

    def stored(self, ledger: Ledger) -> Provenance:
        """The same, with the template's text stored as a document."""
        local = self.spec.local
        if local is None or local.template.text is None:
            return self
        return replace(self, template_key=ledger.add_document("chat_template", local.template.text))

    def generation(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is recorded with an answer to a request; the parameters as they were sent."""
        local = self.spec.local
        return {
            "model": self.spec.identity,
            "endpoint": self.spec.base_url if local is None else local.engine,
            "decoding": {
                **sent_decoding(dict(body)),
                "refused": sorted(self.capabilities.refused),
            },
            "system": self.settings.system,
            "messages_template": messages_template(),
            "chat_template": self._chat_template(),
            "strip_thinking": self.settings.strip_thinking,
            "plumbline": __version__,
        }

    def _chat_template(self) -> dict[str, Any]:
        """Who turned the messages into the model's text, and by which template.

        A server that somebody else started does not show its own.
        """
        local = self.spec.local
        if local is None:
            return {"source": "server", "sha256": None}
        if local.template_file is None:
            source = "tokenizer"
        else:
            source = "plain" if local.template.source.startswith("plain:") else "given"
        return {
            "source": source,
            "file": local.template.source,
            "sha256": local.template.sha256,
            "document": None if self.template_key is None else self.template_key.hex(),
        }


def influences(generation: Mapping[str, Any]) -> dict[str, Any]:
    """What of a generation influences the answer, flat: the same for two makes them comparable."""
    decoding = {name: value for name, value in generation["decoding"].items() if name != "refused"}
    return {
        **{name: generation[name] for name in _INFLUENCES},
        **decoding,
        "chat_template": generation["chat_template"]["sha256"],
    }


def made_by_answering(generation: Mapping[str, Any] | None) -> bool:
    """Whether a generation is one that `Provenance.generation` records."""
    if generation is None or not all(name in generation for name in _INFLUENCES):
        return False
    template, decoding = generation.get("chat_template"), generation.get("decoding")
    return isinstance(decoding, dict) and isinstance(template, dict) and "sha256" in template
