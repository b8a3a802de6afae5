"""Prompt methods beside each other and beside GEPA and DSPy's MIPROv2, at equal budgets of example evaluations."""
