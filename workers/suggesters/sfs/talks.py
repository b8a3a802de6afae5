"""The conversations of scattered forest search: a root, a node's directions, a child along one of them, the lessons of children."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.parameters import TextParameter
from services.domain.suggester import Problem
from workers.models.drafts import Draft, Rejected, Texts
from workers.models.merit import Scored, display, span
from workers.models.meta_prompt import Read, read
from workers.models.texts import TextRules, starting_candidates, text_parameters

from . import SfsOptions
from .forest import Forest, Node
from .requests import STOCK, THEMES, Desk, Messages, Told, asked, read_directions, read_lesson

IsTaken = Callable[[Mapping[str, str]], bool]


class Talks:
    """What may be said about a forest as it is."""

    def __init__(
        self, problem: Problem, options: SfsOptions, starts: Sequence[Texts], history: History, forest: Forest
    ) -> None:
        self._problem, self._options, self._starts = problem, options, starts
        self._history, self._forest = history, forest
        self._parameters = text_parameters(problem.space)
        self._rules = {p.name: TextRules(p) for p in self._parameters}
        self._sign = -1.0 if problem.spec.objectives[0].goal == "minimize" else 1.0

    def seed(self, number: int, is_taken: IsTaken) -> Talk[Draft | Rejected]:
        parameter = self._parameters[number % len(self._parameters)]
        start = self._starts[number % len(self._starts)] if self._starts else None
        texts = dict(start or starting_candidates(self._problem.space)[0])
        theme, name = THEMES[number % len(THEMES)], parameter.name
        if number >= len(THEMES):
            theme = f"{theme} (attempt {number // len(THEMES) + 1}: differently from what you would write first)"
        desk, others = Desk(parameter, self._sign), _others(texts, name)

        def messages(most: int) -> Messages:
            return desk.seed(theme, start[name] if start else None, others, most)

        make = self._maker("seeder", 0, self._options.temperature)
        text, why = yield from asked(make, messages, self._reader(texts, name, is_taken), seed_key(number))
        if text is None:
            return why
        return Draft({**texts, name: text}, f"a root: {theme}", {"seed": number}, why.rejected)

    def grown(self, node: Node, direction: int, is_taken: IsTaken) -> Talk[Draft | Rejected]:
        """The child of a node along a direction; dropped where it has no such direction."""
        named = node.directions
        if named is None:
            found = yield from self.directions(node)
            if isinstance(found, Rejected):
                return found
            named = found
        if direction >= len(named):
            return Rejected(("unparsable",), is_dropped=True)
        snapshot, name = self.snapshot(node), self._component(node)
        desk, others = Desk(self._parameter(name), self._sign), _others(node.texts, name)
        told = self._told(node, name, self._forest.told(snapshot))

        def messages(most: int) -> Messages:
            return desk.implement(told, named[direction], others, most)

        make = self._maker("implementer", snapshot, self._options.implementing_temperature)
        reader = self._reader(node.texts, name, is_taken)
        text, why = yield from asked(make, messages, reader, growth_key(node, direction))
        if text is None:
            return why
        origin = {"parent": node.number, "direction": direction, "directions": list(named), "snapshot": snapshot}
        return Draft(
            {**node.texts, name: text},
            f"trial {node.number}, direction {direction + 1}: {named[direction][:200]}",
            origin,
            why.rejected,
        )

    def directions(self, node: Node) -> Talk[tuple[str, ...] | Rejected]:
        """The directions of a node; stock ones where the model's reply names none."""
        snapshot, name = self.snapshot(node), self._component(node)
        found, count = self._forest.told(snapshot), self._options.directions
        lessons = yield from self._lessons(found)
        desk, others = Desk(self._parameter(name), self._sign), _others(node.texts, name)
        told = self._told(node, name, found)

        def messages(most: int) -> Messages:
            return desk.scatter(told, lessons, others, count, most)

        make = self._maker("scatterer", snapshot, self._options.temperature)
        directions, why = yield from asked(
            make, messages, lambda reply: read_directions(reply, count), scatter_key(node)
        )
        if directions is None:
            return why if why.failure is not None else STOCK[:count]
        return directions

    def _lessons(self, found: list[Scored]) -> Talk[list[str]]:
        """One line for each of the latest children, marked by what came of it."""
        if not self._options.scout or not self._options.memory:
            return []
        children = [(s, self._forest.nodes[s.trial.number]) for s in found if "direction" in s.trial.origin]
        latest = [(s, node) for s, node in children if node.parent is not None][-self._options.memory :]
        requests, marks = [], []
        for entry, node in latest:
            until = self._forest.told(entry.trial.told_seq)
            request, mark = self._scouting(node, until)
            requests.append(request)
            marks.append((mark, str(entry.trial.origin["directions"][entry.trial.origin["direction"]])))
        replies = (yield requests) if requests else []
        return [f"[{mark}] {read_lesson(reply) or words}" for reply, (mark, words) in zip(replies, marks, strict=True)]

    def _scouting(self, node: Node, known: list[Scored]) -> tuple[LlmRequest, str]:
        """The call about a child, from what was known when it was told, and whether it helped."""
        parent, origin = node.parent, node.trial.origin
        assert parent is not None
        name = self._component(parent)
        before, after = self._told(parent, name, known), self._told(node, name, known)
        merits = {s.trial.number: s.merit for s in known}
        change = merits[node.number] - merits.get(parent.number, merits[node.number])
        mark = "helped" if change > 0 else "hurt" if change < 0 else "changed nothing"
        words = str(origin["directions"][origin["direction"]])
        messages = Desk(self._parameter(name), self._sign).scout(before, words, after, 4000)
        make = self._maker("scout", node.trial.told_seq, self._options.implementing_temperature)
        return make(f"sfs-scout-{node.number}/0", messages), mark

    def _maker(self, role: str, snapshot: int, temperature: float) -> Callable[[str, Messages], LlmRequest]:
        def make(key: str, messages: Messages) -> LlmRequest:
            return LlmRequest(
                key=key, role=role, snapshot=snapshot, messages=messages, temperature=temperature,
                max_tokens=self._options.max_tokens,
            )  # fmt: skip

        return make

    def _reader(self, texts: Texts, name: str, is_taken: IsTaken) -> Callable[[LlmReply], str | Read]:
        rules = self._rules[name]

        def found(reply: LlmReply) -> str | Read:
            got = read(reply.text, key="text")
            if got.fault is not None:
                return got
            text = rules.clean(got.text)
            # Where no placeholders are declared, words in braces are a program's own.
            fault = rules.fault(text if rules.wanted else text.replace("{", "("))
            fault = fault or ("duplicate" if is_taken({**texts, name: text}) else None)
            return text if fault is None else Read(fault=fault)

        return found

    def _told(self, node: Node, name: str, known: list[Scored]) -> Told:
        low, high = span(known, self._history.spec, self._options.score_range)
        merit = next((s.merit for s in known if s.trial.number == node.number), low)
        shares = self._history.spec.shares_examples
        return Told(node.texts[name], display(merit, low, high), node.trial if shares else None)

    def snapshot(self, node: Node) -> int:
        """What is known to a node's calls: the same for all of them."""
        if node.snapshot is not None:
            return node.snapshot
        recorded = self._history.replies.snapshot(_step(node))
        return self._history.seq if recorded is None else recorded

    def _component(self, node: Node) -> str:
        """What the children of a node change."""
        return self._parameters[node.depth % len(self._parameters)].name

    def _parameter(self, name: str) -> TextParameter:
        return next(p for p in self._parameters if p.name == name)


def seed_key(number: int) -> str:
    """Where a written root's calls stand in the ledger, attempts aside."""
    return f"sfs-seed-{number}/write"


def scatter_key(node: Node) -> str:
    """Where the calls for a node's directions stand."""
    return f"{_step(node)}/scatter"


def growth_key(node: Node, direction: int) -> str:
    """Where the calls for a node's child stand."""
    return f"{_step(node)}/{direction}"


def _step(node: Node) -> str:
    return f"sfs-{node.number}"


def _others(texts: Mapping[str, str], name: str) -> dict[str, str]:
    return {n: text for n, text in texts.items() if n != name}
