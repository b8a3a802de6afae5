"""Evolution strategies by seeds: for parameters too many to send, from networks to language models.

The service never sees theta: trials name the noise to add to it, clients tell losses, and an update log of seeds and weights moves
theta at every client alike (`workers/models/seed_search.py`; docs/seeds.md for clients).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.seeds import MOST_RANK, Noise
from services.domain.study import StudySpec
from services.domain.suggester import SEED, Blob, Honours, Problem, Resources, Spec, Suggester
from services.domain.updates import Rule

MOST_PAIRS = 100_000
USUAL_PAIRS = 32
GENERATIONS = 20
ENOUGH = 0.9
LEARNING_RATES: dict[str, float] = {"adam": 0.01, "snes": 1.0}


class MaskOptions(Document):
    """Search fewer and fewer entries (lottery tickets: Lange, Sprekeler 2023)."""

    kind: Literal["random", "magnitude", "snr"] = Field(
        default="magnitude",
        description="What is kept: a random part, the largest |theta|, or (rule snes) the largest |theta| for their deviation.",
    )
    keep: float = Field(default=0.8, gt=0, lt=1, description="Share of what is left that each round keeps.")
    rounds: int = Field(default=10, ge=1, le=1000)
    every: int = Field(default=20, ge=1, le=1_000_000, description="Generations between two rounds.")
    rewind: bool = Field(default=True, description="Theta returns to where it began, as with lottery tickets.")


class EsOptions(Document):
    """What evolution strategies can be told."""

    pairs: int | None = Field(
        default=None, ge=1, le=MOST_PAIRS,
        description="Antithetic pairs a generation; 32 or enough for max_running if absent, 20 generations of max_trials at most.",
    )  # fmt: skip
    sigma: float = Field(default=0.02, ge=1e-7, le=1e3, description="Of the perturbations, in units of the parameters.")
    sigma_decay: float = Field(default=1.0, gt=0.5, le=1, description="What sigma is multiplied by each generation.")
    rank: int = Field(
        default=0, ge=0, le=MOST_RANK, description="Of the perturbations of matrices: 1 for EGGROLL, 0 for full ones."
    )
    noise: Noise = Field(
        default="gauss", description="rademacher and popcount are equal to the last bit in every language."
    )
    shaping: Literal["ranks", "zscore", "sign"] = Field(default="ranks", description="How losses become weights.")
    rule: Rule = Field(default="adam", description="How clients step; snes also learns a deviation for each entry.")
    lr: float | None = Field(
        default=None, gt=0, le=1e6, description="0.01 for adam, 1 for snes, sigma/2 for the others if absent."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3)
    enough: float = Field(
        default=ENOUGH,
        gt=0,
        le=1,
        description="Share of the pairs that closes a generation: stragglers do not hold it up.",
    )
    persistence: int = Field(
        default=1, ge=1, le=1_000_000,
        description="Trials of one inner run that a particle evaluates under one noise (ES-Single).",
    )  # fmt: skip
    mask: MaskOptions | None = None


def usual_pairs(spec: StudySpec, least: int) -> int:
    """Pairs a generation where nobody says: enough for the workers, few enough for `GENERATIONS` generations."""
    wanted = max(least, math.ceil((spec.limits.max_running or 0) / 2))
    most = spec.limits.max_trials
    return wanted if most is None else max(1, min(wanted, most // (2 * GENERATIONS)))


def _refuse(spec: StudySpec, options: EsOptions) -> list[FieldError]:
    from workers.models.seed_spaces import idle_betas, stands_alone, too_long

    found = stands_alone(spec) or too_long(spec, options.noise, options.rank)
    found += idle_betas(options.rule, options.model_fields_set, "/suggester/options")
    if options.mask is not None and options.mask.kind == "snr" and options.rule != "snes":
        found.append(FieldError("/suggester/options/mask/kind", "snr needs rule snes"))
    if options.rule == "snes" and options.rank:
        message = "rule snes needs rank 0: it has a deviation for each entry"
        found.append(FieldError("/suggester/options/rank", message))
    return found


def _create(problem: Problem, options: EsOptions, blob: Blob | None) -> Suggester:
    from workers.models.seed_search import MaskSchedule, Plan, SeedSearch

    pairs = options.pairs or usual_pairs(problem.spec, USUAL_PAIRS)
    mask = options.mask
    plan = Plan(
        pairs=pairs, enough=options.enough, sigma=options.sigma, decay=options.sigma_decay,
        rank=options.rank, noise=options.noise, shaping=options.shaping, rule=options.rule,
        lr=options.lr or LEARNING_RATES.get(options.rule, options.sigma / 2), beta1=options.beta1, beta2=options.beta2,
        weight_decay=options.weight_decay, persistence=options.persistence,
        masks=None if mask is None else MaskSchedule(
            kind=mask.kind, keep=mask.keep, rounds=mask.rounds, every=mask.every, rewind=mask.rewind
        ),
    )  # fmt: skip
    return SeedSearch(problem, plan, blob)


SPEC = Spec(
    name="es",
    summary="Evolution strategies by seeds: for thousands to billions of parameters that stay with the client.",
    reference="Salimans et al. 2017, Evolution Strategies as a Scalable Alternative; Sarkar et al. 2025, EGGROLL",
    honours=Honours(
        types=frozenset({SEED}), conditions=False, parameter_constraints=False, defaults=False, examples=True
    ),
    options=EsOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)
