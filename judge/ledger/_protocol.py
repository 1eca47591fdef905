"""What a ledger can do, whichever database holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from judge.records import Answer, Question, Rating, Verdict

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A finished request to a model: what was sent, what came back, what it took.

    ``request`` is the body as sent, ``response`` the body as received. ``generation`` counts
    deliberate retries of a final outcome; ``parent`` is the key of the call that this one follows
    up (a repair). Tokens and cost (USD) are None where unknown.
    """

    key: bytes
    generation: int = 0
    parent: bytes | None = None
    purpose: str
    model: str
    sample: int
    occasion: str
    request: bytes
    response: bytes
    status_code: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    latency_s: float
    attempts: int
    started_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A try that failed without ending its unit."""

    key: bytes
    error: str
    status_code: int | None
    detail: str
    latency_s: float
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A verdict and the key of its unit, which is the key of its call where one was made.

    ``call_key`` is None for verdicts that come from elsewhere.
    """

    verdict: Verdict
    call_key: bytes | None
    generation: int = 0
    parser: int
    stored_at: str = field(default="", compare=False)
    """When it was stored (UTC, ISO 8601); set by the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """An answer with its row in this ledger and the question it was given to, if known."""

    answer_id: int
    answer: Answer
    question: Question | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it was started: what was planned with which rulers. ``body`` is JSON."""

    run: str
    kind: str
    body: Mapping[str, Any]
    started_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent:
    """Something that happened to a batch of requests at a server. ``body`` is JSON."""

    batch: str
    model: str
    status: str
    body: Mapping[str, Any]
    at: str = ""
    """When it was noted (UTC, ISO 8601); set by the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a person decided about an escalated answer."""

    escalation: bytes
    decision: str
    reviewer: str
    note: str
    at: str = ""
    """When it was noted (UTC, ISO 8601); set by the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesEvent:
    """Something that happened once in a series of nights: ``kind`` and ``name`` say what.

    ``body`` is JSON.
    """

    series: str
    kind: str
    name: str
    body: Mapping[str, Any]
    at: str = ""
    """When it was noted (UTC, ISO 8601); set by the ledger."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Outcome of asking for work: keys now ours, and keys that turned out to be finished."""

    granted: frozenset[bytes]
    finished: frozenset[bytes]


class Ledger(Protocol):
    """Append-only store of answers, calls, verdicts and ratings; safe between processes.

    Every method is one transaction. Methods raise LedgerError with place and remedy.
    """

    url: str
    """The ledger's URL as messages may show it: without a password."""

    def calls(self, keys: Sequence[bytes]) -> dict[bytes, Call]:
        """The newest generation of each call that the ledger holds."""
        ...

    def generations(self, key: bytes) -> list[Call]:
        """All generations of a call that the ledger holds, the oldest first."""
        ...

    def verdicts_of_calls(
        self, keys: Sequence[bytes], parser: int
    ) -> dict[bytes, list[StoredVerdict]]:
        """Per call key, the newest-generation verdicts that this parser version read."""
        ...

    def claim(self, wanted: Mapping[bytes, int], owner: str, lease_s: float) -> Claim:
        """Ask to execute calls (key → generation); each key goes to one owner at a time.

        A key is finished if the ledger holds a call of at least that generation. Claims of
        expired leases, and of processes of this machine that no longer run, are taken over.
        """
        ...

    def renew(self, owner: str, lease_s: float) -> None:
        """Extend the lease of everything that the owner still holds, also where it ran out."""
        ...

    def release(self, owner: str, keys: Iterable[bytes] | None = None) -> None:
        """Give claims back: some keys, or all of the owner's."""
        ...

    def append(
        self,
        *,
        calls: Sequence[Call] = (),
        attempts: Sequence[Attempt] = (),
        verdicts: Sequence[StoredVerdict] = (),
    ) -> None:
        """Append in one transaction; claims on the appended calls end in it, whoever holds them.

        What the ledger holds already is left as it is: a call of the same key and generation, a
        verdict read from the same call by the same parser. Attempts are always added.
        """
        ...

    def add_verdicts(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Append verdicts that come from elsewhere, all or none.

        The same verdict again is not stored twice. Raises LedgerError if the ledger holds another
        one for the same answer, criterion, judge, ruler, sample and occasion.
        """
        ...

    def add_answers(
        self, answers: Sequence[Answer], questions: Mapping[str, Question] | None = None
    ) -> list[int]:
        """Append answers, all or none, and return their row ids in order.

        The same answer again is not stored twice. Raises LedgerError if the ledger holds another
        text for the same question, model, sample and occasion.
        """
        ...

    def answers(
        self, models: Sequence[str] | None = None, ids: Sequence[int] | None = None
    ) -> list[StoredAnswer]:
        """Stored answers, in the order in which they came; all, of some models, or by row id."""
        ...

    def add_ratings(self, ratings: Sequence[Rating]) -> None:
        """Append ratings, all or none.

        The same rating again is not stored twice. Raises LedgerError if the ledger holds another
        one by the same rater of the same answer and criterion.
        """
        ...

    def add_document(self, kind: str, body: Any) -> bytes:
        """Store a JSON value under its content hash and return the hash."""
        ...

    def document(self, key: bytes) -> Any:
        """A stored JSON value; LedgerError if the ledger has none of that hash."""
        ...

    def add_run(self, run: Run, answers: Sequence[tuple[int, Question]]) -> None:
        """Record a run with the answers (row id) that it covers and the questions as used.

        Raises LedgerError for a run id that the ledger holds already.
        """
        ...

    def run(self, run: str | None = None) -> Run | None:
        """A run by id (a unique prefix will do), or the newest; None if there is none.

        Raises LedgerError for a prefix of several runs.
        """
        ...

    def runs(self, kinds: Sequence[str]) -> list[Run]:
        """The runs of some kinds, newest first."""
        ...

    def has_verdicts(self, rulers: Sequence[str], occasion: str) -> bool:
        """Whether there is any verdict of these rulers on an occasion."""
        ...

    def run_answers(self, run: str) -> list[StoredAnswer]:
        """The answers of a run, each with the question as it was used."""
        ...

    def capabilities(self, model: str) -> Mapping[str, Any] | None:
        """What the endpoint of a model was last found to accept."""
        ...

    def add_capabilities(self, model: str, body: Mapping[str, Any]) -> None:
        """Note what the endpoint of a model accepts."""
        ...

    def verdicts(
        self,
        *,
        rulers: Sequence[str] | None = None,
        occasion: str | None = None,
        models: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Current verdicts: one row per question, answer, criterion, ruler, sample and occasion.

        Of several readings of one unit the newest generation, then the newest parser counts; of
        readings of different calls (the question was reworded), the one that came last.
        """
        ...

    def ratings(self) -> pl.DataFrame:
        """All ratings, one row each."""
        ...

    def spending(self, keys: Sequence[bytes]) -> Mapping[str, float]:
        """Sums over the calls of these keys and their follow-ups.

        calls, priced (calls whose cost is known), prompt/cached/completion tokens, cost.
        """
        ...

    def call_frame(self, keys: Sequence[bytes]) -> pl.DataFrame:
        """One row per call of these keys and of their follow-ups, all generations, no bodies.

        key, generation, parent, purpose, model, sample, prompt_tokens, cached_tokens,
        completion_tokens, cost (USD), latency_s, attempts, started_at.
        """
        ...

    def add_batch_event(self, event: BatchEvent) -> None:
        """Note what happened to a batch."""
        ...

    def batch_events(self, model: str) -> list[BatchEvent]:
        """What happened to the batches of a model, oldest first."""
        ...

    def add_review(self, review: Review) -> None:
        """Note what a person decided about an escalated answer."""
        ...

    def reviews(self) -> list[Review]:
        """All reviews, oldest first."""
        ...

    def add_series_event(self, event: SeriesEvent) -> None:
        """Note what happened in a series.

        The same event again is not stored twice. Raises LedgerError if the ledger holds another
        body for the same series, kind and name.
        """
        ...

    def series_events(
        self, series: str | None = None, kind: str | None = None
    ) -> list[SeriesEvent]:
        """What happened in a series (None: in all), in the order in which it was noted."""
        ...

    def close(self) -> None:
        """Release the database; further use is an error."""
        ...
