"""The settings of a night run: one YAML file, typed, frozen, and refused with a place.

The file's fields are described in docs/nightly-config.md; their form is
``schemas/nightly.schema.json``. Here every default stands. Secrets are named by the environment
variables that hold them, and never stand in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from judge.settings import Mode, Scoring

if TYPE_CHECKING:
    from judge.drift import DriftSettings

DATE = "{date}"
"""What stands for the date of a night in ``candidate.answers``."""
OUT = "nightly"
"""The folder of the site, beside the file, unless the file names another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSettings:
    """Whose answers are watched: a model that is asked every night, or files made elsewhere.

    One of ``model`` (a SPEC) and ``answers`` (a path, perhaps with `DATE`) is given, the other is
    None. The fields from ``temperature`` on are those of a model.
    """

    name: str
    """Under which the answers are kept; the series, unless the file says otherwise."""
    model: str | None = None
    answers: str | None = None
    samples: int = 1
    """Answers per question and night."""
    temperature: float | None = 0.7
    """None: the server's own."""
    max_tokens: int = 2048
    seed: int | None = None
    system: str | None = None
    strip_thinking: bool = False

    def answers_file(self, date: str) -> Path | None:
        """The file of the answers of a night (ISO date); None where a model answers."""
        return None if self.answers is None else Path(self.answers.replace(DATE, date))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """Who judges, and how it is asked; a change of any of these begins a new epoch."""

    model: str
    samples: int = 3
    mode: Mode = Mode.PER_CRITERION
    scoring: Scoring = Scoring.SAMPLES
    temperature: float | None = None
    """None: that of ``scoring``."""
    max_tokens: int = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSettings:
    """What a baseline needs."""

    nights: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorSettings:
    """Rated answers that are judged again every night; ``n`` of them, 0: none."""

    n: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSettings:
    """Answers of baseline nights that are judged again every night; ``n`` of them, 0: none."""

    n: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainSettings:
    """The A/A arm: ``samples`` further answers of the candidate per question, 0: none."""

    samples: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSettings:
    """The yearly budget of false alarms and what counts as a change; see `DriftSettings`."""

    gate: float = 0.01
    detector: float = 0.04
    judge: float = 0.05
    least_margin: float = 0.01
    judge_margin: float = 0.005
    guard: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingSettings:
    """How requests are sent; the fields are the options of the same names of ``judge score``."""

    concurrency: int = 32
    timeout: float = 120.0
    max_attempts: int = 6
    rpm: int | None = None
    tpm: int | None = None
    price: str | None = None
    """One for candidate and judge alike, or two with ; between them: the candidate's, the judge's.
    A file of answers has no price."""
    budget: str | None = None
    """Of one night, for candidate and judge together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """What is kept of the site; the ledger keeps everything."""

    pages: int | None = 90
    """Pages of single nights, the newest first; None: all."""


class When(StrEnum):
    """Nights of which people are told."""

    ALARM = "alarm"
    """The decision is regress."""
    INCONCLUSIVE = "inconclusive"
    PASS = "pass"  # noqa: S105 - a decision
    ALWAYS = "always"
    """Every night, those that still collect a baseline included."""


class WebhookFormat(StrEnum):
    """What is posted."""

    JSON = "json"
    SLACK = "slack"
    """``{"text": ...}``, which Slack and those compatible with it take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that is posted to; ``url_env`` names the variable that holds it."""

    url_env: str
    format: WebhookFormat = WebhookFormat.JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailSettings:
    """A mail server and the addresses; ``user_env`` and ``password_env`` name variables.

    Port 465 speaks TLS from the start (RFC 8314, section 3.3), whatever ``starttls`` says.
    """

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 587
    starttls: bool = True
    user_env: str | None = None
    password_env: str | None = None

    @property
    def implicit_tls(self) -> bool:
        """Whether the connection begins with TLS."""
        return self.port == 465


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """Who is told, and of which nights."""

    when: tuple[When, ...] = (When.ALARM, When.INCONCLUSIVE)
    webhooks: tuple[Webhook, ...] = ()
    email: EmailSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyConfig:
    """One series and its nights, as `load_nightly` reads it; paths are absolute.

    ``site_url`` is where ``out`` is served, for the links of messages; None: nowhere.
    ``questions``, ``rubric`` and ``weights`` are paths or names of shipped files. ``ledger`` is
    None where the file leaves it to the command. ``time_limit`` is in seconds, None: none.
    """

    path: Path
    series: str
    out: Path
    candidate: CandidateSettings
    judge: JudgeSettings
    description: str = ""
    site_url: str | None = None
    ledger: str | None = None
    questions: str = "monetization"
    rubric: str = "communication"
    weights: str = "equal"
    stage: str | None = None
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    slice: SliceSettings = field(default_factory=SliceSettings)
    again: AgainSettings = field(default_factory=AgainSettings)
    canaries: bool = True
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    sending: SendingSettings = field(default_factory=SendingSettings)
    time_limit: float | None = 4 * 3600.0
    max_unscored: float = 0.05
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)

    def drift(self) -> DriftSettings:
        """How the series is watched."""
        from judge.drift import DriftSettings

        return DriftSettings(
            gate_alpha=self.alarms.gate,
            detector_alpha=self.alarms.detector,
            judge_alpha=self.alarms.judge,
            least_margin=self.alarms.least_margin,
            judge_margin=self.alarms.judge_margin,
            guard=self.alarms.guard,
            baseline_nights=self.baseline.nights,
            max_unscored=self.max_unscored,
        )
