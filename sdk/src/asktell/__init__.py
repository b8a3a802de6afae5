"""asktell: black-box optimisation as a service. Ask for trials, tell their values.

study = asktell.Client().create_study("demo", {"x": asktell.Float(-5, 5)}, minimize="loss")
study.optimize(lambda p: {"loss": p["x"] ** 2}, trials=50, parallel=4)
print(study.best.parameters)
"""

from .async_client import AsyncClient
from .async_study import AsyncStudy
from .async_trial import AsyncTrial
from .client import Client
from .documents import Limits
from .errors import (
    AsktellError,
    Conflict,
    Exhausted,
    FieldError,
    Forbidden,
    Infeasible,
    Invalid,
    NotActive,
    NotFinite,
    NotFound,
    Pruned,
    Stale,
    Unauthenticated,
    Unavailable,
)
from .events import Event
from .space import Bool, Categorical, Float, Int, Ordinal, Parameter, Permutation, SeedVector, Text, Tokens, Vector
from .study import Study
from .trial import Trial

__all__ = [
    "AsktellError",
    "AsyncClient",
    "AsyncStudy",
    "AsyncTrial",
    "Bool",
    "Categorical",
    "Client",
    "Conflict",
    "Event",
    "Exhausted",
    "FieldError",
    "Float",
    "Forbidden",
    "Infeasible",
    "Int",
    "Invalid",
    "Limits",
    "NotActive",
    "NotFinite",
    "NotFound",
    "Ordinal",
    "Parameter",
    "Permutation",
    "Pruned",
    "SeedVector",
    "Stale",
    "Study",
    "Text",
    "Tokens",
    "Trial",
    "Unauthenticated",
    "Unavailable",
    "Vector",
]
