"""The endpoint: SPECs, the taxonomy of faults, and the limits on how much is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.endpoint import (
    AdaptiveLimit,
    Budget,
    BudgetSpent,
    Capabilities,
    ChatEndpoint,
    Completion,
    Decoding,
    OutputMode,
    Prices,
    RateLimits,
    RejectedRequest,
    RetryPolicy,
    StillFailing,
    TransientFault,
    UnsupportedParameter,
    parse_spec,
    read_reply,
    read_usage,
    request_body,
)
from judge.endpoint._faults import _retry_after
from judge.errors import EndpointError, UsageError
from tests.chat_server import Behaviour, ChatServer
from tests.support import FAST

BODY = orjson.dumps({"model": "judge", "messages": [{"role": "user", "content": "Hi"}]})


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PLUMBLINE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield


async def complete(server: ChatServer, **options: object) -> Completion:
    settings = {"concurrency": 4, "timeout_s": 2.0, "retry": FAST, **options}
    async with ChatEndpoint(parse_spec(server.spec()), **settings) as endpoint:  # type: ignore[arg-type]
        return await endpoint.complete(BODY, 64)


@pytest.mark.usefixtures("clean_environment")
class TestSpec:
    def test_a_server_is_its_url_and_model(self) -> None:
        spec = parse_spec("http://127.0.0.1:8000/v1/#org/model")
        assert (spec.base_url, spec.model) == ("http://127.0.0.1:8000/v1", "org/model")
        assert spec.identity == "http://127.0.0.1:8000/v1#org/model"

    def test_another_base_url_is_another_openai_judge(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = parse_spec("openai:some-model")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        elsewhere = parse_spec("openai:some-model")
        assert plain.identity == "openai:some-model"
        assert elsewhere.identity != plain.identity
        assert elsewhere.max_tokens_parameter == "max_completion_tokens"

    @pytest.mark.parametrize(
        "spec", ["", "gpt", "openai:", "http://host/v1", "http://#m", "ftp://h#m"]
    )
    def test_anything_else_is_refused_with_the_forms_that_exist(self, spec: str) -> None:
        with pytest.raises(UsageError, match=r"http://HOST:PORT/v1#MODEL"):
            parse_spec(spec)

    def test_the_openai_key_goes_to_openai_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
            parse_spec("openai:m").api_key()
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        assert parse_spec("openai:m").api_key() == "secret"
        assert parse_spec("http://127.0.0.1:1/v1#m").api_key() == "none"
        monkeypatch.setenv("PLUMBLINE_API_KEY", "mine")
        assert parse_spec("http://127.0.0.1:1/v1#m").api_key() == "mine"


class TestRequest:
    spec = parse_spec("http://127.0.0.1:1/v1#m")

    def test_the_ladder_gives_up_one_thing_at_a_time(self) -> None:
        rung = Capabilities()
        seen = []
        while (lower := rung.without(None, Decoding())) is not None:
            rung = lower
            seen.append(rung.output_mode)
        assert seen == [OutputMode.JSON_OBJECT, OutputMode.TEXT]
        assert Capabilities.from_dict(rung.to_dict()) == rung

    def test_a_refused_parameter_is_left_out_and_a_refused_limit_renamed(self) -> None:
        less = Capabilities(refused=frozenset({"temperature=0.7", "max_tokens"}))
        body = request_body(self.spec, [], {"type": "object"}, Decoding(), less)
        assert "temperature" not in body
        assert "max_tokens" not in body
        assert body["max_completion_tokens"] == 2048
        assert less.without("temperature", Decoding()) is None
        colder = request_body(self.spec, [], None, Decoding(temperature=0.0), less)
        assert colder["temperature"] == 0.0, "another value is not refused"


class TestFaults:
    @pytest.mark.parametrize(
        ("kind", "fault"),
        [
            ("429", "rate_limited"),
            ("500", "server_error"),
            ("503", "overloaded"),
            ("408", "timeout"),
            ("409", "conflict"),
            ("reset", "connection"),
            ("cut_body", "connection"),
            ("bad_envelope", "malformed"),
            ("html", "malformed"),
            ("empty_choices", "malformed"),
        ],
    )
    async def test_transient_faults_leave_the_request_open(self, kind: str, fault: str) -> None:
        with ChatServer(Behaviour(faults={kind: 1.0}, retry_after=0.01)) as server:
            with pytest.raises(StillFailing) as failed:
                await complete(server, retry=RetryPolicy(max_attempts=3, first_wait_s=0.001))
            assert failed.value.last.kind == fault
            assert server.stats()["requests"] == 3

    @pytest.mark.parametrize("kind", ["401", "402", "403", "insufficient_quota", "model_not_found"])
    async def test_some_faults_stop_everything_at_the_first_try(self, kind: str) -> None:
        with ChatServer(Behaviour(faults={kind: 1.0})) as server:
            with pytest.raises(EndpointError, match=r"run again|model's name"):
                await complete(server)
            assert server.stats()["requests"] == 1

    async def test_a_bad_request_is_not_tried_again(self) -> None:
        with ChatServer(Behaviour(faults={"bad_request": 1.0})) as server:
            with pytest.raises(RejectedRequest):
                await complete(server)
            assert server.stats()["requests"] == 1

    async def test_a_refused_parameter_is_named(self) -> None:
        with ChatServer(Behaviour(reject_parameters=["seed"])) as server:
            body = orjson.dumps({**orjson.loads(BODY), "seed": 1})
            async with ChatEndpoint(parse_spec(server.spec())) as endpoint:
                with pytest.raises(UnsupportedParameter) as refused:
                    await endpoint.complete(body, 64)
        assert refused.value.parameter == "seed"

    async def test_nobody_listens(self) -> None:
        spec = parse_spec("http://127.0.0.1:9/v1#m")
        quick = RetryPolicy(max_attempts=2, first_wait_s=0.001)
        async with ChatEndpoint(spec, retry=quick) as endpoint:
            with pytest.raises(StillFailing, match="connection"):
                await endpoint.complete(BODY, 64)

    async def test_retry_after_is_honoured(self) -> None:
        with ChatServer(Behaviour(scripted=["429"], retry_after=0.4)) as server:
            started = time.monotonic()
            completion = await complete(server)
        assert completion.attempts == 2
        assert time.monotonic() - started >= 0.4, "a lower bound: never earlier than asked"

    def test_both_forms_of_retry_after(self) -> None:
        assert _retry_after({"retry-after": "1.5"}) == 1.5
        assert _retry_after({"retry-after": "0"}) == 0
        past, future = (formatdate(time.time() + ahead, usegmt=True) for ahead in (-100, 1000))
        assert _retry_after({"retry-after": past}) == 0
        wait = _retry_after({"retry-after": future})
        assert wait is not None
        assert 900 < wait <= 1000

    @pytest.mark.parametrize("header", ["", "soon", "nan", "inf", "-"])
    def test_a_retry_after_that_says_nothing_is_ignored(self, header: str) -> None:
        assert _retry_after({"retry-after": header}) is None


class TestReply:
    @given(st.binary(max_size=300))
    def test_no_body_makes_it_fail_in_another_way(self, body: bytes) -> None:
        for read in (lambda: read_reply(200, body), lambda: read_usage(body)):
            try:
                read()
            except TransientFault as fault:
                assert fault.kind == "malformed"

    def test_usage_is_what_the_server_said_or_unknown(self) -> None:
        said = {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}}
        assert read_usage(orjson.dumps(said)) == (9, 4, None)
        assert read_usage(b'{"usage": {"prompt_tokens": -1, "completion_tokens": true}}') == (
            None, None, None,
        )  # fmt: skip


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def tries(limit: AdaptiveLimit, outcomes: list[str]) -> None:
    """One round: all tries are under way together, then end as listed."""
    gate = asyncio.Event()

    async def one(outcome: str) -> None:
        try:
            async with limit.slot():
                await gate.wait()
                if outcome != "ok":
                    raise TransientFault(outcome, detail="")
        except TransientFault:
            pass

    tasks = [asyncio.create_task(one(outcome)) for outcome in outcomes]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)


class TestAdaptiveLimit:
    async def test_it_doubles_per_round_up_to_the_maximum(self) -> None:
        limit = AdaptiveLimit(64)
        assert limit.limit == 32
        await tries(limit, ["ok"] * 32)
        assert limit.limit > 32
        await tries(limit, ["ok"] * 300)
        assert limit.limit == 64

    async def test_overload_cuts_once_per_cooldown_and_growth_waits_for_calm(self) -> None:
        clock = Clock()
        limit = AdaptiveLimit(64, clock=clock)
        await tries(limit, ["rate_limited"] * 32)
        assert limit.limit == pytest.approx(32 * 0.7)
        await tries(limit, ["ok"] * 22)
        assert limit.limit == pytest.approx(22.4), "no growth before the cooldown is over"
        clock.now = 2.0
        for _ in range(6):
            await tries(limit, ["ok"] * int(limit.limit))
        assert 22.4 < limit.limit <= 64

    async def test_rare_throttling_costs_no_concurrency(self) -> None:
        limit = AdaptiveLimit(64)
        for _ in range(40):
            await tries(limit, ["ok"] * 39 + ["rate_limited"] + ["ok"] * 24)
        assert limit.limit == 64

    async def test_a_limit_that_is_not_used_does_not_grow(self) -> None:
        limit = AdaptiveLimit(64)
        for _ in range(50):
            await tries(limit, ["ok"])
        assert limit.limit == 32

    async def test_it_never_goes_below_one_nor_lets_more_through_than_allowed(self) -> None:
        clock = Clock()
        limit = AdaptiveLimit(4, clock=clock)
        for second in range(50):
            clock.now = second * 10.0
            await tries(limit, ["overloaded"] * 8)
        assert limit.limit == 1
        assert limit.in_flight == 0

    async def test_a_real_server_sees_no_more_than_the_maximum(self) -> None:
        with ChatServer(Behaviour(latency_s=0.02)) as server:
            async with ChatEndpoint(parse_spec(server.spec()), concurrency=6) as endpoint:
                await asyncio.gather(*(endpoint.complete(BODY, 64) for _ in range(60)))
            assert server.stats()["max_in_flight"] == 6

    async def test_back_off_does_not_hold_a_slot(self) -> None:
        behaviour = Behaviour(scripted=["429"], retry_after=0.5)
        with ChatServer(behaviour) as server:
            async with ChatEndpoint(parse_spec(server.spec()), concurrency=2) as endpoint:
                first = asyncio.create_task(endpoint.complete(BODY, 64))
                await asyncio.sleep(0.15)
                assert endpoint.limit.in_flight == 0
                other = await endpoint.complete(BODY, 64)
                assert not first.done()
                assert other.status_code == 200
                assert (await first).attempts == 2


class TestBudget:
    @pytest.mark.parametrize(
        ("text", "amount"),
        [
            ("5USD", (5.0, "USD")),
            ("$2.50", (2.5, "USD")),
            ("3", (3.0, "USD")),
            ("2_000_000tokens", (2e6, "tokens")),
            ("1 token", (1.0, "tokens")),
        ],
    )
    def test_forms(self, text: str, amount: tuple[float, str]) -> None:
        assert Budget.parse(text) == amount

    @pytest.mark.parametrize("text", ["", "usd", "-1", "0", "nan", "inf", "5EUR", "tokens"])
    def test_other_forms_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="5USD"):
            Budget.parse(text)

    @given(
        st.floats(1, 1000),
        st.lists(st.tuples(st.floats(0.1, 50), st.floats(0, 1)), min_size=1, max_size=40),
    )
    def test_the_cap_holds_whatever_is_spent(
        self, cap: float, calls: list[tuple[float, float]]
    ) -> None:
        async def spend() -> None:
            budget = Budget(cap)

            async def one(reserved: float, share: float) -> None:
                try:
                    await budget.reserve(reserved)
                except BudgetSpent:
                    return
                await asyncio.sleep(0)
                await budget.settle(reserved, reserved * share)

            await asyncio.wait_for(asyncio.gather(*(one(*call) for call in calls)), 10)
            assert budget.spent <= cap + 1e-6

        asyncio.run(spend())

    async def test_a_run_stops_before_it_could_exceed_the_cap(self) -> None:
        with ChatServer(Behaviour()) as server:
            budget = Budget(400)
            spec = parse_spec(server.spec())
            async with ChatEndpoint(spec, budget=budget, budget_unit="tokens") as endpoint:
                with pytest.raises(BudgetSpent):
                    for _ in range(100):
                        await endpoint.complete(BODY, 64)
            completed = server.stats()["completed"]
        assert 0 < completed < 100
        assert budget.spent <= 400


def test_prices_are_per_million_and_cached_prompt_tokens_have_their_own() -> None:
    prices = Prices.parse("2,0.5,8")
    assert prices.cost(1_000_000, 400_000, 250_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 2)
    with pytest.raises(UsageError, match="PROMPT,CACHED,COMPLETION"):
        Prices.parse("2,8")


async def test_requests_per_minute_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = RateLimits(requests=120)
    started = asyncio.get_running_loop().time()
    for _ in range(12):
        await limits.acquire(1)
    # 120 / 13 = 9.2 pass at once; the others wait for 120 / 65 = 1.85 a second.
    assert asyncio.get_running_loop().time() - started >= 1.0


async def test_a_request_larger_than_the_token_limit_still_passes() -> None:
    """600,000 tokens under 6 million a minute: a burst of 461,538, the rest at 92,308 a second."""
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(RateLimits(tokens=6_000_000).acquire(600_000), 20)
    assert asyncio.get_running_loop().time() - started >= 1.3
