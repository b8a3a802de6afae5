"""Search an instruction for a real language model: starts asktell and the model, lets a method propose, prints the best prompts.

    python examples/prompts/sentiment.py --method plum --trials 40
    ASKTELL_LLM__DEFAULT__BASE_URL=… ASKTELL_LLM__DEFAULT__MODEL=… python examples/prompts/sentiment.py --method opro

Needs asktell-server, and the packages that README.md names or any OpenAI-style server (`--model URL`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from reviews import HELD_OUT, SEARCH, SEED, TASK
from task_model import TaskModel, local_server

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from demo import free_port, wait_until_ready

SHOWN = 5
OPTIONS = {"plum": {}, "zopo": {"n_init": 10}, "opro": {"max_tokens": 128}}


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=sorted(OPTIONS), default="plum")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument(
        "--examples", type=int, default=16, help=f"reviews that a prompt is scored on, at most {len(SEARCH)}"
    )
    parser.add_argument("--url", help="an asktell service; one of its own if absent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the local model")
    parser.add_argument(
        "--model", metavar="URL", help="an OpenAI-style server up to and with /v1; a local model if absent"
    )
    parser.add_argument("--model-name", default="default", help="of the model at --model")
    parser.add_argument("--logprobs", type=int, default=1000, help="how many of the likeliest next tokens to ask for")
    given = parser.parse_args()
    if not 2 <= given.examples <= len(SEARCH):
        parser.error(f"--examples is 2 to {len(SEARCH)}")
    if given.method == "opro" and not given.url and not any(name.startswith("ASKTELL_LLM__") for name in os.environ):
        parser.error(
            "opro asks a language model: set ASKTELL_LLM__DEFAULT__BASE_URL and ASKTELL_LLM__DEFAULT__MODEL (README.md)"
        )
    return given


@contextlib.contextmanager
def service() -> Iterator[str]:
    """A service of our own on loopback; its address. It reads the language model from ASKTELL_LLM__… as it stands."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    environment.pop("ASKTELL_API_KEY", None)
    with tempfile.TemporaryDirectory(prefix="asktell-prompts-") as folder:
        serve = [
            sys.executable, "-m", "asktell.cli", "serve", "--database", f"sqlite:///{folder}/prompts.db",
            "--port", str(port := free_port()), "--grpc-port", "0", "--processes", "1", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        server = subprocess.Popen(serve, env=environment)
        try:
            wait_until_ready(server, url := f"http://127.0.0.1:{port}")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def search(client: asktell.Client, model: TaskModel, given: argparse.Namespace) -> asktell.Study:
    """Let the method propose and the model judge."""
    reviews = SEARCH[: given.examples]
    study = client.create_study(
        f"sentiment-{given.method}-{uuid.uuid4().hex[:6]}",
        {"instruction": asktell.Text(initial=[SEED], task=TASK, max_length=300)},
        minimize="cross_entropy",
        suggester={"name": given.method, "options": OPTIONS[given.method]},
        max_trials=given.trials,
        seed=given.seed,
    )
    return study.optimize(lambda p: model.judge(p["instruction"], reviews), given.trials)


def report(study: asktell.Study, model: TaskModel, given: argparse.Namespace, seconds: float) -> None:
    """The best prompts beside the one that it started from, also on reviews that the search never saw."""
    told = list(study.list_trials(state="completed"))
    start = model.judge(SEED, SEARCH[: given.examples])
    rows = [("start", SEED, start)]
    for trial in sorted(told, key=lambda trial: trial.metrics["cross_entropy"])[:SHOWN]:
        rows.append((f"trial {trial.number}", trial.parameters["instruction"], trial.metrics))
    print(f"{'':>9}  cross-entropy  accuracy  held out  accuracy  instruction")
    for name, text, metrics in rows:
        other = model.judge(text, HELD_OUT)
        print(
            f"{name:>9}  {metrics['cross_entropy']:13.3f}  {metrics['accuracy']:8.0%}"
            f"  {other['cross_entropy']:8.3f}  {other['accuracy']:8.0%}  {text!r}"
        )
    best = study.best.metrics["cross_entropy"]
    print(
        f"{given.method}: {len(told)} trials, cross-entropy {start['cross_entropy']:.3f} -> {best:.3f} on {given.examples} reviews, "
        f"{model.requests} requests to the model, {seconds:.0f} s"
    )


def main() -> int:
    """Run the example."""
    given = options()
    with contextlib.ExitStack() as stack:
        model_url = given.model or stack.enter_context(local_server(given.threads))
        client = stack.enter_context(asktell.Client(given.url or stack.enter_context(service())))
        model = TaskModel(model_url, given.model_name, given.logprobs)
        since = time.monotonic()
        study = search(client, model, given)
        report(study, model, given, time.monotonic() - since)
    return 0


if __name__ == "__main__":
    sys.exit(main())
