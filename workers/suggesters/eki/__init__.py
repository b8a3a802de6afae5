"""Ensemble Kalman methods: calibrate a simulator to observations, or choose the experiment that tells most about it.

Iglesias, Law, Stuart 2013; Garbuno-Inigo, Nüsken, Reich 2020; Gruhlke, Hanu, Schillings, Wacker 2025. Particles are trials: no
derivative and no likelihood is asked of the client, only what the simulator predicts.
"""

from __future__ import annotations

from services.domain.suggester import Blob, Honours, Problem, Resources, Spec, Suggester

from .options import EkiOptions, lacks, refuse


def _create(problem: Problem, options: EkiOptions, blob: Blob | None) -> Suggester:
    if options.kind is not None:
        from .design import Design

        return Design(problem, options, blob)
    from .calibration import Calibration

    return Calibration(problem, options, blob)


SPEC = Spec(
    name="eki",
    summary="Ensemble Kalman: calibrates a simulator to data from a residual vector, or designs the next experiment.",
    reference="Iglesias, Law, Stuart 2013; Garbuno-Inigo, Nüsken, Reich 2020; Gruhlke, Hanu, Schillings, Wacker 2025",
    honours=Honours(types=frozenset({"float", "int", "vector", "categorical"}), max_objectives=20),
    options=EkiOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=refuse,
    lacks=lacks,
)
