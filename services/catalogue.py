"""The suggesters on offer, and the ones that answer inside the ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answers import SuggesterEntry, SuggesterList
from .domain.errors import Invalid, NotFound
from .domain.history import History
from .domain.llm import LlmChoice
from .domain.study import StudySpec
from .domain.suggester import Problem, Spec, Suggester, Suggestion
from .domain.trial import Outcome
from .profiles import LlmProfile, default_profile
from .store import trials as trial_store
from .store.unit_of_work import StudyWork

MOST_INLINE = 2000


class StoredPoints(History):
    """The history of an inline suggester: it only asks whether a point exists, and the database's index answers."""

    def __init__(self, work: StudyWork) -> None:
        super().__init__(work.spec)
        self.seq = work.progress.seq
        self.next_number = work.progress.next_number
        self._work = work

    def has_point(self, point_key: str) -> bool:
        """Whether any trial of the study has this point."""
        self._work.write()
        return trial_store.has_point(self._work.connection, self._work.id, point_key)


class Catalogue:
    """The suggesters by name.

    Args:
        specs: every suggester, made known by the composition root.
        fallback: the quasi-random one that stands in when another is late or broken.
        profiles: of language models, by name.
    """

    def __init__(
        self, specs: Mapping[str, Spec], fallback: str = "sobol", profiles: Mapping[str, LlmProfile] | None = None
    ) -> None:
        self._specs = dict(specs)
        self._profiles = dict(profiles or {})
        self._fallback = self._specs[fallback]
        self._entries = {name: _entry(spec) for name, spec in sorted(self._specs.items())}
        self._inline: dict[tuple[str, int, str], Suggester] = {}

    def list(self) -> SuggesterList:
        """Every entry, by name."""
        return SuggesterList(suggesters=tuple(self._entries.values()))

    def get(self, name: str) -> SuggesterEntry:
        """One entry.

        Raises:
            NotFound: no suggester has this name.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"there is no suggester {name!r}")
        return entry

    def serve(self, spec: StudySpec) -> tuple[StudySpec, Spec]:
        """A study with its language model's profile filled in where it names none, and the suggester that it asks for.

        Raises:
            Invalid: there is no suggester or profile of this name, or it does not honour all that the study asks for.
        """
        found = self._specs.get(spec.suggester.name)
        if found is None:
            known = ", ".join(sorted(self._specs))
            raise Invalid.at("/suggester/name", f"there is no suggester {spec.suggester.name!r}; there are {known}")
        served = self._with_profile(spec, found)
        found.check(served)
        return served, found

    def _with_profile(self, spec: StudySpec, suggester: Spec) -> StudySpec:
        use, default = suggester.honours.llm, default_profile(self._profiles)
        has_text = any(p.type == "text" for p in spec.parameters)
        choice = spec.llm
        if choice is None and (use == "required" or (use == "preferred" and has_text and default is not None)):
            choice = LlmChoice()
        if choice is None or use == "none":
            return spec  # a choice that is of no use is refused by name when the suggester checks the study
        for field, name in (("profile", choice.profile), ("encoder", choice.encoder)):
            if name is not None and name not in self._profiles:
                raise Invalid.at(f"/llm/{field}", f"there is no profile {name!r}; {self._known_profiles()}")
        if choice.profile is None:
            if default is None and (use == "required" or choice.encoder is None):
                what = "name one, suggester" if self._profiles else "suggester"
                message = f"{what} {suggester.name!r} asks a language model; {self._known_profiles()}"
                raise Invalid.at("/llm/profile", message)
            choice = choice.model_copy(update={"profile": default})
        return spec.model_copy(update={"llm": choice})

    def _known_profiles(self) -> str:
        if not self._profiles:
            return "the server has none (ASKTELL_LLM__<NAME>__BASE_URL and __MODEL define one)"
        return f"there are {', '.join(sorted(self._profiles))}"

    def check_outcome(self, spec: StudySpec, parameters: dict[str, Any], outcome: Outcome) -> None:
        """Hold an outcome against what the study's suggester learns from.

        Raises:
            Invalid: naming what is missing.
        """
        self._specs[spec.suggester.name].check_outcome(spec, parameters, outcome)

    def is_used_up(self, work: StudyWork) -> bool:
        """Whether the study's inline suggester has no further point; only looked at where that can be."""
        spec = self._specs[work.spec.suggester.name]
        may_end = spec.runs_out(work.spec) or (work.spec.space.is_finite and not work.spec.is_noisy)
        return may_end and not self._suggest(work, spec, 1)

    def inline(self, work: StudyWork, count: int) -> Sequence[Suggestion]:
        """Suggestions made on the spot by the study's own suggester; fewer than `count` when no point is left."""
        return self._suggest(work, self._specs[work.spec.suggester.name], count)

    def fall_back(self, work: StudyWork, count: int) -> Sequence[Suggestion]:
        """Quasi-random suggestions; none where the space has parameters that cannot be drawn."""
        types = {p.kind for p in work.spec.parameters}
        if not types <= self._fallback.honours.types:
            return ()
        return self._suggest(work, self._fallback, count)

    def _suggest(self, work: StudyWork, spec: Spec, count: int) -> Sequence[Suggestion]:
        key = (work.id, work.study.revision, spec.name)
        suggester = self._inline.get(key)
        if suggester is None:
            own = spec.name == work.spec.suggester.name
            options = spec.parse_options(work.spec.suggester.options if own else {})
            problem = Problem(study=work.id, spec=work.spec, seed=work.study.seed)
            while len(self._inline) >= MOST_INLINE:
                self._inline.pop(next(iter(self._inline)), None)
            suggester = self._inline[key] = spec.create(problem, options, None)
        return suggester.suggest(StoredPoints(work), count)


def _entry(spec: Spec) -> SuggesterEntry:
    return SuggesterEntry(
        name=spec.name,
        summary=spec.summary,
        reference=spec.reference,
        honours=spec.honours,
        inline=spec.inline,
        options=spec.options.model_json_schema(),
    )
