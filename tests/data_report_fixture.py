"""A data report written by hand: synthetic sources, numbers that add up.

150,022 records are read; 22 are unreadable, 1,800 fall to cleaning, 13,000 to deduplication, 50 to
decontamination and 50 to tokenising; 135,100 are kept. A source's records are those of its
files, the unreadable ones included. The tokens of the blends' epochs are written
here, and what follows from them (shares, packs, fill, hours) is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

POLICY = "政策问答"
LENGTH = 2048
BATCH = 18

# name: domain, task, declared languages, licence, records, kept, samples, tokens, supervised
SOURCES: Mapping[str, tuple[str, str, list[str], str, int, int, int, int, int]] = {
    "openqa": ("general", "question_answering", ["en"], "Apache-2.0",
               60_134, 51_819, 51_900, 21_420_500, 14_210_300),
    "helpdesk": ("in_domain", "support", ["en", "de"], "internal, §4 of the data agreement",
                 24_000, 22_374, 22_374, 9_836_100, 6_120_400),
    POLICY: ("in_domain", "question_answering", ["zh"], "internal",
             18_503, 17_618, 17_640, 7_205_900, 4_880_200),
    "code-notes": ("general", "code", [], "MIT", 9_400, 9_152, 9_410, 8_911_700, 5_940_100),
    "translations": ("general", "multilingual_alignment", ["en", "zh"], "CC-BY-4.0",
                     31_205, 27_988, 27_988, 5_612_400, 2_901_600),
    "smalltalk": ("general", "chat", ["en"], "", 6_780, 6_149, 6_149, 612_900, 391_200),
}  # fmt: skip

FILES = {
    "openqa": [("data/openqa-00.jsonl", 48_211_904, "9f2c4c1f6a7e0b3d5d8a11c2e4f60718", 40_020, 14),
               ("data/openqa-01.jsonl", 24_120_377, "0b7d1e9a3c5f2846aa90e1d2c3b4f506", 20_100, 0)],
    "helpdesk": [("exports/tickets.parquet", 31_004_112, "71aa0c3e9d2b4f6e8a1c5d7f90b2e4c6",
                  24_000, 0)],
    POLICY: [("数据/政策.jsonl", 22_870_560, "c0ffee00d15ea5e5ba5eba11facade01", 18_500, 3)],
    "code-notes": [("data/code-notes/train-00000.parquet", 19_339_001,
                    "5e0f1a2b3c4d5e6f708192a3b4c5d6e7", 9_400, 0)],
    "translations": [("data/translations.csv", 14_650_233, "aa55aa55aa55aa55aa55aa55aa55aa55",
                      31_200, 5)],
    "smalltalk": [("data/smalltalk.jsonl", 1_402_118, "13371337133713371337133713371337",
                   6_780, 0)],
}  # fmt: skip

REMOVED: Mapping[str, list[tuple[str, str, int]]] = {
    "read": [("openqa", "not_json", 11), ("openqa", "no_answer", 3), (POLICY, "not_json", 3),
             ("translations", "wrong_fields", 5)],
    "clean": [("openqa", "too_short", 410), ("openqa", "repetitive", 220),
              ("openqa", "other_language", 130), ("helpdesk", "too_short", 95),
              ("helpdesk", "empty_answer", 31), (POLICY, "other_language", 64),
              (POLICY, "unreadable_text", 12), ("code-notes", "too_long", 18),
              ("translations", "other_language", 512), ("translations", "too_short", 77),
              ("smalltalk", "too_short", 231)],
    "scrub": [],
    "dedup": [("openqa", "exact", 5_100), ("openqa", "near", 2_400), ("helpdesk", "exact", 640),
              ("helpdesk", "near", 860), (POLICY, "exact", 300), (POLICY, "near", 500),
              ("code-notes", "exact", 80), ("code-notes", "near", 120),
              ("translations", "exact", 1_700), ("translations", "near", 900),
              ("smalltalk", "exact", 200), ("smalltalk", "near", 200)],
    "decontaminate": [("openqa", "overlap", 41), (POLICY, "overlap", 6),
                      ("translations", "overlap", 3)],
    "tokenise": [("code-notes", "no_supervised_tokens", 30),
                 ("translations", "no_supervised_tokens", 20)],
}  # fmt: skip

CHANGED: Mapping[str, list[tuple[str, str, int]]] = {
    "clean": [("openqa", "mojibake", 1_204), ("openqa", "spacing", 8_310),
              ("openqa", "markup", 402), ("helpdesk", "spacing", 12_007),
              ("helpdesk", "invisible_characters", 318), (POLICY, "width_forms", 2_660),
              ("translations", "mojibake", 77)],
    "scrub": [("openqa", "email", 391), ("openqa", "url_with_user", 12),
              ("helpdesk", "email", 6_120), ("helpdesk", "phone", 3_044),
              ("helpdesk", "iban", 41), (POLICY, "phone", 212), (POLICY, "id_number", 9)],
    "tokenise": [("code-notes", "split", 240), ("openqa", "split", 81), (POLICY, "split", 22)],
}  # fmt: skip

FOUND = [  # source, kind, finds, rows
    ("openqa", "email", 430, 391), ("openqa", "url_with_user", 12, 12),
    ("helpdesk", "email", 8_902, 6_120), ("helpdesk", "phone", 3_511, 3_044),
    ("helpdesk", "iban", 44, 41), (POLICY, "phone", 240, 212), (POLICY, "id_number", 9, 9),
]  # fmt: skip

TWINS = [  # removed from, because of, kind, rows
    ("openqa", "openqa", "exact", 4_800), ("openqa", "helpdesk", "exact", 300),
    ("openqa", "openqa", "near", 2_400), ("helpdesk", "helpdesk", "exact", 640),
    ("helpdesk", "helpdesk", "near", 860), (POLICY, POLICY, "exact", 300),
    (POLICY, POLICY, "near", 450), (POLICY, "translations", "near", 50),
    ("code-notes", "code-notes", "exact", 80), ("code-notes", "code-notes", "near", 120),
    ("translations", "translations", "exact", 1_700),
    ("translations", "translations", "near", 900), ("smalltalk", "openqa", "exact", 200),
    ("smalltalk", "smalltalk", "near", 200),
]  # fmt: skip

QUESTIONS = [
    ("monetization", "primes-04", "Please list all the prime numbers within 100.", 32),
    ("monetization", "panda-11", "请用一段话介绍大熊猫。", 8),
    ("house/held-out.yaml", "refund-2", "How long does a refund take after a cancelled order?", 11),
]

LANGUAGES = [
    ("openqa", "en", 51_600), ("openqa", None, 219), ("helpdesk", "en", 15_004),
    ("helpdesk", "de", 7_370), (POLICY, "zh", 17_618), ("code-notes", "code", 7_900),
    ("code-notes", "en", 1_252), ("translations", "en", 14_800), ("translations", "zh", 12_288),
    ("translations", "ja", 500), ("translations", "fr", 250), ("translations", "ko", 150),
    ("smalltalk", "en", 6_149),
]  # fmt: skip

EDGES = [0, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
COUNTS = {
    "openqa": [1_200, 4_900, 7_800, 8_600, 10_900, 7_700, 6_300, 2_900, 1_300, 300],
    "helpdesk": [210, 1_400, 2_900, 3_700, 5_200, 4_100, 3_000, 1_300, 464, 100],
    POLICY: [90, 1_050, 2_500, 3_200, 4_400, 3_000, 2_100, 900, 300, 100],
    "code-notes": [12, 88, 260, 450, 1_000, 1_200, 1_900, 1_600, 1_450, 1_450],
    "translations": [3_400, 6_900, 6_600, 5_000, 4_200, 1_400, 388, 100, 0, 0],
    "smalltalk": [2_700, 2_500, 700, 200, 49, 0, 0, 0, 0, 0],
}

EXAMPLES: Mapping[str, list[tuple[str, str, str, str, str | None, str]]] = {
    "read": [("openqa", "not_json", "data/openqa-00.jsonl:917",
              '{"messages": [{"role": "user", "con', None, "the line ends inside a string")],
    "clean": [
        ("openqa", "mojibake", "data/openqa-00.jsonl:12",
         "What is a cafÃ© crÃ¨me?\nItâ€™s an espresso with warm milk.",
         "What is a café crème?\nIt's an espresso with warm milk.", ""),
        ("helpdesk", "invisible_characters", "exports/tickets.parquet:5511",
         "Please re\u00adset my\u200b pass\u2060word.\u00a0Thanks!",
         "Please reset my password. Thanks!", ""),
        (POLICY, "width_forms", "数据/政策.jsonl:40",
         "办理时间为９：００至１７：００，电话：４００。",
         "办理时间为9：00至17：00，电话：400。", ""),
        ("openqa", "too_short", "data/openqa-01.jsonl:3", "How do I install it? / ok", None,
         "the answer has 2 characters"),
        ("openqa", "repetitive", "data/openqa-01.jsonl:88", "Say it. / " + "very very " * 24, None,
         "96 % of its 3-grams are repeats"),
        ("translations", "other_language", "data/translations.csv:2044",
         "Переведите это предложение. / Готово.", None, "ru (0.98), declared: en, zh"),
    ],
    "scrub": [
        ("helpdesk", "email", "exports/tickets.parquet:71",
         "Write to jane.roe@example.org or call +1 202 555 0143.",
         "Write to <EMAIL> or call <PHONE>.", ""),
        ("helpdesk", "iban", "exports/tickets.parquet:902",
         "Refund to DE89 3704 0044 0532 0130 00.", "Refund to <IBAN>.", ""),
    ],
    "dedup": [("smalltalk", "exact", "data/smalltalk.jsonl:9",
               "Tell me a joke. / Why did the…", None, "the same as data/openqa-00.jsonl:402")],
    "decontaminate": [("openqa", "overlap", "data/openqa-00.jsonl:30112",
                       "list all the prime numbers within 100 and explain each", None,
                       "monetization/primes-04: 8 tokens in a row, in the first question")],
    "tokenise": [],
}  # fmt: skip

SECONDS = {"read": 21.4, "clean": 96.2, "scrub": 74.8, "dedup": 58.1, "decontaminate": 12.0,
           "tokenise": 41.7}  # fmt: skip

PEAKS = {"A100": 312e12, "H100": 989e12}
MODELS = {"7B": (6.74e9, 18), "13B": (13.02e9, 12), "33B": (32.53e9, 6)}

# name: unit, temperature, ratios (None: as the sources come), tokens of each epoch
BLENDS: list[tuple[str, float | None, dict[str, float], list[dict[str, int]]]] = [
    ("main", None,
     {"openqa": 0.35, "helpdesk": 0.25, POLICY: 0.2, "code-notes": 0.15, "translations": 0.05,
      "smalltalk": 0.0},
     [{"openqa": 10_498_811, "helpdesk": 7_501_020, POLICY: 6_000_410, "code-notes": 4_499_377,
       "translations": 1_500_112, "smalltalk": 0},
      {"openqa": 10_501_212, "helpdesk": 7_499_480, POLICY: 5_999_102, "code-notes": 4_500_901,
       "translations": 1_499_740, "smalltalk": 0},
      {"openqa": 10_499_900, "helpdesk": 7_500_377, POLICY: 6_000_055, "code-notes": 4_498_808,
       "translations": 1_500_090, "smalltalk": 0}]),
    ("domain-heavy", None,
     {"openqa": 0.15, "helpdesk": 0.45, POLICY: 0.3, "code-notes": 0.07, "translations": 0.03,
      "smalltalk": 0.0},
     [{"openqa": 4_500_311, "helpdesk": 13_499_020, POLICY: 9_000_610, "code-notes": 2_100_177,
       "translations": 900_212, "smalltalk": 0}]),
    ("as-it-comes", 1.0,
     {name: entry[7] / 53_599_500 for name, entry in SOURCES.items()},
     [{name: entry[7] for name, entry in SOURCES.items()}]),
]  # fmt: skip


def report() -> dict[str, Any]:
    """The report, new at every call."""
    return {
        "report": {
            "kind": "data", "name": "advisor-blend",
            "description": "Questions of advertisers and what helps to answer them; made up.",
            "created": "2026-11-21T05:40:12+00:00",
            "version": "0.1.0", "seed": 20231004, "config": "blends/advisor.yaml",
            "synthetic": True, "language": "en",
        },
        "sources": [_source(name) for name in SOURCES],
        "steps": _steps(),
        "personal_data": {
            "kinds": ["email", "phone", "iban", "card_number", "id_number", "url_with_user"],
            "by_source": [{"source": s, "kind": k, "count": n, "rows": r} for s, k, n, r in FOUND],
            "names_model": None,
        },
        "duplicates": [
            {"source": s, "twin_source": t, "kind": k, "rows": n} for s, t, k, n in TWINS
        ],
        "contamination": [
            {"set": s, "question_id": i, "question": q, "rows": n} for s, i, q, n in QUESTIONS
        ],
        "languages": [{"source": s, "language": i, "rows": n} for s, i, n in LANGUAGES],
        "lengths": {
            "edges": list(EDGES),
            "counts": [{"source": s, "counts": list(c)} for s, c in COUNTS.items()],
        },
        "blends": [_blend(*blend) for blend in BLENDS],
        "tokeniser": {
            "name": "tokenizers/base-32k", "vocabulary": 32_001, "added": ["<|answer|>"],
            "layout": "plain", "separator": "<|answer|>", "length": LENGTH, "overlong": "split",
            "counts": [
                {"source": "code-notes", "kind": "split", "rows": 240},
                {"source": "openqa", "kind": "split", "rows": 81},
                {"source": POLICY, "kind": "split", "rows": 22},
            ],
        },
        "quarantine": {"path": "out/advisor-blend/quarantine", "rows": 14_922},
        "notes": [
            "helpdesk is repeated 1.37 times within an epoch of domain-heavy.",
            "smalltalk names no licence.",
        ],
    }  # fmt: skip


def _source(name: str) -> dict[str, Any]:
    domain, task, languages, licence, rows, kept, samples, tokens, supervised = SOURCES[name]
    return {
        "name": name, "domain": domain, "task": task, "languages": languages, "licence": licence,
        "provenance": "" if name == "smalltalk" else f"made up for the tests of {name}",
        "format": "alpaca" if name == "translations" else "openai",
        "priority": 0 if domain == "in_domain" else 1,
        "max_epochs": 4.0 if name == "helpdesk" else None,
        "files": [
            {"path": path, "bytes": size, "hash": digest, "rows": n, "unreadable": bad}
            for path, size, digest, n, bad in FILES[name]
        ],
        "rows": rows, "kept": kept, "samples": samples, "tokens": tokens,
        "supervised_tokens": supervised,
    }  # fmt: skip


def _steps() -> list[dict[str, Any]]:
    steps = []
    rows = 150_022
    for name, removed in REMOVED.items():
        left = rows - sum(n for _, _, n in removed)
        found = [(s, k, n) for s, k, n, _ in FOUND] if name == "scrub" else []
        if name == "decontaminate":
            found = [("openqa", f"{s}/{i}", n) for s, i, _, n in QUESTIONS]
        steps.append({
            "step": name, "rows_in": rows, "rows_out": left,
            "removed": [{"source": s, "reason": r, "rows": n} for s, r, n in removed],
            "changed": [
                {"source": s, "kind": k, "rows": n} for s, k, n in CHANGED.get(name, [])
            ],
            "found": [{"source": s, "kind": k, "count": n} for s, k, n in found],
            "examples": [
                {"source": s, "kind": k, "place": p, "before": b, "after": a, "detail": d}
                for s, k, p, b, a, d in EXAMPLES[name]
            ],
            "seconds": SECONDS[name], "rows_per_second": rows / SECONDS[name],
        })  # fmt: skip
        rows = left
    return steps


def _blend(
    name: str, temperature: float | None, ratios: dict[str, float], epochs: list[dict[str, int]]
) -> dict[str, Any]:
    total = 53_599_500 if temperature is not None else 30_000_000
    tokens = sum(sum(epoch.values()) for epoch in epochs)
    return {
        "name": name, "by": "tokens", "group": "source", "total": total,
        "temperature": temperature,
        "sources": [
            {
                "source": source, "ratio": ratio, "available": SOURCES[source][7],
                "target": round(ratio * total), "passes": ratio * total / SOURCES[source][7],
                "epochs_cap": 4.0 if source == "helpdesk" else None,
            }
            for source, ratio in ratios.items()
        ],
        "epochs": [_epoch(at, epoch) for at, epoch in enumerate(epochs, 1)],
        "estimate": [
            {
                "model": model, "parameters": parameters, "batch": batch, "tokens": tokens,
                "steps": ceil(tokens / LENGTH / batch), "accelerator": accelerator, "count": 8,
                "utilisation": 0.4, "hours": 6 * parameters * tokens / (8 * peak * 0.4) / 3600,
            }
            for model, (parameters, batch) in MODELS.items()
            for accelerator, peak in PEAKS.items()
        ],
    }  # fmt: skip


def _epoch(number: int, tokens: dict[str, int]) -> dict[str, Any]:
    whole = sum(tokens.values())
    packs = ceil(whole / LENGTH / 0.993)
    shares = []
    for source, n in tokens.items():
        *_, samples, all_tokens, supervised = SOURCES[source]
        shares.append({
            "source": source, "samples": round(n * samples / all_tokens), "tokens": n,
            "supervised_tokens": round(n * supervised / all_tokens), "share": n / whole,
        })  # fmt: skip
    languages: dict[str, int] = {"en": 0, "zh": tokens[POLICY]}
    for source, n in tokens.items():
        if source != POLICY:
            languages["en"] += n

    def grouped(name: str, field: int) -> list[dict[str, Any]]:
        sums: dict[str, int] = {}
        for source, n in tokens.items():
            group = str(SOURCES[source][field])
            sums[group] = sums.get(group, 0) + n
        return [{name: g, "tokens": n, "share": n / whole} for g, n in sums.items()]

    return {
        "epoch": number,
        **{k: sum(e[k] for e in shares) for k in ("samples", "tokens", "supervised_tokens")},
        "packs": packs, "steps": ceil(packs / BATCH), "fill": whole / (packs * LENGTH),
        "shares": shares,
        "by_language": [
            {"language": i, "tokens": n, "share": n / whole} for i, n in languages.items()
        ],
        "by_task": grouped("task", 1),
        "by_domain": grouped("domain", 0),
        "step_balance": {"worst": 1_211.4 + 37 * number, "capacity": LENGTH},
    }  # fmt: skip


def plain_report(*names: str) -> dict[str, Any]:
    """A report of sources that are all alike, in which nothing was removed, found or repeated.

    Of the blend, the first source has no share where there are others. What may be null is null.
    """
    shares = {name: 1.0 / max(1, len(names) - 1) for name in names}
    if len(names) > 1:
        shares[names[0]] = 0.0
    rows, tokens = 10 * len(names), 1000 * len(names)
    parts: list[dict[str, Any]] = [
        {
            "source": name, "samples": round(100 * share), "tokens": round(10_000 * share),
            "supervised_tokens": round(6_000 * share), "share": share,
        }
        for name, share in shares.items()
    ]  # fmt: skip
    whole = {k: sum(e[k] for e in parts) for k in ("samples", "tokens", "supervised_tokens")}
    return {
        "report": {
            "kind": "data", "name": "plain", "created": "2026-11-21T05:40:12+00:00",
            "version": "0.1.0", "seed": 0, "config": "plain.yaml", "synthetic": False,
            "language": "en",
        },
        "sources": [
            {
                "name": name, "domain": "general", "task": "chat", "languages": [],
                "licence": "MIT", "provenance": "", "format": "openai", "priority": 0,
                "max_epochs": None,
                "files": [
                    {"path": f"{name}.jsonl", "bytes": 900, "hash": "0" * 32, "rows": 10,
                     "unreadable": 0}
                ],
                "rows": 10, "kept": 10, "samples": 10, "tokens": 1000, "supervised_tokens": 600,
            }
            for name in names
        ],
        "steps": [
            {"step": step, "rows_in": rows, "rows_out": rows, "removed": [], "changed": [],
             "found": [], "examples": [], "seconds": None, "rows_per_second": None}
            for step in REMOVED
        ],
        "personal_data": {"kinds": ["email"], "by_source": [], "names_model": "en_core_web_sm"},
        "duplicates": [], "contamination": [],
        "languages": [{"source": name, "language": "en", "rows": 10} for name in names],
        "lengths": {
            "edges": [0, 100, 200], "counts": [{"source": n, "counts": [10, 0]} for n in names]
        },
        "blends": [
            {
                "name": "main", "by": "supervised_tokens", "group": "source", "total": None,
                "temperature": None,
                "sources": [
                    {"source": name, "ratio": share, "available": 600, "target": 6_000 * share,
                     "passes": 10 * share, "epochs_cap": None}
                    for name, share in shares.items()
                ],
                "epochs": [
                    {"epoch": 1, **whole, "packs": 5, "steps": 1,
                     "fill": whole["tokens"] / (5 * LENGTH), "shares": parts, "by_language": [],
                     "by_task": [], "by_domain": [], "step_balance": None}
                ],
                "estimate": [],
            }
        ],
        "tokeniser": {
            "name": "base", "vocabulary": None, "added": [], "layout": "chat", "separator": None,
            "length": LENGTH, "overlong": "drop", "counts": [],
        },
        "quarantine": None,
        "notes": [] if tokens else ["There is nothing here."],
    }  # fmt: skip
