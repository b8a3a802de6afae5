"""Adapters written for the real `gepa` package run against a service, unchanged."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

import asktell
from asktell.integrations import gepa as integration
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server

gepa = pytest.importorskip("gepa")
RULES = ("amber", "basil", "cedar", "delta", "ember", "frost", "grove", "heron")
SEED = {"system prompt": "Answer the question."}


@dataclass
class Rules:
    """Each example needs one rule in one of the components; says which in its feedback."""

    calls: list[tuple[list[str], dict[str, Any], bool]] = field(default_factory=list)
    breaks_on: str = ""

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        self.calls.append((batch, candidate, capture_traces))
        if self.breaks_on and self.breaks_on in " ".join(candidate.values()):
            raise RuntimeError("the system fell over")
        has = [any(rule in str(text) for text in candidate.values()) for rule in batch]
        return gepa.EvaluationBatch(
            outputs=[{"answer": f"{rule} {'kept' if ok else 'broken'}"} for rule, ok in zip(batch, has, strict=True)],
            scores=[float(ok) for ok in has],
            trajectories=list(zip(batch, has, strict=True)) if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        assert len(components_to_update) == 1, "as GEPA's own default adapter wants it"
        records = [
            {
                "Inputs": {"rule": rule},
                "Generated Outputs": output,
                "Feedback": "good" if ok else f"needs the rule: {rule}",
            }
            for (rule, ok), output in zip(eval_batch.trajectories, eval_batch.outputs, strict=True)
        ]
        return {components_to_update[0]: records}


def name() -> str:
    return f"gepa-{uuid.uuid4().hex[:12]}"


def search(service: Server, adapter: Any, **more: Any) -> integration.Result:
    given: dict[str, Any] = {
        "seed_candidate": SEED,
        "trainset": list(RULES),
        "share_examples": True,
        "max_metric_calls": 150,
    }
    return integration.optimize(service.url, adapter=adapter, **given | more)


def test_an_adapter_reaches_the_optimum_by_reflection(service: Server, asked: OpenAiServer) -> None:
    adapter, validation = Rules(), [*RULES, "Answer"]
    found = search(service, adapter, valset=validation, study_name=name())
    assert found.val_aggregate_scores[0] == pytest.approx(1 / 9), "the seed comes first"
    assert found.val_aggregate_scores[found.best_idx] == 1.0
    assert set(RULES) < set(found.best_candidate["system prompt"].split())
    assert found.candidates[0] == SEED
    assert found.total_metric_calls <= 150
    assert found.total_metric_calls == sum(len(batch) for batch, _, _ in adapter.calls)
    assert found.num_full_val_evals == len(found.candidates) == found.num_candidates
    assert found.num_val_instances == 9
    assert asked.chats, "the service's language model wrote the texts"


def test_a_result_reads_as_gepas_own(service: Server) -> None:
    found = search(service, Rules(), valset=list(RULES), study_name=name())
    own = found.to_gepa()
    assert isinstance(own, gepa.GEPAResult)
    assert own.best_candidate == found.best_candidate
    assert own.best_idx == found.best_idx
    assert gepa.GEPAResult.from_dict(json.loads(json.dumps(own.to_dict()))).candidates == found.candidates
    for key, front in found.per_val_instance_best_candidates.items():
        top = max(scores[key] for scores in found.val_subscores)
        assert front == {i for i, scores in enumerate(found.val_subscores) if scores[key] == top}
        assert found.best_outputs_valset is not None
        best = found.best_outputs_valset[key]
        assert [i for i, _ in best] == sorted(front)
        assert all(output["answer"].startswith(RULES[key]) for _, output in best)
    assert found.discovery_eval_counts[0] == 0
    assert found.discovery_eval_counts == sorted(found.discovery_eval_counts)
    assert found.parents[0] == [None]
    assert all(len(parents) == 1 and parents[0] in range(i) for i, parents in enumerate(found.parents) if i)
    assert "digraph" in own.candidate_tree_dot()


def test_only_train_examples_are_traced_and_told_in_words(service: Server, asked: OpenAiServer) -> None:
    adapter, called = Rules(), name()
    search(service, adapter, valset=["Answer", "question"], study_name=called, max_metric_calls=40)
    assert {traced for batch, _, traced in adapter.calls if set(batch) == {"Answer", "question"}} == {False}
    assert {traced for batch, _, traced in adapter.calls if set(batch) <= set(RULES)} == {True}
    with asktell.Client(service.url) as client:
        trials = list(client.study(called).list_trials())
    for trial in trials:
        split = trial.evaluate_on["split"] if trial.evaluate_on else ""
        for row in trial.examples or ():
            assert row["id"].startswith(f"{split}-")
            assert bool(row.get("output")) == bool(row.get("feedback")) == (split == "train")
    row = next(row for t in trials for row in t.examples or () if row.get("feedback") and row["score"] == 0)
    rule = RULES[int(row["id"].removeprefix("train-"))]
    assert row["output"] == f"answer: {rule} broken"
    assert row["feedback"] == f"Inputs / rule: {rule}\nFeedback: needs the rule: {rule}", "the output is not told twice"


def test_the_data_itself_never_leaves(service: Server, asked: OpenAiServer) -> None:
    called, data = name(), [{"secret": f"s3cret-{rule}", "rule": rule} for rule in RULES]

    class Closed(Rules):
        def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            assert all(row["secret"].startswith("s3cret-") for row in batch)
            return super().evaluate([row["rule"] for row in batch], candidate, capture_traces)

    search(service, Closed(), trainset=data, study_name=called, max_metric_calls=60)
    with asktell.Client(service.url) as client:
        study = client.study(called)
        assert "s3cret" not in json.dumps(study.data) + study.export().decode()
    assert asked.chats
    assert "s3cret" not in json.dumps([call.body for call in asked.calls])


def test_without_leave_nothing_is_proposed_from_examples(service: Server, asked: OpenAiServer) -> None:
    adapter = Rules()
    with pytest.raises(asktell.Invalid) as refused:
        search(service, adapter, share_examples=False)
    assert [error.pointer for error in refused.value.errors] == ["/llm/share_examples"]
    assert not asked.calls
    assert not adapter.calls


def test_several_components_are_told_apart(service: Server, asked: OpenAiServer) -> None:
    called = name()
    seed = {"plan.step[0]": "Think first.", "plan.step[1]": "Then answer."}
    found = search(service, Rules(), seed_candidate=seed, study_name=called, max_metric_calls=120)
    assert list(found.best_candidate) == list(seed)
    assert found.val_aggregate_scores[found.best_idx] > found.val_aggregate_scores[0]
    with asktell.Client(service.url) as client:
        study = client.study(called)
        assert [p["name"] for p in study.parameters] == ["plan.step_0_", "plan.step_1_"]
        told = [row for t in study.list_trials() for row in t.examples or ()]
    assert all(set(json.loads(row["feedback"])) == {"plan.step_0_", "plan.step_1_"} for row in told)
    assert {call.shown.split("`")[1] for call in asked.chats} == {"plan.step_0_", "plan.step_1_"}


def test_a_study_goes_on_where_it_stood(service: Server) -> None:
    called, first, second = name(), Rules(), Rules()
    before = search(service, first, study_name=called, max_trials=4)
    with asktell.Client(service.url) as client:
        client.study(called).patch(limits={"max_trials": 8})
        client.study(called).resume()
    after = search(service, second, study_name=called, max_trials=4)
    assert after.candidates[: len(before.candidates)] == before.candidates
    assert len(first.calls) == 4 and len(second.calls) == 4
    with pytest.raises(asktell.Conflict, match="other examples"):
        search(service, Rules(), study_name=called, trainset=list(RULES[:-1]))


def test_many_threads_evaluate_within_the_same_budget(service: Server) -> None:
    adapter = Rules()
    found = search(service, adapter, parallel=4, study_name=name(), max_metric_calls=100)
    assert found.total_metric_calls == sum(len(batch) for batch, _, _ in adapter.calls) <= 100
    assert found.val_aggregate_scores[found.best_idx] > found.val_aggregate_scores[0]


def test_an_adapter_that_raises_ends_the_search_or_only_its_trial(service: Server) -> None:
    with pytest.raises(RuntimeError, match="fell over"):
        search(service, Rules(breaks_on="Answer"), study_name=name())
    called = name()
    search(service, Rules(breaks_on="amber"), study_name=called, raise_on_exception=False, max_metric_calls=60)
    with asktell.Client(service.url) as client:
        failed = [t for t in client.study(called).list_trials() if t.state == "failed"]
    assert failed
    assert all(
        "amber" in t.parameters["system_prompt"] and t.feedback == "RuntimeError: the system fell over" for t in failed
    )


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.5], "2 outputs and 1 scores for 2 examples"), ([0.5, float("nan")], "example 1 of the batch is nan")],
)
def test_an_adapter_that_breaks_its_promise_is_told_so(service: Server, scores: list[float], message: str) -> None:
    class Broken(Rules):
        def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            return gepa.EvaluationBatch(outputs=["", ""], scores=scores)

    with pytest.raises(ValueError, match=message):
        search(service, Broken(), trainset=["amber", "basil"], study_name=name())


def test_traces_that_belong_to_no_single_example_become_the_trials_feedback(service: Server) -> None:
    class Lossy(Rules):
        def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            found = super().evaluate(batch, candidate, capture_traces)
            found.trajectories = found.trajectories and found.trajectories[:-1]
            return found

        def make_reflective_dataset(self, candidate: Any, eval_batch: Any, components_to_update: Any) -> Any:
            words = [{"Feedback": f"needs the rule: {rule}"} for rule, ok in eval_batch.trajectories if not ok]
            return dict.fromkeys(components_to_update, words)

    called = name()
    search(service, Lossy(), study_name=called, max_metric_calls=24)
    with asktell.Client(service.url) as client:
        first = client.study(called).trial(1)
    assert first.feedback is not None and first.feedback.count("needs the rule:") == len(RULES) - 1
    assert not any(row.get("feedback") for row in first.examples or ())


def test_gepas_default_adapter_and_a_loader_are_served(service: Server) -> None:
    class Loader:
        def all_ids(self) -> list[str]:
            return [f"q/{rule}" for rule in RULES[:4]]

        def fetch(self, ids: Sequence[str]) -> list[dict[str, Any]]:
            rules = [id.removeprefix("q/") for id in ids]
            return [{"input": f"needs the rule: {rule}", "additional_context": {}, "answer": rule} for rule in rules]

        def __len__(self) -> int:
            return 4

    def task_lm(messages: Sequence[Mapping[str, str]]) -> str:
        wanted = messages[-1]["content"].split()[-1]
        return wanted if wanted in messages[0]["content"] else "no idea"

    found = integration.optimize(
        service.url, seed_candidate=SEED, trainset=Loader(), task_lm=task_lm, share_examples=True, max_metric_calls=60,
        study_name=name(), reflection_minibatch_size=2,
    )  # fmt: skip
    assert set(found.val_subscores[0]) == {f"q/{rule}" for rule in RULES[:4]}
    assert found.val_aggregate_scores[found.best_idx] == 1.0


def test_numbers_stand_beside_the_texts(service: Server) -> None:
    seen: list[dict[str, Any]] = []

    class Warm(Rules):
        def evaluate(self, batch: list[str], candidate: dict[str, Any], capture_traces: bool = False) -> Any:
            seen.append(candidate)
            return super().evaluate(batch, {"system prompt": candidate["system prompt"]}, capture_traces)

    space: dict[str, asktell.Parameter] = {"temperature": asktell.Float(0, 1)}
    found = search(service, Warm(), parameters=space, study_name=name(), max_metric_calls=60)
    assert all(set(candidate) == {"system prompt", "temperature"} for candidate in seen)
    assert 0 <= found.best_candidate["temperature"] <= 1


def test_objective_scores_become_further_metrics(service: Server) -> None:
    class Two(Rules):
        def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
            found = super().evaluate(batch, candidate, capture_traces)
            found.objective_scores = [{"brevity": 1 / (1 + i)} for i in range(len(batch))]
            return found

    found = search(service, Two(), trainset=["amber", "basil"], study_name=name(), max_trials=1)
    assert found.val_aggregate_subscores == [{"brevity": 0.75}]


def test_options_of_gepa_are_not_passed_to_another_method(service: Server) -> None:
    with pytest.warns(UserWarning, match="minibatch"):
        found = search(
            service, Rules(), suggester="random", reflection_minibatch_size=2, share_examples=False, max_trials=1
        )
    assert found.candidates == [SEED]


def test_who_proposes_is_said(service: Server) -> None:
    class Proposing(Rules):
        def propose_new_texts(self, *_: Any) -> dict[str, str]:
            raise AssertionError("is not called")

    with pytest.warns(UserWarning, match="the service proposes"):
        search(service, Proposing(), study_name=name(), max_metric_calls=30)
    with pytest.raises(asktell.Invalid) as refused:
        search(service, Rules(), reflection_lm="openai/some-model")
    assert refused.value.errors[0].pointer == "/llm/profile"
    with pytest.raises(asktell.Invalid) as refused:
        search(service, Rules(), reflection_lm="nobody-defined-it")
    assert refused.value.errors[0].pointer == "/llm/profile"
