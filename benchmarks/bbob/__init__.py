"""The parts of `benchmarks/bbob.py`."""
