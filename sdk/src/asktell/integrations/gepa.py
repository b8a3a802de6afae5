"""`gepa.optimize` with the search done by asktell: an adapter written for GEPA runs as it stands.

    from asktell.integrations import gepa

    result = gepa.optimize(
        "http://127.0.0.1:8000",
        seed_candidate={"system_prompt": "Answer the question."},
        trainset=train, valset=validation, adapter=MyAdapter(),
        max_metric_calls=300, share_examples=True,
    )
    print(result.best_candidate)

The adapter evaluates here; the service proposes. Examples stay here too: the service learns ids and scores, and of train examples
outputs and feedback. They leave for the operator's language model only with `share_examples=True`.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from ..client import Client
from ..errors import Conflict
from ..space import Parameter, Text, documents
from ..trial import Trial
from .adapters import SCORE, Adapter, Evaluation, Examples, Tells, parameter_names
from .results import Result, read

__all__ = ["Adapter", "Result", "optimize"]

DEFAULT_MAX_LENGTH = 10_000
ACCEPT = {"strict_improvement": "better", "improvement_or_equal": "not_worse"}


def needed(package: str) -> Any:
    """A package that only some users need.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{error}: pip install {package.split('.')[0]}") from error


def optimize(
    client: Client | str | None = None,
    *,
    seed_candidate: Mapping[str, str],
    trainset: Any,
    valset: Any = None,
    adapter: Adapter | None = None,
    task_lm: Any = None,
    evaluator: Any = None,
    reflection_lm: str | None = None,
    candidate_selection_strategy: str | None = None,
    skip_perfect_score: bool | None = None,
    reflection_minibatch_size: int | None = None,
    perfect_score: float | None = None,
    use_merge: bool | None = None,
    max_merge_invocations: int | None = None,
    acceptance_criterion: Literal["strict_improvement", "improvement_or_equal"] | None = None,
    max_metric_calls: int | None = None,
    track_best_outputs: bool = True,
    display_progress_bar: bool = False,
    seed: int | None = 0,
    raise_on_exception: bool = True,
    study_name: str | None = None,
    suggester: str | Mapping[str, Any] = "gepa",
    parallel: int = 1,
    share_examples: bool = False,
    llm: Mapping[str, Any] | None = None,
    tell: Tells = "train",
    task: str | None = None,
    placeholders: Sequence[str] = (),
    max_length: int | None = None,
    parameters: Mapping[str, Parameter | Mapping[str, Any]] | None = None,
    max_trials: int | None = None,
    wait_seconds: float = 30.0,
) -> Result:
    """Search the texts of a candidate. Arguments that `gepa.optimize` has too mean the same.

    Args:
        client: a client, a service's address, or None for ASKTELL_URL.
        seed_candidate: `{component: text}`; each component becomes a text parameter.
        trainset, valset: lists or GEPA's `DataLoader`s; without a `valset` the train examples decide as well.
        adapter: else GEPA's `DefaultAdapter(task_lm, evaluator)`, which needs the package `gepa`.
        reflection_lm: name of a profile that the service's operator defined, not a model; None: the default profile.
        candidate_selection_strategy … acceptance_criterion: options of the suggester `gepa`; None leaves its defaults.
        max_metric_calls: example evaluations in all; a full evaluation that would pass it is not begun.
        track_best_outputs: keep the best raw outputs in the result.
        raise_on_exception: let an exception of the adapter end the search; else its trial counts as failed.
        study_name: a study of this name goes on where it stood; a new one is made if absent.
        suggester: of the catalogue, or `{"name": …, "options": {…}}`.
        parallel: threads that evaluate at one time.
        share_examples: let outputs and feedback leave the service for the language model; `gepa` needs it.
        llm: further fields of the study's `llm`, such as `{"max_calls": 200}`.
        tell: of which examples outputs and feedback go to the service: `train` as GEPA reflects, `all`, or `none`.
        task, placeholders, max_length: of the text parameters; a placeholder is kept where the seed's text has it.
        parameters: more of the space, beside the texts; the candidate carries their values under their names.
        max_trials: a further limit, of trials.

    Raises:
        ValueError: no component or no example, no limit, or the adapter broke its promise.
        Invalid: the service refuses the study; the message names the place.
        Conflict: the study exists with other texts, parameters or examples.
        ImportError: no adapter is given and `gepa` is not installed.
    """
    if not seed_candidate:
        raise ValueError("seed_candidate needs a text for at least one component")
    if max_metric_calls is None and max_trials is None:
        raise ValueError("give max_metric_calls or max_trials")
    if reflection_lm is not None and not isinstance(reflection_lm, str):
        raise ValueError(
            "reflection_lm names a profile of the service's operator: the service makes the calls, not this process"
        )
    chosen = adapter if adapter is not None else _default_adapter(task_lm, evaluator)
    if getattr(chosen, "propose_new_texts", None) is not None:
        warnings.warn("adapter.propose_new_texts is not called: the service proposes the texts", stacklevel=2)
    examples = Examples(trainset, valset)
    if not all(examples.ids.values()):
        raise ValueError("trainset and valset need at least one example each")
    names = parameter_names([*seed_candidate, *(parameters or {})])
    choices = {
        "selection": candidate_selection_strategy,
        "skip_perfect_score": skip_perfect_score,
        "minibatch": reflection_minibatch_size,
        "perfect_score": perfect_score,
        "merge": use_merge,
        "max_merges": max_merge_invocations,
        "accept": None if acceptance_criterion is None else ACCEPT[acceptance_criterion],
    }
    document: dict[str, Any] = {
        "name": study_name or f"gepa-{uuid.uuid4().hex[:10]}",
        "parameters": _space(seed_candidate, names, task, placeholders, max_length, parameters or {}),
        "objectives": [{"metric": SCORE, "goal": "maximize"}],
        "suggester": _suggester(suggester, choices),
        "examples": examples.ids,
        "limits": {"max_example_evaluations": max_metric_calls, "max_trials": max_trials},
    }
    language = {**(llm or {}), **({} if reflection_lm is None else {"profile": reflection_lm})}
    if language or share_examples:
        document["llm"] = language | ({"share_examples": True} if share_examples else {})
    if seed is not None:
        document["seed"] = seed
    evaluation = Evaluation(chosen, examples, names, list(seed_candidate), tell, track_best_outputs)
    with _connected(client) as connection:
        study = connection.create_study_from(document, exist_ok=True)
        if study.data.get("examples") != _with_both(examples.ids):
            raise Conflict(f"study {study.name!r} exists with other examples", status=409)
        catch = () if raise_on_exception else (Exception,)
        study.optimize(
            _here(evaluation.evaluate),
            parallel=parallel, progress=display_progress_bar, catch=catch, wait_seconds=wait_seconds,
        )  # fmt: skip
        return read(study, examples, evaluation.candidate, evaluation.outputs if track_best_outputs else None)


@contextlib.contextmanager
def _connected(client: Client | str | None) -> Iterator[Client]:
    if isinstance(client, Client):
        yield client
    else:
        with Client(client) as made:
            yield made


def _here(evaluate: Callable[[Mapping[str, Any], Trial], None]) -> Callable[[Mapping[str, Any], Trial], None]:
    """The same in any thread: context variables, such as DSPy's settings, as they are here."""
    context = contextvars.copy_context()

    def function(parameters: Mapping[str, Any], trial: Trial) -> None:
        context.copy().run(evaluate, parameters, trial)

    return function


def _default_adapter(task_lm: Any, evaluator: Any) -> Adapter:
    if task_lm is None:
        raise ValueError("give an adapter, or task_lm for GEPA's default one")
    module = needed("gepa.adapters.default_adapter.default_adapter")
    made: Adapter = module.DefaultAdapter(model=task_lm, evaluator=evaluator)
    return made


def _space(
    seed: Mapping[str, str],
    names: Mapping[str, str],
    task: str | None,
    placeholders: Sequence[str],
    max_length: int | None,
    parameters: Mapping[str, Parameter | Mapping[str, Any]],
) -> list[dict[str, Any]]:
    texts = {
        names[component]: Text(
            initial=(text,),
            task=task,
            placeholders=tuple(p for p in placeholders if p in text),
            max_length=max_length or max(DEFAULT_MAX_LENGTH, 2 * len(text)),
        )
        for component, text in seed.items()
    }
    return documents({**texts, **{names[name]: parameter for name, parameter in parameters.items()}})


def _suggester(given: str | Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
    options = {name: value for name, value in choices.items() if value is not None}
    if options and chosen["name"] != "gepa":
        warnings.warn(f"{', '.join(options)}: the suggester {chosen['name']!r} has its own options", stacklevel=3)
        return chosen
    return chosen | ({"options": {**options, **chosen.get("options", {})}} if options else {})


def _with_both(ids: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {"train": ids.get("train", []), "validation": ids.get("validation", [])}
