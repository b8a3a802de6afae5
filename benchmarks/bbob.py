"""BBOB, noiseless: how many targets `auto` and other optimisers hit after 50, 100 and 1000 evaluations a dimension.

`python benchmarks/bbob.py --help`; docs/bbob.md says what is measured and how.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.bbob.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
