"""Models beside each other: tables, paired differences, trends, and what the weights decide.

Numbers are pure functions of a `judge.study.Study`; `comparison_body` puts them together as plain
JSON, and the page, Markdown and CSV show the same content.
"""

from judge.comparison._benchmarks import Benchmark, read_benchmarks
from judge.comparison._body import (
    Calibrated,
    Setting,
    answer_keys,
    compared_models,
    comparison_body,
    table_body,
)
from judge.comparison._metadata import ModelFacts, facts_of, read_cards, read_metadata
from judge.comparison._published import PublishedTable, TableAnalysis, analyse_table, load_table
from judge.comparison._table import Gap, Standing, paired_gaps, question_scores, standings
from judge.comparison._trends import Curve, Optimum, Slope, optimum, slopes
from judge.comparison._weights import REGION, WeightDecisions, even_draws, weight_decisions
from judge.comparison._words import OFFLINE, findings
from judge.comparison._writing import WrittenComparison, write_comparison

__all__ = [
    "OFFLINE",
    "REGION",
    "Benchmark",
    "Calibrated",
    "Curve",
    "Gap",
    "ModelFacts",
    "Optimum",
    "PublishedTable",
    "Setting",
    "Slope",
    "Standing",
    "TableAnalysis",
    "WeightDecisions",
    "WrittenComparison",
    "analyse_table",
    "answer_keys",
    "compared_models",
    "comparison_body",
    "even_draws",
    "facts_of",
    "findings",
    "load_table",
    "optimum",
    "paired_gaps",
    "question_scores",
    "read_benchmarks",
    "read_cards",
    "read_metadata",
    "slopes",
    "standings",
    "table_body",
    "weight_decisions",
    "write_comparison",
]
