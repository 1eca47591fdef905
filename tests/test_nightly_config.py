"""The settings of a night run: what they become, and the place of what cannot be meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from judge.drift import DriftSettings
from judge.endpoint import parse_spec
from judge.errors import InputError
from judge.nightly._config import (
    EmailSettings,
    NightlyConfig,
    Webhook,
    WebhookFormat,
    When,
    load_nightly,
)
from judge.settings import Mode, Scoring

SMALL = """\
series: support-bot
candidate: {model: "openai:gpt-mine"}
judge: {model: "openai:gpt-judge"}
"""
DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def write(folder: Path, text: str) -> Path:
    place = folder / "nightly.yaml"
    place.write_text(text)
    return place


def load(folder: Path, text: str) -> NightlyConfig:
    return load_nightly(write(folder, text))


def test_three_fields_are_enough(tmp_path: Path) -> None:
    config = load(tmp_path, SMALL)
    assert (config.series, config.candidate.name) == ("support-bot", "support-bot")
    assert config.out == tmp_path.resolve() / "nightly"
    assert (config.questions, config.rubric) == ("monetization", "communication")
    assert (config.weights, config.stage, config.ledger) == ("equal", None, None)
    assert (config.judge.mode, config.judge.scoring) == (Mode.PER_CRITERION, Scoring.SAMPLES)
    assert config.time_limit == 4 * 60 * 60
    assert config.notify.when == (When.ALARM, When.INCONCLUSIVE)


def test_every_field_arrives(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("")
    config = load(
        tmp_path,
        """\
series: bot
description: ours
ledger: sqlite:///data/plumbline.db
out: site
questions: mine.yaml
rubric: mine.yaml
weights: paper
stage: release
candidate: {answers: "answers/{date}.jsonl", name: ours, samples: 2}
judge:
  {model: offline, samples: 5, mode: joint, scoring: logprobs, temperature: 0, max_tokens: 9}
baseline: {nights: 14}
anchors: {n: 0}
slice: {n: 7}
again: {samples: 0}
canaries: false
alarms:
  {gate: 0.02, detector: 0.03, judge: 0.1, least_margin: 0.02, judge_margin: 0.01, guard: 5}
sending:
  {concurrency: 4, timeout: 30, max_attempts: 2, rpm: 60, tpm: 1000, price: "1,1,2;2,2,4",
   budget: 5}
time_limit: 90m
max_unscored: 0.1
retention: {pages: null}
notify:
  when: [always]
  webhooks: [{url_env: A}, {url_env: B, format: slack}]
  email: {host: mail.example.org, port: 465, user_env: U, password_env: P,
          from: a@example.org, to: [b@example.org, c@example.org]}
""",
    )
    base = tmp_path.resolve()
    assert config.ledger == f"sqlite:///{base}/data/plumbline.db"
    assert config.questions == str(base / "mine.yaml")
    assert (config.weights, config.stage, config.description) == ("paper", "release", "ours")
    assert config.candidate.answers_file("2026-03-01") == base / "answers/2026-03-01.jsonl"
    assert (config.candidate.model, config.candidate.samples) == (None, 2)
    assert (config.judge.mode, config.judge.scoring) == (Mode.JOINT, Scoring.LOGPROBS)
    assert config.judge.temperature == 0.0
    assert (config.slice.n, config.again.samples, config.canaries) == (7, 0, False)
    assert (config.sending.timeout, config.sending.budget) == (30.0, "5")
    assert isinstance(config.sending.timeout, float)
    assert (config.time_limit, config.retention.pages) == (5400.0, None)
    assert config.notify.webhooks == (
        Webhook(url_env="A"),
        Webhook(url_env="B", format=WebhookFormat.SLACK),
    )
    assert config.notify.email == EmailSettings(
        host="mail.example.org",
        sender="a@example.org",
        to=("b@example.org", "c@example.org"),
        port=465,
        user_env="U",
        password_env="P",
    )
    assert config.notify.email.implicit_tls
    assert config.drift() == DriftSettings(
        gate_alpha=0.02,
        detector_alpha=0.03,
        judge_alpha=0.1,
        least_margin=0.02,
        judge_margin=0.01,
        guard=5,
        baseline_nights=14,
        max_unscored=0.1,
    )


def test_the_defaults_are_those_of_the_statistics(tmp_path: Path) -> None:
    assert load(tmp_path, SMALL).drift() == DriftSettings()


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("serie: x", "4: serie", "Did you mean series?"),
        ("alarms: {gates: 0.01}", "4: alarms.gates", "Did you mean gate?"),
        ("alarms: {gate: 0}", "4: alarms.gate", "found 0, expected a number above 0"),
        ("alarms: {detector: 0.7}", "4: alarms.detector", "at most 0.5"),
        (
            "baseline: {nights: 9}",
            "4: baseline.nights",
            "found 9, expected a number of at least 10",
        ),
        ("canaries: yes", "4: canaries", 'the text "yes", expected true or false'),
        ("stage: last", "4: stage", "one of base, early, late, release, null"),
        ("max_unscored: 5", "4: max_unscored", "at most 1"),
        ("time_limit: 4 hours", "4: time_limit", "such as 4h, 90m"),
        ("time_limit: ''", "4: time_limit", "expected text that is not empty"),
        ("time_limit: 0", "4: time_limit", "above 0"),
        ("time_limit: true", "4: time_limit", "found true"),
        ("sending: {budget: much}", "4: sending.budget", "e.g. 5USD"),
        ("sending: {budget: 5USD}", "4: sending.budget", "Add price"),
        ("sending: {price: '1,2'}", "4: sending.price", "PROMPT,CACHED,COMPLETION"),
        ("sending: {price: '1,2,3;1,2,3;1,2,3'}", "4: sending.price", "found 3 prices"),
        ("sending: {rpm: 0}", "4: sending.rpm", "at least 1"),
        ("retention: {pages: 0}", "4: retention.pages", "at least 1"),
        ("rubric: communicaton", "4: rubric", "one of communication"),
        ("weights: mine/w.yaml", "4: weights", "Relative paths start at the folder of this file"),
        ("questions: nowhere", "4: questions", "where there is no file"),
        ("ledger: plumbline.db", "4: ledger", "sqlite:///FILE"),
        ("ledger: 'sqlite:///'", "4: ledger", "sqlite:///FILE"),
        ("notify: {when: [alarms]}", "4: notify.when[0]", "one of alarm, inconclusive, pass"),
        ("notify: {email: {host: h, to: [a@b]}}", "4: notify.email", "the field from"),
        ("notify: {email: {host: h, from: me, to: [a@b]}}", "4: notify.email.from", "found me"),
        ("notify: {email: {host: h, from: a@b, to: []}}", "4: notify.email.to", "at least 1 entry"),
        (
            "notify: {email: {host: h, from: a@b, to: [a@b], user_env: U}}",
            "4: notify.email.user_env",
            "both user_env and password_env",
        ),
        (
            "notify: {email: {host: h, from: a@b, to: [a@b], user_env: U, password_env: P, "
            "starttls: false}}",
            "4: notify.email.starttls",
            "without TLS",
        ),
        ("alarms:\n  guard: 3\n  judge: much", "6: alarms.judge", 'the text "much"'),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(
    tmp_path: Path, line: str, place: str, words: str
) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path, SMALL + line + "\n")
    assert f"nightly.yaml:{place}: found " in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("candidate", "field", "words"),
    [
        ("{name: x}", "candidate", "neither model nor answers"),
        ("{model: 'openai:m', answers: a}", "candidate.answers", "both model and answers"),
        ("{model: offline}", "candidate.model", "it gives none"),
        ("{model: 'openai:a,openai:b'}", "candidate.model", "one model"),
        ("{model: gpt-5}", "candidate.model", "expected openai:MODEL"),
        ("{model: 'http://host/v1'}", "candidate.model", "as in http://HOST:PORT/v1#MODEL"),
        ("{answers: 'a/{day}.jsonl'}", "candidate.answers", "{date} may stand"),
        ("{answers: a, temperature: 1}", "candidate.temperature", "beside answers"),
        ("{model: 'openai:m', name: 'a, b'}", "candidate.name", "without commas"),
        ("{model: 'openai:m', sample: 2}", "candidate.sample", "Did you mean samples?"),
    ],
)
def test_a_candidate_is_one_model_or_files(
    tmp_path: Path, candidate: str, field: str, words: str
) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path, f"series: s\ncandidate: {candidate}\njudge: {{model: offline}}\n")
    assert f"nightly.yaml:2: {field}: found " in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize("judge", ["auto", "openai:a,openai:b", "gpt-5"])
def test_a_judge_is_named(tmp_path: Path, judge: str) -> None:
    with pytest.raises(InputError, match=r"nightly.yaml:3: judge.model: found"):
        load(tmp_path, SMALL.replace("openai:gpt-judge", judge))


SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "line",
    [
        f"ledger: postgresql://me:{SECRET}@db/plumbline",
        f"ledger: postgresql://me@db/plumbline?password={SECRET}",
        f"ledger: mysql://me:{SECRET}@db/plumbline",
        f"ledger: 'postgresql://me:{SECRET}@[db/plumbline'",
        f"notify: {{webhooks: ['https://hooks.example.org/{SECRET}']}}",
        f"notify: {{webhooks: [{{url_env: 'https://hooks.example.org/{SECRET}'}}]}}",
        f"notify: {{webhooks: [{{url: 'https://hooks.example.org/{SECRET}'}}]}}",
        f"notify: {{webhooks: 'https://hooks.example.org/{SECRET}'}}",
        f"notify: {{webhooks: {{url_env: 'https://hooks.example.org/{SECRET}'}}}}",
        f"notify: {{email: {{host: h, from: a@b, to: [a@b], password_env: '{SECRET}!'}}}}",
        f"notify: {{email: {{host: h, from: a@b, to: [a@b], password: {SECRET}}}}}",
        f"notify: {{email: {{host: h, from: a@b, to: [a@b], password_env: ['{SECRET}']}}}}",
        f"notify: {{email: 'smtp://me:{SECRET}@mail.example.org'}}",
        f"candidate: {{model: 'http://me:{SECRET}@host/v1#m'}}",
    ],
)
def test_secrets_in_the_file_are_refused_and_not_shown(tmp_path: Path, line: str) -> None:
    base = SMALL
    if line.startswith("candidate"):
        base = SMALL.replace('candidate: {model: "openai:gpt-mine"}\n', "")
    with pytest.raises(InputError) as refused:
        load(tmp_path, base + line + "\n")
    assert SECRET not in str(refused.value)
    assert "nightly.yaml:" in str(refused.value)


def test_a_ledger_without_a_password_is_taken(tmp_path: Path) -> None:
    url = "postgresql://me@db.example.org/plumbline?sslmode=require"
    assert load(tmp_path, f"{SMALL}ledger: {url}\n").ledger == url
    assert load(tmp_path, f"{SMALL}ledger: sqlite:////srv/a.db\n").ledger == "sqlite:////srv/a.db"


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("hf:models/a", "hf:{base}/models/a"),
        ("vllm:models/a?tp=2&dtype=auto", "vllm:{base}/models/a?tp=2&dtype=auto"),
        ("vllm:models/later", "vllm:{base}/models/later"),  # the folder models is there
        ("vllm:lmsys/vicuna", "vllm:lmsys/vicuna"),  # a hub's, as there is no folder lmsys
        ("vllm:./x", "vllm:{base}/x"),
        ("vllm:/srv/m", "vllm:/srv/m"),
        (
            "hf:models/a?chat_template=t%20x.jinja",
            "hf:{base}/models/a?chat_template={base}/t%20x.jinja",
        ),
        ("https://host/v1#m", "https://host/v1#m"),
    ],
)
def test_folders_of_models_start_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, wanted: str
) -> None:
    (tmp_path / "models" / "a").mkdir(parents=True)
    write(tmp_path, SMALL.replace("openai:gpt-judge", spec))
    (tmp_path / "elsewhere").mkdir()
    from_here = load_nightly(tmp_path / "nightly.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    from_there = load_nightly("../nightly.yaml")
    assert from_here.judge.model == wanted.format(base=tmp_path.resolve())
    # The same from everywhere: a judge under another name would begin a new epoch.
    assert from_there.judge == from_here.judge
    assert from_there.candidate == from_here.candidate
    assert from_there.out == from_here.out


def test_a_template_with_awkward_characters_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "a & b %41"
    folder.mkdir()
    (folder / "t.jinja").write_text("{{ messages }}")
    spec = f"vllm:org/name?chat_template={'t.jinja'}"
    config = load(folder, SMALL.replace("openai:gpt-judge", spec))
    local = parse_spec(config.judge.model).local
    assert local is not None
    assert local.template_file == (folder / "t.jinja").resolve()


@given(hours=st.integers(0, 99), minutes=st.integers(0, 99), seconds=st.integers(0, 99))
def test_times_are_read_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, hours: int, minutes: int, seconds: int
) -> None:
    folder = tmp_path_factory.mktemp("times")
    text = "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n)
    total = hours * 3600 + minutes * 60 + seconds
    if total == 0:
        with pytest.raises(InputError):
            load(folder, f"{SMALL}time_limit: '0h'\n")
        return
    assert load(folder, f"{SMALL}time_limit: {text}\n").time_limit == total
    assert load(folder, f"{SMALL}time_limit: {total}\n").time_limit == total
    assert load(folder, f"{SMALL}time_limit: null\n").time_limit is None


def fields_of(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Every field that a file can give, as the documentation writes it."""
    found: set[str] = set()
    for name, entry in schema.get("properties", {}).items():
        inner = entry.get("items", entry) if entry.get("type") == "array" else entry
        place = f"{prefix}{name}" + ("[]" if inner is not entry and "properties" in inner else "")
        found |= fields_of(inner, f"{place}.") if "properties" in inner else {place}
    return found


def documented() -> dict[str, str]:
    """Field → default, from the tables of the documentation."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (.+?) \| .+ \|$", (DOCS / "nightly-config.md").read_text(), re.M
    )
    return dict(rows)


def test_every_field_is_documented_and_nothing_else() -> None:
    import json

    from judge.resources import shipped

    schema = json.loads(shipped("schemas/nightly.schema.json").read_text())
    assert set(documented()) == fields_of(schema)


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    email = "notify: {webhooks: [{url_env: W}], email: {host: h, from: a@b, to: [a@b]}}\n"
    config = load(tmp_path, SMALL + email)
    yaml = YAML(typ="safe")
    compared = 0
    for name, text in documented().items():
        if not text.startswith("`"):
            continue  # "required", or words
        value: Any = config
        for part in name.replace("[]", "").split("."):
            value = value[0] if isinstance(value, tuple) else value
            value = getattr(value, part)
        wanted = yaml.load(text.strip("`"))
        if name == "time_limit":
            assert (wanted, value) == ("4h", 14400.0)
        elif name == "out":
            assert value == tmp_path.resolve() / wanted
        else:
            assert (list(value) if isinstance(value, tuple) else value) == wanted, name
        compared += 1
    assert compared > 40


def test_the_documented_example_is_a_configuration(tmp_path: Path) -> None:
    text = (DOCS / "nightly-config.md").read_text()
    example = re.search(r"```yaml\n(series:.*?)```", text, re.S)
    assert example is not None
    config = load(tmp_path, example[1])
    assert config.series == "support-bot"
    assert config.notify.email is not None
