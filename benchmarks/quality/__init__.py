"""How good the suggesters are, beside the optimisers that people use today: problems, peers, runner and report."""
