"""The shipped weight profiles against Table 2 of arXiv 2310.04945."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

WEIGHTS_DIR = Path(__file__).parents[1] / "rubrics" / "weights"

# Table 2 of arXiv 2310.04945, typed by hand. Columns: Vicuna-13b-v1.1, Vicuna-13b-v1.3,
# Llama-2-13b, Vicuna-33b-v1.3.
TABLE_2 = {
    "clarity": (0.785, 0.915, 0.904, 0.937),
    "accuracy": (0.707, 0.644, 0.763, 0.718),
    "completeness": (0.781, 0.633, 0.663, 0.730),
    "conciseness": (0.911, 0.952, 0.967, 0.970),
    "safety": (0.820, 1.00, 0.967, 1.00),
    "concreteness": (0.726, 0.926, 0.867, 0.907),
    "consideration": (1.00, 0.989, 1.00, 1.00),
    "courtesy": (0.922, 1.00, 1.00, 1.00),
}
OVERALL = np.array([0.820, 0.828, 0.856, 0.869])

SCORES = np.array(list(TABLE_2.values()))  # (8 criteria, 4 models)
# Four overalls and the sum, each linear in the weights: (5 constraints, 8 criteria).
CONSTRAINTS = np.vstack([SCORES.T, np.ones(len(TABLE_2))])


def profile(name: str) -> dict:
    """The profile as the file has it."""
    return YAML(typ="safe").load(WEIGHTS_DIR / f"{name}.yaml")


def vector(weights: dict[str, float]) -> np.ndarray:
    """Weights in the order of Table 2; every criterion must be named, and no other."""
    assert set(weights) == set(TABLE_2)
    return np.array([weights[criterion] for criterion in TABLE_2])


def off_span(weights: np.ndarray) -> float:
    """How far log weights are from a linear combination of the constraints (largest residual)."""
    logs = np.log(weights)
    multipliers = np.linalg.lstsq(CONSTRAINTS.T, logs, rcond=None)[0]
    return float(np.abs(CONSTRAINTS.T @ multipliers - logs).max())


def entropy(weights: np.ndarray) -> float:
    """Shannon entropy in nats of positive weights."""
    return float(-(weights * np.log(weights)).sum())


@pytest.mark.parametrize("name", ["paper", "maxent"])
def test_inferred_profiles_reproduce_the_overall_row(name: str) -> None:
    """Each overall prints, to three decimals, as the paper prints it."""
    predicted = vector(profile(name)["weights"]) @ SCORES
    assert np.abs(predicted - OVERALL).max() < 0.0005


def test_equal_weights_do_not_reproduce_the_overall_row() -> None:
    """The plain means are 0.8315, 0.8824, 0.8914 and 0.9078: every one is too high."""
    predicted = vector(profile("equal")["weights"]) @ SCORES
    assert predicted == pytest.approx([0.8315, 0.882375, 0.891375, 0.90775], abs=1e-9)
    assert (predicted - OVERALL > 0.0005).all()


@pytest.mark.parametrize("name", ["equal", "paper", "maxent", "release"])
def test_every_vector_names_all_criteria_and_sums_to_one(name: str) -> None:
    """General, category and stage weights alike."""
    loaded = profile(name)
    vectors = [
        loaded["weights"],
        *loaded.get("categories", {}).values(),
        *loaded.get("stages", {}).values(),
    ]
    for weights in vectors:
        assert (vector(weights) >= 0).all()
        assert abs(vector(weights).sum() - 1) < 1e-9


@pytest.mark.parametrize("name", ["equal", "paper", "maxent"])
def test_plain_profiles_have_no_caps_categories_or_stages(name: str) -> None:
    """The overall of these profiles is a plain weighted mean."""
    assert not {"caps", "categories", "stages"} & set(profile(name))


def test_maxent_satisfies_the_optimality_conditions() -> None:
    """Positive and feasible, with log weights in the span of the constraints.

    Entropy is strictly concave, so these conditions (Karush-Kuhn-Tucker) hold at the maximum alone.
    The tolerances are those of six decimals: 5e-7 on a weight, 5e-7 / 0.04 on its logarithm.
    """
    weights = vector(profile("maxent")["weights"])
    assert (weights > 0).all()
    assert np.abs(weights @ SCORES - OVERALL).max() < 1e-6
    assert off_span(weights) < 2e-5
    # The condition can fail: the whole-percent weights miss it by a thousand times as much.
    assert off_span(vector(profile("paper")["weights"])) > 0.01


def test_no_feasible_step_raises_the_entropy_of_maxent() -> None:
    """Steps along the three directions that keep the sum and the overalls, and their mixtures."""
    weights = vector(profile("maxent")["weights"])
    free = np.linalg.svd(CONSTRAINTS)[2][np.linalg.matrix_rank(CONSTRAINTS) :]
    assert free.shape == (3, 8)
    directions = np.random.default_rng(0).normal(size=(500, 3)) @ free
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for size in (0.001, 0.01, 0.03):
        for step in size * directions:
            assert entropy(weights + step) < entropy(weights)
