"""How plans evolve: a sampler for Optuna that crosses and mutates the best plans so far.

A plan's parameters are `biases`, how many of the last biases it trains, and for each layer from the
end `weight_N`: 0 for none, else the number of a share. Only layers whose bias is trained may train
weights, so others' parameters are always 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna

POPULATION = 10  # large ones learn slowly: a plan asks for its memory, which may take seconds
EXPLORED = 0.05  # of all plans have no parents
FEW = 4  # weights that a plan without parents has on average
MUTATIONS = 1.5  # genes that a child changes on average
ATTEMPTS = 20  # to find a plan that has not been tried

Genes = tuple[int, ...]  # biases, then the weights of the layers from the end


@dataclass
class Population:
    """The best plans that fit, best first, and all that have been tried."""

    size: int = POPULATION
    plans: list[tuple[float, Genes]] = field(default_factory=list)
    tried: set[Genes] = field(default_factory=set)

    def could_enter(self, gain: float) -> bool:
        """Whether a plan of this gain is worth knowing its memory."""
        return len(self.plans) < self.size or gain > self.plans[-1][0]

    def enter(self, gain: float, genes: Genes) -> None:
        """Take in a plan that fits."""
        self.plans.append((gain, genes))
        self.plans.sort(key=lambda plan: -plan[0])
        del self.plans[self.size :]


class EvolutionSampler(optuna.samplers.BaseSampler):
    """Proposes plans of `depth` layers and `shares` shares; evolves only where `evolves`."""

    def __init__(self, depth: int, shares: int, seed: int, evolves: bool = True) -> None:
        """Start with nothing known."""
        self.depth, self.shares, self.evolves = depth, shares, evolves
        self.generator = np.random.default_rng(seed)
        self.population = Population()
        self.too_large: Genes | None = None

    def refuse(self, genes: Genes) -> None:
        """Take note of a plan that would be good, but does not fit: a smaller one may do."""
        self.too_large = genes

    def infer_relative_search_space(
        self, study: optuna.Study, trial: Any
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """All parameters at once."""
        return space(self.depth, self.shares)

    def sample_relative(
        self, study: optuna.Study, trial: Any, search_space: Mapping[str, Any]
    ) -> dict[str, int]:
        """The next plan."""
        for _ in range(ATTEMPTS):
            genes = self._propose()
            if genes not in self.population.tried:
                break
        self.population.tried.add(genes)
        return dict(zip(search_space, genes, strict=True))

    def sample_independent(
        self, study: optuna.Study, trial: Any, name: str, distribution: Any
    ) -> Any:
        """Nothing is left for this: the search space is whole."""
        raise NotImplementedError(name)

    def _propose(self) -> Genes:
        parents = self.population.plans
        if self.evolves and self.too_large is not None:
            large, self.too_large = self.too_large, None
            return self._smaller(large)
        if not self.evolves or len(parents) < 2 or self.generator.random() < EXPLORED:
            return self._without_parents()
        mother, father = self._parent(), self._parent()
        mask = self.generator.random(self.depth + 1) < 0.5
        child = np.where(mask, mother, father)
        if self.generator.random() < 0.5:
            child = np.array(mother)
        return self._mutated(child)

    def _parent(self) -> Genes:
        """The better of two."""
        first, second = self.generator.integers(len(self.population.plans), size=2)
        return self.population.plans[min(first, second)][1]

    def _without_parents(self) -> Genes:
        biases = int(self.generator.integers(self.depth + 1))
        has_weights = self.generator.random(self.depth) < FEW / max(biases, 2 * FEW)
        weights = self.generator.integers(1, self.shares + 1, self.depth) * has_weights
        return _whole(biases, weights)

    def _mutated(self, child: np.ndarray[Any, Any]) -> Genes:
        biases, weights = int(child[0]), child[1:].copy()
        if self.generator.random() < 1 / 3:
            biases += int(self.generator.normal(0, 1 + self.depth / 8))
            biases = min(max(biases, 0), self.depth)
        reach = max(biases, 1)
        changed = self.generator.random(reach) < MUTATIONS / reach
        for layer in np.flatnonzero(changed):
            weights[layer] = self._other_share(int(weights[layer]))
        if self.generator.random() < 1 / 3:  # two layers swap: the memory stays about the same
            one, other = self.generator.integers(reach, size=2)
            weights[one], weights[other] = weights[other], weights[one]
        return _whole(biases, weights)

    def _smaller(self, genes: Genes) -> Genes:
        """With one weight less, or a smaller share of it; without weights, one bias less."""
        biases, weights = genes[0], np.array(genes[1:])
        trained = np.flatnonzero(weights)
        if not len(trained):
            return _whole(max(biases - 1, 0), weights)
        layer = trained[self.generator.integers(len(trained))]
        weights[layer] = self.generator.integers(weights[layer])
        return _whole(biases, weights)

    def _other_share(self, share: int) -> int:
        """None, the next smaller or larger one, or any."""
        steps = (0, share - 1, share + 1, int(self.generator.integers(self.shares + 1)))
        return min(max(steps[int(self.generator.integers(len(steps)))], 0), self.shares)


def space(depth: int, shares: int) -> dict[str, optuna.distributions.BaseDistribution]:
    """The parameters of a plan."""
    share = optuna.distributions.IntDistribution(0, shares)
    weights = {f"weight_{layer}": share for layer in range(depth)}
    return {"biases": optuna.distributions.IntDistribution(0, depth), **weights}


def _whole(biases: int, weights: Sequence[int] | np.ndarray[Any, Any]) -> Genes:
    """Weights of layers whose bias is not trained are not trained either."""
    own = (int(weight) if layer < biases else 0 for layer, weight in enumerate(weights))
    return (biases, *own)
