"""How good `auto` and the other suggesters are beside Optuna, HEBO, Ax, SMAC, nevergrad and random search.

`python benchmarks/quality.py --help`; docs/quality.md says what is measured and how.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.quality.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
