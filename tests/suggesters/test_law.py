"""Every entry of the catalogue obeys the law."""

from __future__ import annotations

import pytest

from services.domain.errors import Invalid
from services.domain.sampling import draw, generator
from services.domain.space import Point, point_key
from services.domain.suggester import Spec
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import specs

CASES = [(spec, space) for spec in specs().values() for space in law.SPACES if law.serves(spec, space)]
IDS = [f"{spec.name}-{space}" for spec, space in CASES]
each = pytest.mark.parametrize(("spec", "space"), CASES, ids=IDS)
FINITE = [(spec, space) for spec, space in CASES if space in ("finite", "words", "point")]
ONE_EACH = {spec.name: (spec, space) for spec, space in reversed(CASES)}
SLOW = ("config", "eshotgun", "goucb", "gp", "instinct", "nevergrad", "turbo")
finite = pytest.mark.parametrize(("spec", "space"), FINITE, ids=[f"{spec.name}-{space}" for spec, space in FINITE])
STATES = [TrialState.COMPLETED] * 5 + [
    TrialState.INFEASIBLE,
    TrialState.FAILED,
    TrialState.PRUNED,
    TrialState.CANCELLED,
]


def run(
    spec: Spec, space: str, rounds: int, restart: str = "never", values: str = "varied", seed: int = 3
) -> list[str]:
    """Ask one or two, tell out of order with every kind of outcome; the keys of the points in order."""
    of = law.problem(spec, space, seed)
    one, known, seen = law.Study(of), set[str](), []
    suggester, history = law.make(spec, of), None
    open_trials: list[int] = []
    for n in range(rounds):
        if restart == "saved":
            suggester = law.make(spec, of, law.save(suggester))
        elif restart == "lost":
            suggester = law.make(spec, of)
        if history is None or restart != "never":
            history = one.history()
        else:
            history.update(one.trials.values(), seq=one.seq, next_number=len(one.trials) + 1)
        found = one.ask(suggester, 1 + n % 2, history)
        law.check_points(of, found, known)
        seen += [point_key(s.parameters) for s in found]
        open_trials += [one.start(s) for s in found]
        while len(open_trials) > 2:
            number = open_trials.pop(n % 2)
            one.tell(number, law.OUTCOMES[values](number), STATES[number % len(STATES)])
    return seen


@each
def test_the_seed_alone_decides_the_points_whatever_restarts_between_any_two_calls(spec: Spec, space: str) -> None:
    undisturbed = run(spec, space, 14)
    assert run(spec, space, 14, "saved") == undisturbed
    assert run(spec, space, 14, "lost") == undisturbed
    if space in ("plane", "mixed") and spec.name != "grid":
        other = run(spec, space, 10, seed=4)
        assert other != undisturbed[: len(other)]


@pytest.mark.parametrize(("spec", "space"), ONE_EACH.values(), ids=ONE_EACH)
def test_the_late_outcome_of_a_lost_lease_counts_as_if_it_had_not_been_lost(spec: Spec, space: str) -> None:
    of, rounds = law.problem(spec, space), 7 if spec.name in SLOW else 24
    live = law.with_lost_leases(of, "never", rounds)
    for restart in ("saved", "lost"):
        assert law.with_lost_leases(of, restart, rounds) == live


@each
@pytest.mark.parametrize("values", ["equal", "extreme"])
def test_odd_values_break_nothing(spec: Spec, space: str, values: str) -> None:
    assert run(spec, space, 9, values=values)


@finite
def test_a_finite_space_is_used_up_without_repeats(spec: Spec, space: str) -> None:
    of = law.problem(spec, space)
    one, known = law.Study(of), set[str]()
    suggester = law.make(spec, of)
    while found := one.ask(suggester, 3):
        law.check_points(of, found, known)
        for suggestion in found:
            number = one.start(suggestion)
            if number % 3:
                one.tell(number, float(number % 5))
    assert len(known) == of.space.size
    assert one.ask(law.make(spec, of), 2) == []


@each
def test_a_users_own_points_are_welcome(spec: Spec, space: str) -> None:
    of = law.problem(spec, space)
    one = law.Study(of)
    suggester = law.make(spec, of)
    for n in range(6):
        own = None if of.space.is_finite else users_own(spec, space, one, 100 + n)
        if own is not None:
            one.tell(one.add(own), float(n))
        for suggestion in one.ask(suggester, 2):
            one.tell(one.start(suggestion), float(n))


def users_own(spec: Spec, space: str, one: law.Study, seed: int) -> Point | None:
    """A drawn point; where nobody can draw, one of the suggester itself with another seed, if it has one."""
    if space == "seeds" or space.startswith("prompt"):
        return next((s.parameters for s in one.ask(law.make(spec, law.problem(spec, space, seed=seed)), 1)), None)
    return draw(one.spec.space, generator(seed, 1, "law"))


@pytest.mark.parametrize("spec", specs().values(), ids=lambda spec: spec.name)
def test_what_is_not_served_is_refused_by_name(spec: Spec) -> None:
    from tests.support.builders import EVERY_TYPE

    unserved = [p for p in EVERY_TYPE if p["type"] not in spec.honours.types and "when" not in p]
    for parameter in unserved:
        with pytest.raises(Invalid) as error:
            spec.check(study(parameters=[parameter], suggester={"name": spec.name}))
        assert error.value.errors[0].pointer == "/parameters/0/type"
    many = [{"metric": f"m{i}"} for i in range(spec.honours.max_objectives + 1)]
    if len(many) <= 20:
        with pytest.raises(Invalid):
            spec.check(study(objectives=many, suggester={"name": spec.name}))
    with pytest.raises(Invalid) as error:
        spec.check(study(suggester={"name": spec.name, "options": {"bogus": 1}}))
    assert error.value.errors[0].pointer == "/suggester/options/bogus"


def test_the_catalogue_has_what_was_promised() -> None:
    assert {"auto", "cmaes", "gp", "grid", "random", "sobol"} <= set(specs())
    for name, spec in specs().items():
        assert spec.name == name
        assert spec.summary
        assert spec.reference


def test_the_catalogue_loads_without_heavy_libraries() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from workers.suggesters.registry import specs; specs(); "
        "sys.exit(' '.join({'torch', 'ray', 'cma', 'botorch', 'scipy.stats', 'nevergrad'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
