"""The cost model: boosted trees on how far cycles are from what the table of costs predicts.

One model learns from all layers of a run, so that what is found out on one layer, such as that an
order of instructions suits a core, guides the others from their first trials on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_tiny.errors import MissingExtraError
from tvm_tiny.schedules.dialect import Array

ROUNDS, LEAST_ROWS = 60, 4
_PARAMETERS = {
    "max_depth": 4,
    "eta": 0.25,
    "min_child_weight": 0.5,
    "lambda": 0.3,
    "nthread": 1,
    "objective": "reg:squarederror",
    "base_score": 0.0,
}


@dataclass
class CostModel:
    """Logarithms of cycles, from features and the logarithm of the prior."""

    seed: int = 0
    rows: list[Array] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)
    _booster: Any = None
    _trained_on: int = 0

    def learn(self, rows: Sequence[Array], priors: Sequence[float], costs: Sequence[float]) -> None:
        """Take measured points in; costs are infinite where a point is useless."""
        for row, prior, cost in zip(rows, priors, costs, strict=True):
            if np.isfinite(cost):
                self.rows.append(row)
                self.residuals.append(float(np.log(cost) - np.log(prior)))

    def predict(self, rows: Sequence[Array], priors: Sequence[float]) -> Array:
        """Logarithms of cycles."""
        known = np.log(np.asarray(priors, np.float64))
        self._train()
        if self._booster is None or not len(rows):
            return known
        xgboost = _xgboost()
        return known + self._booster.predict(xgboost.DMatrix(np.stack(rows))).astype(np.float64)

    def _train(self) -> None:
        if len(self.rows) < LEAST_ROWS or len(self.rows) == self._trained_on:
            return
        self._trained_on = len(self.rows)
        xgboost = _xgboost()
        data = xgboost.DMatrix(np.stack(self.rows), label=np.array(self.residuals))
        self._booster = xgboost.train(_PARAMETERS | {"seed": self.seed}, data, ROUNDS)


def _xgboost() -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtraError(
            "tuning needs xgboost", hint="pip install 'tvm-tiny[tune]'"
        ) from error
    return xgboost


def rank_correlation(predicted: Sequence[float], measured: Sequence[float]) -> float | None:
    """Spearman's, from -1 to 1; None for fewer than three points or where all are equal."""
    if len(predicted) < 3:
        return None
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (predicted, measured)]
    if any(rank.std() == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Array) -> Array:
    """Ranks of values, equal ones in the middle of theirs."""
    return (values[:, None] > values).sum(axis=1) + (values[:, None] == values).sum(axis=1) / 2
