"""What a night needs to know: the configuration with the files that it names, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from judge.canonical import digest
from judge.endpoint import Decoding, ModelSpec, parse_spec
from judge.nightly._config import NightlyConfig
from judge.nightly._measure import Ruler
from judge.questions import load_questions, question_hash
from judge.records import OVERALL, Question
from judge.rubric import Rubric, load_rubric
from judge.scoring import ScoreSettings
from judge.weights import Weights, load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A configuration with the files that it names, read."""

    config: NightlyConfig
    questions: Mapping[str, Question]
    rubric: Rubric
    weights: Weights
    judge: ModelSpec
    candidate: ModelSpec | None
    """None where a file holds the answers."""

    @property
    def categories(self) -> dict[str, str | None]:
        """The category of each question."""
        return {name: question.category for name, question in self.questions.items()}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The criteria, then the overall."""
        return (*(one.criterion for one in self.rubric.criteria), OVERALL)

    @property
    def samples(self) -> int:
        """Verdicts per answer and criterion; the offline baseline would only repeat itself."""
        return 1 if self.judge.offline else self.config.judge.samples

    @property
    def questions_hash(self) -> str:
        """What all questions say, in short."""
        return digest(sorted(question_hash(one).hex() for one in self.questions.values())).hex()

    @property
    def weights_hash(self) -> str:
        """The weights and the rules of the overall, in short, behind their name."""
        body = [
            dict(self.weights.vector(None, self.config.stage)),
            {name: dict(of) for name, of in self.weights.categories.items()},
            [[cap.priority, cap.at_or_below, cap.cap] for cap in self.weights.caps],
        ]
        return f"{self.weights.name} {digest(body).hex()[:12]}"

    def judging(self, occasion: str) -> ScoreSettings:
        """What is asked of the judge on an occasion."""
        judge = self.config.judge
        usual = judge.scoring.temperature
        return ScoreSettings(
            samples=self.samples,
            occasion=occasion,
            decoding=Decoding(
                temperature=usual if judge.temperature is None else judge.temperature,
                max_tokens=judge.max_tokens,
            ),
            mode=judge.mode,
            scoring=judge.scoring,
            order=judge.mode.order,
        )

    def ruler(self, rulers: Mapping[str, str]) -> Ruler:
        """What turns tonight's verdicts into scores."""
        return Ruler(
            rubric=self.rubric, weights=self.weights, stage=self.config.stage, rulers=rulers,
            samples=self.samples,
            offline=self.judge.offline,
        )  # fmt: skip

    def made_by(self, rulers: Mapping[str, str]) -> dict[str, Any]:
        """All that gives scores, by names that people know: what an epoch is made of."""
        judge, candidate = self.judging(""), self.config.candidate
        asked = (
            {}
            if self.candidate is None
            else {
                "candidate's temperature": candidate.temperature,
                "candidate's max_tokens": candidate.max_tokens,
                "candidate's system message": candidate.system,
                "candidate's thoughts": "left out" if candidate.strip_thinking else "kept",
            }
        )
        return {
            "judge": self.judge.identity,
            "judge samples": self.samples,
            "mode": judge.mode.value,
            "scoring": judge.scoring.value,
            "temperature": judge.decoding.temperature,
            "max_tokens": judge.decoding.max_tokens,
            "weights": self.weights_hash,
            "stage": self.config.stage,
            "questions": self.questions_hash,
            "answers per question": candidate.samples,
            **asked,
            "rulers": dict(rulers),
        }

    def epoch(self, rulers: Mapping[str, str]) -> str:
        """The epoch of a night: the same only where all that gives scores is."""
        return digest(self.made_by(rulers)).hex()[:16]


def plan_of(config: NightlyConfig) -> Plan:
    """Read what the configuration names. Raises InputError, UsageError for what cannot be used."""
    rubric = load_rubric(config.rubric)
    weights = load_profile(config.weights, rubric)
    weights.vector(stage=config.stage)
    judge = parse_spec(config.judge.model)
    candidate = None if config.candidate.model is None else parse_spec(config.candidate.model)
    for spec in (judge, candidate):
        if spec is not None and not spec.offline and spec.local is None:
            spec.api_key()
    return Plan(
        config=config,
        questions={one.question_id: one for one in load_questions(config.questions)},
        rubric=rubric,
        weights=weights,
        judge=judge,
        candidate=candidate,
    )
