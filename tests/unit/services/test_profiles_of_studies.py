"""Which language model profile a study gets: the one it names, the default one, or an error that says where."""

from __future__ import annotations

from typing import Any

import pytest

from services.catalogue import Catalogue
from services.domain.errors import Invalid
from services.profiles import LlmProfile
from tests.support.builders import study
from workers.suggesters.registry import specs

TEXT = [{"name": "prompt", "type": "text", "initial": ["Say with care whether the review is good."]}]


def catalogue(*names: str) -> Catalogue:
    profiles = {name: LlmProfile(name=name, base_url="http://127.0.0.1:1/v1", model="m") for name in names}
    return Catalogue(specs(), profiles=profiles)


def served(names: tuple[str, ...], suggester: str, llm: Any = None, **fields: Any) -> Any:
    """The study's `llm` as it would be stored."""
    spec = study(**{"parameters": TEXT, "suggester": {"name": suggester}, "llm": llm, **fields})
    found, entry = catalogue(*names).serve(spec)
    assert entry.name == suggester
    return found.llm


def refused(names: tuple[str, ...], suggester: str, llm: Any = None, **fields: Any) -> tuple[str, str]:
    with pytest.raises(Invalid) as error:
        served(names, suggester, llm, **fields)
    first = error.value.errors[0]
    return first.pointer, first.message


def test_a_method_that_needs_one_gets_the_default_profile() -> None:
    assert served(("default", "other"), "opro").profile == "default"
    assert served(("only",), "opro").profile == "only"
    assert served(("default",), "opro", {"max_calls": 3}).max_calls == 3


def test_a_named_profile_is_kept() -> None:
    assert served(("default", "other"), "opro", {"profile": "other"}).profile == "other"


def test_auto_uses_a_model_where_there_is_one_and_a_text_to_write() -> None:
    assert served(("default",), "auto").profile == "default"
    assert served((), "auto") is None
    assert served(("one", "two"), "auto") is None, "none of two is the default"
    numbers = [{"name": "x", "type": "float", "min": 0, "max": 1}]
    assert served(("default",), "auto", parameters=numbers) is None


def test_a_method_that_can_do_without_is_not_given_one() -> None:
    assert served(("default",), "plum") is None
    assert served(("default",), "plum", {}).profile == "default"


def test_an_encoder_alone_is_enough_for_a_method_that_can_do_without() -> None:
    found = served(("vectors", "other"), "zopo", {"encoder": "vectors"})
    assert (found.profile, found.encoder) == (None, "vectors")


def test_what_is_not_there_is_named_with_what_is() -> None:
    pointer, message = refused(("a", "b"), "opro", {"profile": "nobody"})
    assert pointer == "/llm/profile" and "a, b" in message
    pointer, message = refused(("a",), "zopo", {"encoder": "nobody"})
    assert pointer == "/llm/encoder"
    pointer, message = refused((), "opro")
    assert pointer == "/llm/profile" and "ASKTELL_LLM__" in message and "name one" not in message
    pointer, message = refused(("a", "b"), "opro")
    assert pointer == "/llm/profile" and "name one" in message and "a, b" in message


def test_a_method_without_use_for_one_refuses_it() -> None:
    numbers = [{"name": "x", "type": "float", "min": 0, "max": 1}]
    assert refused(("a",), "gp", {"profile": "a"}, parameters=numbers)[0] == "/llm"
