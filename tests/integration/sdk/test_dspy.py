"""Programs of the real `dspy` package are compiled by a service."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import asktell
from tests.support.openai_scripts import Call
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server

dspy = pytest.importorskip("dspy")
from asktell.integrations.dspy import AsktellOptimizer, accepting_five  # noqa: E402  # needs dspy

RULES = ("amber", "basil", "cedar", "delta", "ember", "frost")


def keeps_the_rules_it_was_told(call: Call) -> str:
    """Answers `kept` where the instructions, or a demonstration, name the rule of the question."""
    *before, (_, question) = call.messages
    rule = re.findall(r"\[\[ ## question ## \]\]\n(.*?)\n", question)[-1]
    word = "kept" if any(rule in content for _, content in before) else "broken"
    if "`reasoning`" in question or "## reasoning ##" in question:
        return f"[[ ## reasoning ## ]]\nwhy not\n\n[[ ## answer ## ]]\n{rule} {word}\n\n[[ ## completed ## ]]"
    return f"[[ ## answer ## ]]\n{rule} {word}\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def task() -> Iterator[OpenAiServer]:
    with OpenAiServer(keeps_the_rules_it_was_told) as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(task: OpenAiServer) -> Iterator[None]:
    """The program's language model, set as users do it; no progress bars."""
    lm = dspy.LM("openai/task", api_base=task.url, api_key="any", cache=False)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        yield


def examples(*rules: str) -> list[Any]:
    return [dspy.Example(question=rule, answer=f"{rule} kept").with_inputs("question") for rule in rules]


def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    is_right = gold.answer == pred.answer
    return dspy.Prediction(score=float(is_right), feedback="good" if is_right else f"needs the rule: {gold.question}")


def optimizer(service: Server, judge: Any = metric, **more: Any) -> AsktellOptimizer:
    given: dict[str, Any] = {"max_metric_calls": 90, "share_examples": True, "track_stats": True}
    given |= {"study_name": f"dspy-{uuid.uuid4().hex[:12]}"}
    return AsktellOptimizer(judge, url=service.url, **given | more)


def test_instructions_are_found_by_reflection(
    service: Server, asked: OpenAiServer, recwarn: pytest.WarningsRecorder
) -> None:
    student = dspy.Predict("question -> answer")
    instructions = student.signature.instructions
    found = optimizer(service).compile(student, trainset=examples(*RULES), valset=examples(*RULES))
    assert isinstance(found, dspy.Predict) and found is not student
    assert student.signature.instructions == instructions, "the student stays as it was"
    assert set(RULES) < set(found.signature.instructions.split())
    assert found(question="ember").answer == "ember kept"
    stats = found.detailed_results
    assert stats.val_aggregate_scores[0] == 0.0
    assert stats.val_aggregate_scores[stats.best_idx] == 1.0
    assert stats.total_metric_calls <= 90
    shown = "".join(call.shown for call in asked.chats)
    assert "needs the rule: amber" in shown and "amber broken" in shown, "reflection sees what the metric said"
    assert not [warning for warning in recwarn if "proposes" in str(warning.message)]


class Pipeline(dspy.Module):  # type: ignore[misc]  # untyped
    def __init__(self) -> None:
        super().__init__()
        self.steps = [dspy.Predict("question -> answer"), dspy.ChainOfThought("question -> answer")]

    def forward(self, question: str) -> Any:
        self.steps[0](question=question)
        return self.steps[1](question=question)


def test_each_predictor_is_a_component_with_feedback_of_its_own(service: Server, asked: OpenAiServer) -> None:
    names: set[str | None] = set()

    def by_predictor(gold: Any, pred: Any, trace: Any, pred_name: str | None, pred_trace: Any) -> Any:
        names.add(pred_name)
        judged = metric(gold, pred)
        judged["feedback"] += f" ({pred_name})"
        return judged

    search = optimizer(service, by_predictor)
    found = search.compile(Pipeline(), trainset=examples(*RULES[:3]))
    components = [name for name, _ in Pipeline().named_predictors()]
    assert components == ["steps[0]", "steps[1].predict"]
    assert names == {None, *components}
    assert list(found.detailed_results.best_candidate) == components
    assert found(question="amber").answer == "amber kept"
    with asktell.Client(service.url) as client:
        row = client.study(search.search["study_name"]).trial(1).examples[0]  # type: ignore[index]
    feedback = json.loads(row["feedback"])
    assert list(feedback) == ["steps_0_", "steps_1_.predict"]
    assert all(f"({component})" in words for component, words in zip(components, feedback.values(), strict=True))


def test_examples_on_which_the_program_raises_score_zero_and_the_others_keep_their_feedback(service: Server) -> None:
    class Fragile(dspy.Module):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            if question == "amber":
                raise RuntimeError("this question is too much")
            return self.answer(question=question)

    search = optimizer(service, max_trials=1, failure_score=-1.0)
    search.compile(Fragile(), trainset=examples("amber", "basil", "cedar"))
    with asktell.Client(service.url) as client:
        rows = client.study(search.search["study_name"]).trial(1).examples or []
    assert [row["score"] for row in rows] == [-1.0, 0.0, 0.0]
    assert not rows[0].get("feedback")
    assert [row["feedback"].splitlines()[-1] for row in rows[1:]] == [
        f"Feedback: needs the rule: {r}" for r in RULES[1:3]
    ]


def test_demonstrations_are_chosen_beside_the_instructions(service: Server) -> None:
    search = optimizer(service, suggester="random", share_examples=False, demo_sets=3, seed=3, max_metric_calls=60)
    found = search.compile(
        dspy.Predict("question -> answer"), trainset=examples(*RULES[:4]), valset=examples(*RULES[:4])
    )
    tried = {candidate["self.demos"] for candidate in found.detailed_results.candidates}
    assert tried == {"0", "1", "2"}
    assert found.detailed_results.best_candidate["self.demos"] != "0", "a demonstration names the rule"
    assert found.demos
    assert found(question=found.demos[0].question).answer.endswith("kept")


def test_threads_see_the_language_model_of_the_caller(service: Server) -> None:
    found = optimizer(service, parallel=3).compile(dspy.Predict("question -> answer"), trainset=examples(*RULES[:3]))
    assert found.detailed_results.val_aggregate_scores[found.detailed_results.best_idx] > 0


def test_metrics_of_fewer_arguments_are_served(service: Server) -> None:
    def plain(gold: Any, pred: Any, trace: Any = None) -> bool:
        return bool(gold.answer == pred.answer)

    search = optimizer(service, plain, max_trials=1)
    search.compile(dspy.Predict("question -> answer"), trainset=examples("amber", "question"))
    with asktell.Client(service.url) as client:
        rows = client.study(search.search["study_name"]).trial(1).examples or []
    assert [row["score"] for row in rows] == [0.0, 1.0], "the default instructions name the word question"
    assert rows[0]["feedback"].endswith("This run got a score of 0.0.")
    assert accepting_five(lambda gold, pred: gold + pred)(1, 2) == 3
    assert accepting_five(lambda gold, pred, trace, name, part: (trace, name, part))(1, 2, 3, "4") == (3, "4", None)
    with pytest.raises(TypeError, match="the metric takes"):
        accepting_five(lambda gold: gold)


def test_what_cannot_be_compiled_is_refused(service: Server) -> None:
    with pytest.raises(ValueError, match="max_metric_calls or max_full_evals"):
        AsktellOptimizer(metric)
    with pytest.raises(ValueError, match="max_metric_calls or max_full_evals"):
        AsktellOptimizer(metric, max_metric_calls=1, max_full_evals=1)
    with pytest.raises(ValueError, match="no predictor"):
        optimizer(service).compile(dspy.Module(), trainset=examples("amber"))
    with pytest.raises(asktell.Invalid) as refused:
        optimizer(service, share_examples=False).compile(dspy.Predict("question -> answer"), trainset=examples("amber"))
    assert refused.value.errors[0].pointer == "/llm/share_examples"


def test_full_passes_count_both_sets(service: Server) -> None:
    search = optimizer(service, max_metric_calls=None, max_full_evals=2)
    search.compile(dspy.Predict("question -> answer"), trainset=examples("amber"), valset=examples("amber", "basil"))
    with asktell.Client(service.url) as client:
        assert client.study(search.search["study_name"]).limits["max_example_evaluations"] == 6


def test_without_dspy_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['dspy'] = None; import asktell.integrations.dspy"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stderr.splitlines()[-1].endswith("pip install dspy")
