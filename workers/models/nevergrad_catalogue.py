"""Which of nevergrad's optimizers are served, what each is for, and why the others are not.

Served means: measured with nevergrad 1.0.12 to propose the same points again when the same asks and tells are repeated, in another
process too, with one worker and with eight, outcomes out of order and some lost (`tests/suggesters/test_nevergrad.py`).
"""

from __future__ import annotations

import re
from typing import Final

SERVED: Final[dict[str, str]] = {
    "NGOpt": "chooses by dimension, budget, workers, noise and types; the usual choice",
    "NgIohTuned": "chooses too, tuned on IOH benchmarks; often better with few trials and one worker",
    "CMA": "CMA-ES; two coordinates or more; ill-conditioned, >= 50 n trials",
    "DiagonalCMA": "CMA-ES with scales only; two coordinates or more; many dimensions",
    "MetaModel": "CMA-ES helped by a quadratic model; two coordinates or more, smooth, no noise; slow to ask beyond n = 20",
    "TwoPointsDE": "differential evolution with two-point crossover; many workers, rugged",
    "DE": "differential evolution; robust, >= 100 n trials",
    "LhsDE": "differential evolution from a Latin hypercube",
    "PSO": "particle swarm; parallel, moderate",
    "OnePlusOne": "(1+1) evolution strategy; few trials in many dimensions",
    "DiscreteOnePlusOne": "(1+1) with discrete mutations; categories and whole numbers",
    "DoubleFastGADiscreteOnePlusOne": "(1+1) with heavy-tailed mutations and crossover; many categories",
    "TBPSA": "population size adapts to noise; noisy, many trials",
    "OptimisticNoisyOnePlusOne": "(1+1) that repeats what looks best; noisy, few trials",
    "ScrHammersleySearch": "scrambled Hammersley net; as many trials as workers, needs the number of trials",
    "Cobyla": "linear models; smooth, few trials, one after another",
    "Powell": "line searches; smooth, one after another",
    "NelderMead": "simplex; few dimensions, one after another",
    "Portfolio": "CMA-ES, differential evolution and a net by turns; unknown landscapes",
}
SEQUENTIAL: Final = frozenset({"Cobyla", "Powell", "NelderMead"})
NEEDS_TWO: Final = frozenset({"CMA", "DiagonalCMA", "MetaModel", "Portfolio"})

_CLOCK = "its CmaFmin2 takes its seed from the clock: a study could not go on where it stopped"
REFUSED: Final[tuple[tuple[str, str], ...]] = (
    (r"CmaFmin2|MetaModelFmin2|Carola(8|9|10|13)", _CLOCK),
    (r"NLOPT_.*", "needs the library nlopt, which is not part of the server"),
    (r"BOBYQA|AXP?|SMAC3|pysot|Pymoo.*|PCABO.*|BayesOptimBO", "needs a library that is not part of the server"),
    (r"FCMA\w*", "needs the library fcmaes, which is not part of the server"),
    (r"Voxelize.*", "trains for seven seconds of clock time at an ask: another machine would go another way"),
    (
        r"(Neural|Image|RF|SVM|HS\w*(Neural|RF|SVM)).*",
        "fits a model of scikit-learn at an ask and was not measured to repeat itself",
    ),
)


def description() -> str:
    """The names with what each is for, as the options' schema shows them."""
    return "Name in nevergrad's registry. " + " ".join(f"{name}: {what}." for name, what in SERVED.items())


def refusal(name: str) -> str | None:
    """Why an optimizer is not served; None when it is."""
    if name in SERVED:
        return None
    reason = next((why for pattern, why in REFUSED if re.fullmatch(pattern, name)), None)
    reason = reason or "it is not among those that were measured to go on exactly where a study stopped"
    return f"nevergrad's {name!r} is not served: {reason}; served are {', '.join(SERVED)}"
