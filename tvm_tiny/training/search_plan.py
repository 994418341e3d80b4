"""The best plan for a memory limit: contributions are measured, then plans evolve.

table = measure_contributions(mod, evaluate)
found = search_plan(table, analytic_memory(mod), limit=100)
found.plan.to_file("plan.json")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm_tiny.errors import DoesNotFitError, MissingExtraError
from tvm_tiny.training.contributions import Contributions
from tvm_tiny.training.update_plan import SparseUpdate

if TYPE_CHECKING:
    from tvm_tiny.training.evolution import EvolutionSampler, Genes

SAMPLES = 5000

Memory = Callable[[SparseUpdate], float]


@dataclass(frozen=True)
class FoundPlan:
    """A plan, the sum of its contributions, its memory, and how many plans were looked at.

    `measured` of them were good enough to ask for their memory.
    """

    plan: SparseUpdate
    gain: float
    memory: float
    samples: int
    measured: int


def search_plan(
    table: Contributions, memory: Memory, limit: float, *, samples: int = SAMPLES, seed: int = 0
) -> FoundPlan:
    """The plan with the largest sum of contributions whose memory is at most `limit`.

    `memory(plan)` is in the unit of the limit, exact or estimated; it is asked only for plans whose
    gain could matter. The same seed gives the same plan. Raises DoesNotFitError where not even
    the classifier fits, MissingExtraError without Optuna.
    """
    smallest = memory(table.plan(0, {}))
    if smallest > limit:
        raise DoesNotFitError(
            "training the classifier alone does not fit", limit=limit, found=smallest
        )
    sampler = _evolution().EvolutionSampler(table.depth, len(table.shares), seed)
    return run(sampler, table, memory, limit, samples)


def run(
    sampler: EvolutionSampler, table: Contributions, memory: Memory, limit: float, samples: int
) -> FoundPlan:
    """Ask the sampler for plans, and tell it their gains."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    best: tuple[float, Genes] = (0.0, (0,) * (table.depth + 1))
    measured = 1
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = sampler.infer_relative_search_space(study, None)
    for _ in range(samples):
        trial = study.ask(distributions)
        genes = tuple(trial.params[name] for name in distributions)
        gain = table.gain(*_parts(genes))
        if not sampler.population.could_enter(gain):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        measured += 1
        if memory(table.plan(*_parts(genes))) > limit:
            sampler.refuse(genes)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, gain)
        sampler.population.enter(gain, genes)
        best = max(best, (gain, genes))
    plan = table.plan(*_parts(best[1]))
    return FoundPlan(plan, best[0], memory(plan), samples, measured)


def _parts(genes: Genes) -> tuple[int, dict[int, int]]:
    """How many biases, and the shares' numbers of layers from the end."""
    weights = {layer: number - 1 for layer, number in enumerate(genes[1:]) if number}
    return genes[0], weights


def _evolution() -> Any:
    try:
        from tvm_tiny.training import evolution
    except ImportError as error:
        raise MissingExtraError(
            "searching plans needs the package optuna", hint="pip install 'tvm_tiny[search]'"
        ) from error
    return evolution
