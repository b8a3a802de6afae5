"""Prompt methods beside each other, GEPA and DSPy's MIPROv2: one scripted optimiser, equal budgets of example evaluations.

`python benchmarks/prompt.py --help`; docs/prompts.md says what came of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.prompt.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
