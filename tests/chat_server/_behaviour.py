"""What the server can be told to do: the kinds of faults, and a `Behaviour`."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, fields
from typing import NamedTuple

OK = "ok"
LOST = "lost"
"""An outcome of a batch operation: it is done, but its answer never arrives."""


class Error(NamedTuple):
    """An error reply of OpenAI's form."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None


BAD = "invalid_request_error"
ERRORS = {
    "429": Error(429, "requests", "rate_limit_exceeded", "Rate limit reached."),
    "429_date": Error(429, "requests", "rate_limit_exceeded", "Rate limit reached."),
    "500": Error(500, "server_error", None, "The server had an error."),
    "503": Error(503, "server_error", None, "The engine is overloaded."),
    "408": Error(408, "timeout", None, "The request timed out."),
    "409": Error(409, BAD, None, "The resource is locked."),
    "401": Error(401, BAD, "invalid_api_key", "Incorrect API key provided."),
    "402": Error(402, "insufficient_funds", None, "Payment required."),
    "403": Error(403, BAD, "forbidden", "This key may not use this model."),
    "insufficient_quota": Error(
        429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."
    ),
    "model_not_found": Error(404, BAD, "model_not_found", "The model does not exist.", "model"),
    "context_length": Error(
        400, BAD, "context_length_exceeded", "The maximum context length is exceeded.", "messages"
    ),
    "bad_request": Error(400, BAD, None, "The request is malformed."),
}

NULL_CONTENT = frozenset({"refusal", "null_content"})
ENVELOPES = frozenset({"bad_envelope", "html", "empty_choices"})
ABORTED = frozenset({"reset", "cut_body"})
SLOW = frozenset({"hang", "slow_drip"})
_WRITTEN = frozenset({
    "prose", "fenced", "two_objects", "duplicate_key", "out_of_range", "wrong_type", "float_level",
    "nan", "null_level", "lone_surrogate", "truncated_json", "length", "content_filter",
    "missing_key", "extra_key", "empty_content", "fabricated_evidence", "deep_nesting", "huge",
    "group_missing_criterion", "group_one_out_of_range", "group_extra_criterion",
})  # fmt: skip

FATAL = frozenset({"401", "402", "403", "insufficient_quota", "model_not_found"})
REFUSED = frozenset({"context_length", "bad_request"})
TRANSPORT = (ERRORS.keys() - FATAL - REFUSED) | ABORTED | SLOW | ENVELOPES | {"null_content"}
CONTENT = _WRITTEN | {"refusal"}
KINDS = TRANSPORT | FATAL | REFUSED | CONTENT

LINE_FAULTS = frozenset({"missing", "expired", "malformed", "duplicate", "alien"})
"""What can become of one line of a batch, besides an error status and `CONTENT`."""
OPERATIONS = frozenset(
    {"upload", "file", "files", "content", "delete", "create", "retrieve", "list", "cancel"}
)
_CHOICES = {
    "replies": {"verdict", "text", "auto"},
    "evidence": {"none", "quote", "fabricated"},
    "logprobs": {"yes", "ignored", "rejected", "grammar", "merged"},
    "batch_outcome": {"completed", "expired", "failed"},
}


@dataclass(kw_only=True)
class Behaviour:
    """What the server does with requests.

    A chat request is first admitted or not: key, JSON, model, rate, then the parameters. An
    admitted one gets the next outcome of ``scripted`` ("ok" or a kind) while there is one.
    Otherwise ``fault_once`` (kind to probability) is drawn once per body and hits its first
    ``once_attempts`` attempts; otherwise ``faults`` is drawn anew for each attempt.

    Kinds: `TRANSPORT`, `FATAL` (no retry mends them), `REFUSED` (this request only), `CONTENT`.
    ``html`` is a 200 with a web page; ``slow_drip`` is a good reply spread over ``drip_s``;
    ``hang`` is a good reply after ``hang_s``; the level is missing in ``missing_key``; the verdict
    of ``content_filter`` looks whole. In a reply on several criteria or items a content fault
    hits one of them, which `fault_target` names; ``group_missing_criterion`` and
    ``group_extra_criterion`` drop one or invent one.

    The plants of a scripted judge (``pair_first_bias`` to ``keyword_bias``) are formulas in
    `tests.chat_server._judge`.
    """

    latency_s: float = 0.0
    latency_jitter_s: float = 0.0
    """Each attempt adds a drawn share of this."""
    faults: dict[str, float] = field(default_factory=dict)
    fault_once: dict[str, float] = field(default_factory=dict)
    once_attempts: int = 1
    scripted: list[str] = field(default_factory=list)
    replies: str = "verdict"
    """Of a good reply: "verdict", "text" (an answer in prose), or "auto": a verdict where the
    request asks for one of the known shapes, else prose."""
    evidence: str = "none"
    """"none", "quote" (the answer's first 12 characters) or "fabricated"."""
    rationale_words: int = 0
    """Length of each rationale; 0: two words."""
    seed: int = 0
    record_bodies: bool = False
    models: tuple[str, ...] = ("judge",)
    api_key: str | None = None
    json_schema_support: bool = True
    json_object_support: bool = True
    reject_parameters: list[str] = field(default_factory=list)
    rate_limit_rps: float | None = None
    rate_limit_burst: float | None = None
    """Requests that a rested limit lets through at once; None: those of one second."""
    retry_after: float | None = 0.05
    """Retry-After of "429" and "429_date" (whole seconds, rounded up); None: no header."""
    hang_s: float = 30.0
    drip_s: float = 2.0

    logprobs: str = "yes"
    """When a request asks for them: "yes"; "ignored"; "rejected" (a 400 that names logprobs);
    "grammar" (renormalised over what the grammar allows: the levels and null); "merged" (the
    level is no token of its own)."""
    level_mass: float = 1.0
    """Probability of the allowed values where a level stands; the rest is junk."""

    prefix_cache_block: int | None = None
    """Tokens (of 4 bytes) in a block of the prefix cache; None: no cache, a made-up count."""
    prefix_cache_capacity: int | None = None
    """Blocks that the cache holds, the least recently used go first; None: no bound."""
    prefix_cache_least: int = 0
    """Prompts with fewer tokens are not cached."""
    prefill_token_s: float = 0.0
    """Seconds that a prompt token outside the cache takes; its block is cached afterwards."""

    batch_delay_s: float = 0.0
    """From the creation of a batch to its end."""
    batch_outcome: str = "completed"
    """"completed", "expired" (``batch_done_share`` of the lines are done) or "failed"."""
    batch_done_share: float = 0.5
    batch_faults: dict[str, float] = field(default_factory=dict)
    """Of a line, drawn once per body and batch: a kind of error status, `CONTENT`, or one of
    `LINE_FAULTS`: "missing" (in no file), "expired", "malformed" (broken JSON), "duplicate" (twice
    in the output), "alien" (under a custom_id that nobody sent)."""
    batch_shuffled: bool = True
    batch_script: dict[str, list[str]] = field(default_factory=dict)
    """Per operation (`OPERATIONS`) what its next calls get: "ok", a kind of error status, "reset"
    (nothing is done) or "lost" (done, but the connection breaks before the answer)."""

    resample: bool = False
    """Draw the values of a good reply anew for each attempt of a body."""
    pair_first_bias: float = 0.0
    pair_offset: float = 0.0
    pair_noise: float = 0.0
    pair_tie: float = 0.0
    level_order_bias: float = 0.0
    criterion_order_bias: float = 0.0
    length_bias: float = 0.0
    halo: float = 0.0
    noise: float = 0.0
    keyword_bias: dict[str, float] = field(default_factory=dict)
    canary_obeys: float = 0.0
    """Share of canary requests that get the token that the answer wants instead of the real."""

    def __post_init__(self) -> None:
        """Refuse what the server does not know, before a test relies on it."""
        self.models = tuple(self.models)
        known: dict[str, Set[str]] = {
            name: KINDS | {OK} for name in ("faults", "fault_once", "scripted")
        }
        known["batch_faults"] = ERRORS.keys() | CONTENT | LINE_FAULTS
        known["batch_script"] = OPERATIONS
        for name, allowed in known.items():
            if unknown := set(getattr(self, name)) - allowed:
                raise ValueError(f"unknown kinds in {name}: {sorted(unknown)}")
        for operation, outcomes in self.batch_script.items():
            if unknown := set(outcomes) - ERRORS.keys() - {OK, LOST, "reset"}:
                raise ValueError(f"unknown outcomes of {operation}: {sorted(unknown)}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name}: {getattr(self, name)}")
        for name in ("faults", "fault_once", "batch_faults"):
            if sum(getattr(self, name).values()) > 1 + 1e-9:
                raise ValueError(f"probabilities of more than 1 in {name}")
        for name in ("level_mass", "batch_done_share", "halo", "noise", "canary_obeys"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: from 0 to 1")


_PLANTS = (
    "pair_first_bias", "pair_offset", "pair_noise", "pair_tie", "level_order_bias",
    "criterion_order_bias", "length_bias", "halo", "noise", "keyword_bias",
)  # fmt: skip


def has_plants(behaviour: Behaviour) -> bool:
    """Whether a behaviour plants anything in the judge's verdicts."""
    return any(getattr(behaviour, name) for name in _PLANTS)


assert set(_PLANTS) <= {entry.name for entry in fields(Behaviour)}
