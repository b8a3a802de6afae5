"""The programs of docs/seeds.md, as they are written there but for the number of trials."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

import asktell
from asktell.replica import Replica, newest
from tests.support.servers import Server

PAGE = Path(__file__).parents[2] / "docs" / "seeds.md"
MOST = "max_trials=20_000"


def evaluate(tensors: dict[str, np.ndarray]) -> float:
    return float(np.sum((tensors["w1"] - 1) ** 2) + np.sum(tensors["b1"] ** 2))


def test_the_programs_run_as_written(server: Server) -> None:
    whole, loop = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert MOST in whole
    with asktell.Client(server.url, worker="reader") as client:
        names: dict[str, Any] = {"client": client, "evaluate": evaluate, "newest": newest}
        names |= {"w1": np.zeros((4, 3)), "b1": np.zeros(3)}
        exec(whole.replace(MOST, "max_trials=80").replace('"net"', '"net-of-the-page"'), names)  # noqa: S102
        first: Replica = names["replica"]
        assert first.version == names["study"].updates()["latest"] > 0
        # The loop takes up what `work` left: a larger budget, theta rebuilt from the log.
        names["study"].patch(limits={"max_trials": 120})
        exec(loop, names)  # noqa: S102
        assert names["study"].refresh().trial_counts["completed"] == 120
        assert names["replica"].version > first.version
        assert evaluate(names["replica"].theta) < evaluate({"w1": np.zeros((4, 3)), "b1": np.zeros(3)})
