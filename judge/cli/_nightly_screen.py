"""What a night shows while it goes on, and how it reaches its models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from judge.answering import AnswerRun
from judge.cli._answering import summary as answers_summary
from judge.cli._display import RunDisplay
from judge.cli._outcome import summary, troubles
from judge.cli._sending import Sending, SendingOptions
from judge.cli._serving import served
from judge.endpoint import ChatEndpoint, ModelSpec
from judge.scoring import ScoreRun

if TYPE_CHECKING:
    from judge.nightly import Plan


class NightScreen:
    """The terminal's part of a night: bars, models that are started, endpoints under one budget."""

    def __init__(self, plan: Plan) -> None:
        sending = plan.config.sending
        models = 1 if sending.price is None or ";" not in sending.price else 2
        self._sending = Sending(
            SendingOptions(
                concurrency=sending.concurrency,
                timeout=sending.timeout,
                max_attempts=sending.max_attempts,
                rpm=sending.rpm,
                tpm=sending.tpm,
                budget=sending.budget,
                price=sending.price,
            ),
            models=models,
        )
        self._judge = models - 1

    @contextmanager
    def answers(self, title: str) -> Iterator[Callable[[AnswerRun, Any], None]]:
        """The bar of answering."""
        display: RunDisplay[AnswerRun] = RunDisplay(
            title, summary=answers_summary, troubles=lambda run: ""
        )
        with display:
            yield display.update

    @contextmanager
    def scores(self, title: str) -> Iterator[Callable[[ScoreRun, Any], None]]:
        """The bar of scoring."""
        with RunDisplay[ScoreRun](title, summary=summary, troubles=troubles) as display:
            yield display.update

    def served(self, spec: ModelSpec, *, needed: bool) -> AbstractContextManager[ModelSpec]:
        """A model of ours, started where it is needed."""
        return served(spec, needed=needed)

    def opener(self, spec: ModelSpec, *, judge: bool) -> Callable[[], ChatEndpoint]:
        """What opens an endpoint; candidate and judge share the night's budget."""
        return self._sending.opener(spec, self._judge if judge else 0)
