"""How values are written in a language: the filters of the templates that need words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from markupsafe import Markup

from judge.figures import signed
from judge.report._marking import visible
from judge.report._texts import Texts

Fields: TypeAlias = Mapping[str, Any]


class Formats:
    """Numbers, shares, dates and lists in the words of one language."""

    def __init__(self, words: Texts) -> None:
        self.words = words

    def text(self, key: str, **values: object) -> Markup:
        """A text of the catalogue with its places filled by escaped, visible values."""
        return self.words.html(key, clean=visible, **values)

    def status(self, name: str) -> Markup:
        """The name of a status."""
        return self.text(f"status.{name}")

    def reason(self, name: str) -> Markup:
        """The name of a reason for a missing verdict, "open" included."""
        return self.text(f"reasons.{name}.name")

    def score(self, value: float | None, digits: int = 3) -> str:
        """A score, or the word for a missing one."""
        return self.words.get("words.unscored") if value is None else f"{value:.{digits}f}"

    def signed(self, value: float | None, digits: int = 3) -> str:
        """A difference with its sign."""
        return self.words.get("words.unscored") if value is None else signed(value, digits)

    def bounds(self, estimate: Fields, digits: int = 3, *, signed: bool = False) -> str:
        """The interval, e.g. "[0.761, 0.853]"; words where there is none."""
        low, high = estimate["low"], estimate["high"]
        if low is None or high is None:
            return self.words.get("words.no_interval")
        write = self.signed if signed else self.score
        return f"[{write(low, digits)}, {write(high, digits)}]"

    def interval(self, estimate: Fields | None) -> str:
        """Value and interval in words for a screen reader or a tooltip."""
        if estimate is None or estimate["value"] is None:
            return self.words.get("words.unscored")
        return f"{self.score(estimate['value'])} {self.bounds(estimate)}"

    def percent(self, share: float) -> str:
        """A share in per cent, rounded down: 100 % is printed only where nothing is missing."""
        tenths = math.floor(1000 * share + 1e-9)
        whole = f"{tenths // 10}.{tenths % 10}" if tenths % 10 else f"{tenths // 10}"
        return self.words.get("page.percent", number=whole)

    def confidence(self, estimates: Sequence[Fields]) -> list[Markup]:
        """What the intervals are, one line for each kind that occurs."""
        lines = []
        for entry in estimates:
            values = {name: entry[name] for name in ("method", "estimand")}
            about = f"overall.{entry['estimand']}"
            if about in self.words:
                values["about"] = self.text(about)
            key = "overall.intervals_about" if "about" in values else "overall.intervals"
            lines.append(self.text(key, share=self.percent(entry["confidence"]), **values))
        return list(dict.fromkeys(lines))

    def when(self, stamp: str) -> str:
        """An ISO date-time for people; other text as it is."""
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            return stamp
        zone = ""
        if moment.tzinfo is not None:
            moment, zone = moment.astimezone(UTC), " UTC"
        return self.words.get(
            "page.stamp",
            day=str(moment.day),
            month=self.words.entries["page"]["months"][moment.month - 1],
            year=str(moment.year),
            time=f"{moment:%H:%M}{zone}",
        )

    def duration(self, seconds: float | None) -> str:
        """A length of time in the two units that matter."""
        if seconds is None:
            return self.words.get("words.unknown")
        if seconds < 60:
            return self.words.get(
                "page.seconds", n=f"{seconds:.3g}" if seconds < 10 else f"{seconds:.0f}"
            )
        minutes, rest = divmod(round(seconds), 60)
        if minutes < 60:
            return self.words.get("page.minutes", m=minutes, s=rest)
        hours, minutes = divmod(minutes, 60)
        if hours < 48:
            return self.words.get("page.hours", h=hours, m=minutes)
        return self.words.get("page.days", d=hours // 24, h=hours % 24)

    def money(self, amount: float | None) -> str:
        """An amount in USD; small ones with enough digits to be told apart."""
        if amount is None:
            return self.words.get("words.unknown")
        text = f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.4f}"
        return self.words.get("spending.usd", amount=text)

    def listed(self, names: Iterable[object], *, end: bool = True) -> Markup:
        """Names in bold with commas, and "and" before the last where ``end``."""
        items = [Markup("<b><bdi>{}</bdi></b>").format(visible(name)) for name in names]
        if end and len(items) > 1:
            items[-2:] = [items[-2] + self.text("page.and") + items[-1]]
        return self.text("page.comma").join(items)

    def reasons(self, counts: Mapping[str, int]) -> Markup:
        """Reasons with their numbers: "refused 1, open 2"."""
        parts = [
            self.text("words.reason_n", reason=self.reason(name), n=number)
            for name, number in counts.items()
        ]
        return self.text("page.comma").join(parts)
