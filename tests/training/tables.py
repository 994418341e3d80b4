"""Tables of contributions and memories that are made up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tvm_tiny.training.contributions import Contributions
from tvm_tiny.training.update_plan import SparseUpdate


def table(layers: int, shares: tuple[float, ...], seed: int) -> Contributions:
    """Biases that gain less and less; weights that gain or lose, more with larger shares."""
    generator = np.random.default_rng(seed)
    biases = np.cumsum(generator.exponential(1, layers) * np.linspace(1, 0.1, layers))
    whole = generator.normal(1, 1.5, layers)
    weights = tuple(tuple(float(one * share**0.4) for share in shares) for one in whole)
    names = tuple(f"layer{number}" for number in range(layers))
    return Contributions(names, shares, 50.0, tuple(biases.tolist()), weights)


def memory_of(layers: int, seed: int) -> Callable[[SparseUpdate], float]:
    """Every bias and every weight takes its own bytes."""
    generator = np.random.default_rng(seed + 1000)
    biases, weights = generator.uniform(1, 5, layers), generator.exponential(20, layers)

    def memory(plan: SparseUpdate) -> float:
        chosen = {int(str(x.layer).removeprefix("layer")): x.weights for x in plan.layers}
        own = sum(weights[layers - 1 - number] * (share or 0) for number, share in chosen.items())
        return float(biases[: plan.last_biases].sum() + own)

    return memory
