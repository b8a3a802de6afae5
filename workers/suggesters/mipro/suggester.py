"""One ask of MIPRO: the start, then candidates, then the search over their combinations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from services.domain.history import History, Observation
from services.domain.llm import converse
from services.domain.parameters import TextParameter, TokensParameter
from services.domain.suggester import Problem, Suggestion
from workers.models.drafts import NothingUsable
from workers.models.example_results import room, sign
from workers.models.phrases import neighbour
from workers.models.texts import TextRules, starting_candidates, text_key, text_parameters

from . import MiproOptions
from .demonstrations import AsIds, AsText, Carrier, demonstration_sets
from .evidence import Candidates, Evidence
from .proposals import BATCH, MOST_BATCHES, Case, Proposer
from .tpe import Combination, propose

METHOD = "mipro"
MOST_STARTUP = 10


class Mipro:
    """Bayesian choice among proposed instructions and demonstration sets.

    Slots are handed out in the order of the schedule; each trial says its slot. The candidates stand on the trial of the first
    slot, so that what a language model failed to write at first does not change them later.
    """

    def __init__(self, problem: Problem, options: MiproOptions) -> None:
        self._problem = problem
        self._options = options
        self._texts = {p.name: p for p in text_parameters(problem.space) if p.name != options.render_into}
        self._rules = {name: TextRules(p) for name, p in self._texts.items()}
        self._tokens = [p for p in problem.space.parameters if isinstance(p, TokensParameter)]
        examples = problem.spec.examples
        self._split, self._ids = examples.full() if examples is not None else ("", ())
        self._train = examples.train if examples is not None and examples.validation else ()
        self._start = (starting_candidates(problem.space) or [{}])[0]
        carriers = len(self._tokens) + (options.render_into is not None)
        self._has_carriers = carriers > 0
        self.schedule = options.schedule(len(self._texts), carriers, len(self._ids))

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` trials: fewer while the start runs, and when the schedule or the limit on examples is used up.

        Raises:
            NeedsReplies: summaries and instructions.
        """
        ours = {t.origin["role"]: t for t in history.trials if t.origin.get("method") == METHOD}
        given = self._first(history, ours)[:count]
        waits = any(r in ours and ours[r].is_pending for r in ("default", "bootstrap"))
        if given or waits:
            return given
        if "default" not in ours:
            return []  # not even the start fits into the limits
        candidates = self._frozen(history) or self._candidates(history, ours)
        return self._search(history, candidates, count)

    def state(self) -> None:
        """Nothing: everything is on the trials."""

    # -- the start

    def _first(self, history: History, ours: dict[str, Observation]) -> list[Suggestion]:
        """The present prompt in full, and on train examples to find those that it gets right."""
        point = self._default()
        left = room(history)
        given = []
        if "default" not in ours and len(self._ids) <= left:
            left -= len(self._ids)
            given.append(self._suggestion(point, "the present prompt, scored in full", {"role": "default"}, None))
        ids = self._bootstrap_ids()
        if ids and "bootstrap" not in ours and len(ids) + 2 * len(self._ids) <= left:
            reason = (
                f"the present prompt on {len(ids)} train examples: those that it gets right may become demonstrations"
            )
            on = {"split": "train", "ids": ids}
            given.append(self._suggestion(point, reason, {"role": "bootstrap"}, on))
        return given

    def _default(self) -> dict[str, Any]:
        point: dict[str, Any] = dict(self._start)
        return point | {p.name: AsIds(p).start() for p in self._tokens}

    def _bootstrap_ids(self) -> list[str]:
        if not self._has_carriers or self._options.bootstrapped == 0:
            return []
        wanted = {i for carrier in self._carriers({}) for i in carrier.sources()}
        ids = [i for i in self._train if i in wanted]
        order = self._problem.generator(0, "mipro bootstrap").permutation(len(ids))
        return [ids[i] for i in order[: self._options.bootstrap_examples]]

    # -- candidates

    def _carriers(self, outputs: dict[str, str]) -> list[Carrier]:
        found: list[Carrier] = [AsIds(p) for p in self._tokens]
        into = self._options.render_into
        parameter = self._problem.space.by_name[into] if into is not None else None
        if isinstance(parameter, TextParameter):
            found.append(AsText(parameter, self._options.demonstrations, outputs))
        return found

    def _frozen(self, history: History) -> Candidates | None:
        """The candidates as the first trial of the search has them."""
        for trial in history.trials:
            if trial.origin.get("method") == METHOD and "candidates" in trial.origin:
                return Candidates(trial.origin["candidates"])
        return None

    def _candidates(self, history: History, ours: dict[str, Observation]) -> Candidates:
        """Made from the outcomes of the start."""
        rows = [dict(row) for role in ("bootstrap", "default") if role in ours for row in ours[role].examples or ()]
        good = [row for row in rows if self._is_right(row["score"])]
        outputs = {row["id"]: row["output"] for row in reversed(good) if row.get("output")}
        snapshot = max((t.told_seq for t in ours.values()), default=history.seq)
        values: dict[str, list[Any]] = self._instructions(history, rows, good, snapshot)
        rng = self._problem.generator(0, "mipro sets")
        for carrier in self._carriers(outputs):
            right = list(dict.fromkeys(row["id"] for row in good))
            values[carrier.name] = demonstration_sets(
                carrier, right, self.schedule.sets, rng,
                bootstrapped=self._options.bootstrapped, labelled=self._options.labelled,
            )  # fmt: skip
        return Candidates(values)

    def _is_right(self, score: float) -> bool:
        least = self._options.success_score
        way = sign(self._problem.spec)
        if least is None:
            least = 1.0 if way > 0 else 0.0
        return self._options.bootstrapped > 0 and way * score >= way * least

    def _instructions(
        self, history: History, rows: Sequence[dict[str, Any]], good: Sequence[dict[str, Any]], snapshot: int
    ) -> dict[str, list[Any]]:
        """For each component its starting texts, then what the language model writes."""
        found = {name: self._starts(name) for name in self._texts}
        places = [(n, k) for n in self._texts for k in range(len(found[n]), self.schedule.instructions)]
        for (name, number), text in zip(
            places, self._written(history, rows, good, snapshot, places, found), strict=True
        ):
            if text is None or _stands(text, found[name]):
                text = self._edited(name, number, found[name])
            if text is not None:
                found[name].append(text)
        return found

    def _written(
        self, history: History, rows: Sequence[dict[str, Any]], good: Sequence[dict[str, Any]], snapshot: int,
        places: Sequence[tuple[str, int]], known: dict[str, list[Any]],
    ) -> list[str | None]:  # fmt: skip
        """What the language model writes in each place; None where nothing usable came, or there is no model."""
        if self._problem.spec.llm is None:
            return [None] * len(places)
        proposer = self._proposer(rows, good, snapshot)
        talks = [proposer.write(name, number, partial(_stands, among=known[name])) for name, number in places]
        written = converse(talks, history.replies)
        failures = sorted({why.failure for _, why in written if why.failure is not None})
        has_choice = self._has_carriers or any(text for text, _ in written) or any(len(of) > 1 for of in known.values())
        if failures and not has_choice and self._options.fallback == "none":
            # Candidates never change later: a study with nothing to choose from would be over, while the calls may be answered yet.
            raise NothingUsable(f"the language model brought no reply ({', '.join(failures)})")
        return [text for text, _ in written]

    def _starts(self, name: str) -> list[Any]:
        parameter = self._texts[name]
        return list(dict.fromkeys([self._start[name], *parameter.initial]))

    def _edited(self, name: str, number: int, known: Sequence[str]) -> str | None:
        if self._options.fallback == "none":
            return None
        rng = self._problem.generator(number, f"mipro edit {name}")
        return neighbour(known[0], self._rules[name], rng, lambda text: _stands(text, known))

    def _proposer(self, rows: Sequence[dict[str, Any]], good: Sequence[dict[str, Any]], snapshot: int) -> Proposer:
        options, shares = self._options, self._problem.spec.shares_examples
        cases = [c for c in map(self._case, rows) if c.parts][: BATCH * MOST_BATCHES] if shares else []
        told = {row["id"] for row in rows}
        if shares and len(cases) < BATCH * MOST_BATCHES:
            declared = [self._case({"id": d.id}) for d in options.demonstrations if d.id not in told]
            cases += [c for c in declared if c.parts][: BATCH * MOST_BATCHES - len(cases)]
        return Proposer(
            parameters=self._texts, texts={n: self._start[n] for n in self._texts}, program=options.program,
            cases=cases, good=[c for c in map(self._case, good) if c.parts] if shares else [], snapshot=snapshot,
            generator=self._problem.generator, temperature=options.temperature, max_tokens=options.max_tokens,
            rules=self._rules,
        )  # fmt: skip

    def _case(self, row: dict[str, Any]) -> Case:
        """What is known of an example's text: declared by the client, or told with an outcome."""
        declared = next((d for d in self._options.demonstrations if d.id == row["id"]), None)
        parts = [
            ("input", declared.input if declared else None),
            ("expected", row.get("expected") or (declared.output if declared else None)),
            ("output", row.get("output")),
            ("feedback", row.get("feedback")),
        ]
        return Case(tuple((label, text) for label, text in parts if text))

    # -- the search

    def _search(self, history: History, candidates: Candidates, count: int) -> list[Suggestion]:
        evidence = Evidence(history, candidates, self._problem.spec)
        taken = {t.origin["slot"] for t in history.trials if t.origin.get("method") == METHOD and "slot" in t.origin}
        left, full = room(history), len(self._ids)
        given: list[Suggestion] = []
        slots = self.schedule.slots()
        is_spent, is_frozen = False, self._frozen(history) is not None
        for slot, kind in enumerate(slots):
            if slot in taken or len(given) == count:
                continue
            cost = full if kind == "confirm" or self.schedule.minibatch is None else self.schedule.minibatch
            after = 0 if cost == full else full
            if cost + after > left:
                is_spent = True
                continue
            if kind == "search" and not is_spent:
                chosen = self._searched(slot, evidence, candidates)
            else:
                is_last = is_spent or slot == len(slots) - 1
                chosen = (
                    evidence.best_unconfirmed() if kind == "confirm" and not (is_last and evidence.pending) else None
                )
            if chosen is None:
                continue
            left -= cost
            evidence.take(chosen, is_full=cost == full)
            given.append(self._slot(slot, kind, chosen, candidates, evidence, cost, frozen=not is_frozen and not given))
        return given

    def _searched(self, slot: int, evidence: Evidence, candidates: Candidates) -> Combination | None:
        startup = min(MOST_STARTUP, self.schedule.trials // 4)
        return propose(
            evidence.told, evidence.pending, candidates.sizes, self._problem.generator(slot, "mipro search"),
            startup=startup, is_closed=evidence.is_closed,
        )  # fmt: skip

    def _slot(
        self,
        slot: int,
        kind: str,
        chosen: Combination,
        candidates: Candidates,
        evidence: Evidence,
        cost: int,
        *,
        frozen: bool,
    ) -> Suggestion:
        on = None
        if kind == "search" and cost < len(self._ids):
            order = self._problem.generator(slot, "mipro minibatch").permutation(len(self._ids))
            on = {"split": self._split, "ids": [self._ids[i] for i in order[:cost]]}
        number = sum(k == kind for k in self.schedule.slots()[: slot + 1])
        reason = (
            f"full evaluation {number}: the best mean that had none"
            if kind == "confirm"
            else f"search trial {number} of {self.schedule.trials}" + (f", on {cost} examples" if on else "")
        )
        mean, seen = evidence.mean(chosen)
        receipt = {"choice": candidates.named(chosen), "mean": mean, "examples_seen": seen}
        origin = {"role": kind, "slot": slot} | ({"candidates": candidates.values} if frozen else {})
        return self._suggestion(candidates.point(chosen), reason, origin, on, receipt)

    def _suggestion(
        self, point: dict[str, Any], reason: str, origin: dict[str, Any], on: dict[str, Any] | None,
        receipt: dict[str, Any] | None = None,
    ) -> Suggestion:  # fmt: skip
        return Suggestion(
            parameters=self._problem.space.sorted(point), reason=reason, origin={"method": METHOD} | origin,
            receipt=receipt, evaluate_on=on,
        )  # fmt: skip


def _stands(text: str, among: Sequence[str]) -> bool:
    return text_key(text) in {text_key(other) for other in among}
