"""The options of ``judge score``, checked and parsed before anything is opened or sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from judge.cli._auto import auto_judge
from judge.cli._batching import BatchOptions
from judge.cli._sending import Sending, SendingOptions, temperature_of
from judge.endpoint import Decoding, ModelSpec, OutputMode, parse_spec
from judge.errors import UsageError
from judge.offline import FEATURES
from judge.records import Reason
from judge.rubric import Rubric, load_rubric
from judge.scoring import ScoreSettings, planned_units
from judge.settings import Mode, PromptOrder, Scoring
from judge.weights import load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """The options of ``judge score``, as typed."""

    judge: str
    rubric: str
    answers: Path | None = None
    models: list[str] | None = None
    answers_occasion: str | None = None
    questions: str = "monetization"
    mode: Mode = Mode.PER_CRITERION
    scoring: Scoring = Scoring.SAMPLES
    order: PromptOrder | None = None
    output: OutputMode | None = None
    shots: int = 0
    checklists: bool = False
    samples: int = 1
    occasion: str = ""
    weights: str = "equal"
    stage: str | None = None
    temperature: str | None = None
    max_tokens: int = 2048
    sending: SendingOptions = field(default_factory=SendingOptions)
    batching: BatchOptions | None = None
    """How to use batches; None: send the calls one by one."""
    retry_unscored: list[str] = field(default_factory=list)
    max_unscored: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreJob:
    """What is to be done: one judge, or the judges of a panel, each with its settings."""

    judges: Sequence[tuple[ModelSpec, ScoreSettings]]
    rubric: Rubric
    sending: Sending
    batching: BatchOptions | None = None

    @property
    def name(self) -> str:
        """The judge, or the panel, as reports name it."""
        names = [spec.identity for spec, _ in self.judges]
        return names[0] if len(names) == 1 else f"panel: {', '.join(names)}"

    @property
    def offline(self) -> bool:
        """Whether the offline baseline judges alone."""
        return all(spec.offline for spec, _ in self.judges)


def score_job(options: ScoreOptions) -> ScoreJob:
    """The job that the options describe. Raises UsageError or InputError for what cannot be."""
    rubric = load_rubric(options.rubric)
    _require_known_baselines(rubric, options.rubric)
    load_profile(options.weights, rubric).vector(stage=options.stage)
    specs = [parse_spec(auto_judge(name.strip())) for name in options.judge.split(",")]
    names = [spec.identity for spec in specs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"--judge {options.judge}: {twice} is there twice. A panel needs different judges; "
            "for several opinions of one judge use --samples."
        )
    for spec in specs:
        if not spec.offline:
            spec.api_key()
    job = ScoreJob(
        judges=[(spec, _settings(options, spec)) for spec in specs],
        rubric=rubric,
        sending=Sending(options.sending, models=len(specs)),
        batching=options.batching,
    )
    next(iter(planned_units([], rubric, job.judges[0][1])), None)  # a mode that does not fit
    return job


def _settings(options: ScoreOptions, spec: ModelSpec) -> ScoreSettings:
    if spec.offline:
        for name, wanted in (
            ("--scoring logprobs", options.scoring is not Scoring.SAMPLES),
            ("--shots", options.shots > 0),
            ("--checklists", options.checklists),
        ):
            if wanted:
                raise UsageError(f"{name}: the offline baseline has no model that could use it.")
    if options.checklists and options.mode is not Mode.PER_CRITERION:
        raise UsageError("--checklists: only with --mode per-criterion.")
    if options.checklists and options.scoring is not Scoring.SAMPLES:
        raise UsageError("--checklists: only with --scoring samples.")
    return ScoreSettings(
        samples=1 if spec.offline else options.samples,
        occasion=options.occasion,
        decoding=Decoding(
            temperature=temperature_of(options.temperature, options.scoring.temperature),
            max_tokens=options.max_tokens,
        ),
        mode=options.mode,
        scoring=options.scoring,
        order=options.order or options.mode.order,
        checklists=options.checklists,
        output=options.output,
        retry=frozenset(_reason(name) for name in options.retry_unscored),
    )


def _require_known_baselines(rubric: Rubric, name: str) -> None:
    for criterion in rubric.criteria:
        if criterion.baseline is not None and criterion.baseline not in FEATURES:
            raise UsageError(
                f"{name}: {criterion.criterion}: found baseline {criterion.baseline}, expected "
                f"one of {', '.join(FEATURES)}, or none."
            )


def _reason(name: str) -> Reason:
    try:
        return Reason(name)
    except ValueError:
        names = ", ".join(reason.value for reason in Reason)
        raise UsageError(f"--retry-unscored {name}: expected one of {names}.") from None
