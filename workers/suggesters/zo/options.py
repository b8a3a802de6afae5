"""What the zeroth-order descent can be told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.domain.document import Document, Name
from services.domain.seeds import MOST_RANK, Noise

EstimatorName = Literal[
    "spsa", "gauss2", "sphere2", "orth2", "coord", "forward", "one-point", "es-rank", "sign", "guided",
    "forward-grad", "residual",
]  # fmt: skip
SchemeName = Literal[
    "plain", "conservative", "frank-wolfe", "online-to-nonconvex", "smooth-acceleration", "two-losses",
]  # fmt: skip
WITHOUT_RULE = frozenset({"frank-wolfe", "online-to-nonconvex", "smooth-acceleration"})
MOST_NUMBERS = 20_000_000
JVP, PROXY = "jvp", "proxy"


class ZoOptions(Document):
    """Options of `zo`."""

    estimator: EstimatorName | None = Field(
        default=None,
        description="coord where values have levels, spsa where noisy, orth2 for 4 directions and more, else sphere2.",
    )
    rule: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="spsa (Spall's gains), a native rule, a composition such as cautious(adam), or torch:<Class>. "
        "spsa where noisy, cosine(adam) where max_trials is known, else schedule-free.",
    )
    rule_options: dict[Name, Any] = Field(default_factory=dict, description="Options of the rule and its wrappers.")
    lr: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        default=None, description="Learning rate, in shares of each range; the rule's own if absent."
    )
    directions: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Directions a step; half of max_running if absent, 1 without it."
    )
    radius: Annotated[float, Field(ge=1e-9, le=0.5)] | None = Field(
        default=None, description="Smoothing radius a coordinate, in shares of each range; from the noise if absent."
    )
    scheme: SchemeName = Field(default="plain", description="How an estimate becomes a step.")
    domain: Literal["box", "simplex", "l1"] = Field(default="box", description="frank-wolfe: the set of the iterates.")
    domain_size: Annotated[float, Field(gt=0, le=1e300)] = Field(
        default=1.0, description="frank-wolfe: sum of a simplex, radius of an l1 ball."
    )
    variance_reduction: Literal["none", "spider", "sarah", "storm", "svrg"] = Field(
        default="none",
        description="Differences to the point before, or (svrg) to that of the last large step, at the same directions "
        "and random numbers.",
    )
    period: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=16,
        description="Steps from one large step of a recursive estimate, or from one look at both losses, on.",
    )
    crn: Name | None = Field(
        default=None,
        description="Integer parameter that carries common random numbers: seed your noise with it, or (svrg) evaluate "
        "on this fold of your data.",
    )
    fidelity: Name | None = Field(
        default=None,
        description="two-losses: ordinal parameter with the choices proxy and full; where it is proxy, tell the metric "
        "proxy, and the state pruned.",
    )
    reach: Annotated[float, Field(ge=1e-6, le=1)] = Field(
        default=0.1, description="two-losses: how far one look at the full loss is trusted, in shares of each range."
    )
    ahead: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="Points probed at once: the iterate and where its next steps are predicted to lead."
    )
    tangent: Name | None = Field(
        default=None, description="forward-grad: vector parameter that carries the direction of the told derivative."
    )
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        default=None,
        description="Rows and columns of the moved coordinates, for rules over a matrix; the vector's own if absent.",
    )
    aggregator: Literal["upgrad", "mgda", "mean"] = Field(
        default="upgrad", description="Several objectives: how their gradients become one."
    )
    constraint_method: Literal["augmented", "dual"] = Field(
        default="augmented", description="Constraints: augmented Lagrangian, or plain dual ascent."
    )
    penalty: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=10.0, description="Constraints: how fast prices grow, and the weight of the augmented term."
    )
    evaluate: Annotated[int, Field(ge=0, le=10**6)] = Field(
        default=10, description="Every so many steps one trial is spent at the recommended point; 0: never."
    )

    noise: Noise = Field(default="gauss", description="Vectors with encoding seed: how words become directions.")
    rank: Annotated[int, Field(ge=0, le=MOST_RANK)] = Field(
        default=0, description="Vectors with encoding seed: of the directions of matrices; 0: full."
    )

    @property
    def held(self) -> frozenset[str]:
        """Parameters that are not moved."""
        return frozenset(name for name in (self.crn, self.tangent, self.fidelity) if name is not None)
