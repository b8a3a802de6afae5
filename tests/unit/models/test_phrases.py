from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from services.domain.parameters import TextParameter
from workers.models import phrases as module
from workers.models.chunks import Level, split
from workers.models.phrases import by_encoder, by_thesaurus, has_letters, neighbour
from workers.models.texts import TextRules, text_key
from workers.models.thesaurus import additions, alternatives, vocabulary

REVIEW = "Read the review {q} with care, and say whether its writer is happy or not. Then answer in one word."
LEVELS: tuple[Level, ...] = ("phrase", "word", "sentence", "span")
TEXTS = (
    REVIEW,
    "",
    "   ",
    "{q}",
    "(Hello!)",
    "x{q}y, {q}{r}\n\n- one\n- two",
    "请仔细阅读这篇评论，然后判断作者是否满意。",
    "จงอ่านบทวิจารณ์ให้ดี",
    "Réponds «oui» ou «non» 👍🏽 s'il te plaît…",
    "e\u0301a\u0300 \u200d {q}\u0301 \U0001f468\u200d\U0001f469",
    "أجب عن السؤال؟ نعم",
)


def rules(*initial: str, **fields: Any) -> TextRules:
    wire = {"name": "p", "type": "text", "initial": initial, **fields}
    return TextRules(TextParameter.model_validate_json(json.dumps(wire)))


def never(text: str) -> bool:
    return False


# -- the chunker


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_split_text_can_be_put_together_again(text: str, level: Level) -> None:
    found = split(text, ["{q}"], level)
    assert found.text == text
    assert len(found.gaps) == len(found) + 1 == len(found.fixed) + 1
    assert all(part.strip() == part != "" for part in found.parts)


def test_the_levels_of_a_text() -> None:
    assert split(REVIEW, ["{q}"]).parts == (
        "Read the review", "{q}", "with care", "and say", "whether its writer is happy", "or not", "Then answer in one word",
    )  # fmt: skip
    assert split(REVIEW, ["{q}"], "sentence").parts == (REVIEW[:73], "Then answer in one word")
    assert len(split(REVIEW, ["{q}"], "word")) == 20
    spans = split(REVIEW, ["{q}"], "span").parts
    assert spans == (
        "Read the review {q} with", "care, and say whether its", "writer is happy or not", "Then answer", "in one word",
    )  # fmt: skip


def test_a_run_has_at_most_five_words() -> None:
    words = [f"w{i}" for i in range(23)]
    found = split(" ".join(words))
    assert [len(part.split()) for part in found.parts] == [4, 5, 4, 5, 5]
    assert " ".join(found.parts).split() == words


def test_abbreviations_end_no_sentence_where_a_small_letter_follows() -> None:
    assert split("Use words, e.g. these. Stop", level="sentence").parts == ("Use words, e.g. these", "Stop")


def test_scripts_without_spaces_are_cut_between_characters_and_never_inside_one() -> None:
    found = split("请仔细阅读这篇评论，然后判断。")
    assert [len(part) for part in found.parts] == [4, 5, 4]
    assert found.gaps == ("", "", "，", "。")
    thai = split("อ่านให้ดี", level="word").parts
    assert "".join(thai) == "อ่านให้ดี"
    assert "่" not in thai  # a tone mark stays with its letter


@pytest.mark.parametrize("level", LEVELS)
def test_placeholders_are_never_split_and_bind_what_holds_them(level: Level) -> None:
    text = "Given <the long input>, and {a} or {ab}, answer well."
    found = split(text, ["<the long input>", "{a", "{ab}"], level)
    assert sum(part.count("<the long input>") for part in found.parts) == 1
    for part, is_fixed in zip(found.parts, found.fixed, strict=True):
        assert is_fixed == ("<the long input>" in part or "{" in part)
    if level in ("phrase", "word"):
        assert {"<the long input>", "{ab}"} <= set(found.parts)


# -- edits of phrases


def test_edits_act_on_the_chosen_occurrence_alone() -> None:
    found = split("good or good or good", level="word")
    assert found.parts == ("good", "or", "good", "or", "good")
    assert found.substituted(2, "bad") == "good or bad or good"
    assert found.deleted(2) == "good or or good"
    assert found.swapped(2, 3) == "good or or good good"
    assert found.added("very", 1) == "good or very good or good"


def test_punctuation_stays_where_it_is() -> None:
    found = split("Read it, then decide. Answer!", level="phrase")
    assert found.parts == ("Read it", "then decide", "Answer")
    assert found.swapped(0, 2) == "Answer, then decide. Read it!"
    assert found.deleted(0) == "then decide. Answer!"
    assert found.deleted(1) == "Read it. Answer!"
    assert found.deleted(2) == "Read it, then decide!"
    assert found.added("now", -1) == "now Read it, then decide. Answer!"
    assert found.added("now", 2) == "Read it, then decide. Answer now!"


def test_a_phrase_is_added_without_a_space_where_the_script_has_none() -> None:
    found = split("请仔细阅读。")
    assert found.added("然后判断", 0) == "请仔细阅读然后判断。"
    assert split("").added("now", -1) == "now"


# -- paraphrases


def test_the_thesaurus_replaces_one_word_at_a_time_and_keeps_its_capital() -> None:
    found = by_thesaurus("Read carefully, step by step")
    assert "Study carefully, step by step" in found
    assert "Read with care, step by step" in found
    assert "Read carefully, one step at a time" in found
    assert "Read carefully, step by step" not in found
    assert by_thesaurus("xyzzy {answer}") == []
    assert by_thesaurus("GOOD")[0].isupper()


def test_the_table_is_clean() -> None:
    table = alternatives()
    assert len(table) > 500
    for word, others in table.items():
        assert word and word == word.strip().lower()
        assert others and word not in others and len(set(others)) == len(others)
        assert all(other == other.strip() != "" for other in others)
    assert len(set(additions())) == len(additions()) >= 40
    assert all(s == s.strip() and s[0].isupper() and s[-1].isalpha() for s in additions())


def test_the_encoder_offers_near_words() -> None:
    pytest.importorskip("tokenizers")
    found = by_encoder("movie")
    assert len(found) == 10 == len(set(found))
    assert {"film", "picture", "story"} & set(found)
    assert set(found) <= set(vocabulary())
    assert by_encoder("{q}") == []


# -- neighbours


def family(start: str, of: TextRules, size: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    found, keys = [start], {text_key(start)}
    for _ in range(size * 3):
        if len(found) > size:
            break
        text = neighbour(found[int(rng.integers(len(found)))], of, rng, lambda t: text_key(t) in keys)
        if text is not None:
            found.append(text)
            keys.add(text_key(text))
    return found


@pytest.mark.parametrize(
    "start",
    ["Decide with care whether {q} shows a really happy writer.", "{q}", "Antworte knapp auf {q}.", "请阅读{q}。"],
)
def test_from_one_text_five_hundred_edits_of_edits_can_be_reached(start: str) -> None:
    of = rules(start, placeholders=["{q}"], max_length=400)
    found = family(start, of, 500)
    assert len(found) == 501
    assert len({text_key(t) for t in found}) == 501
    for text in found[1:]:
        assert of.fault(text) is None
        assert of.clean(text) == text
        assert text.count("{q}") == 1
        assert has_letters(text)


def test_from_no_text_at_all() -> None:
    of = rules()
    text = neighbour("", of, np.random.default_rng(0), never)
    assert text is not None and text.removesuffix(".") in additions()


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_has_a_valid_neighbour_or_none(text: str) -> None:
    of = rules(text, placeholders=["{q}"] if "{q}" in text else [])
    for seed in range(20):
        found = neighbour(text, of, np.random.default_rng(seed), never)
        assert found is not None
        assert of.fault(found) is None and text_key(found) != text_key(text)


def test_none_where_no_text_is_short_enough_or_all_are_taken() -> None:
    assert neighbour("ab", rules("ab", max_length=2), np.random.default_rng(0), never) is None
    assert neighbour(REVIEW, rules(REVIEW), np.random.default_rng(0), lambda t: True) is None


def test_the_tries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(text: str) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr(module, "TRIES", 10)
    assert neighbour(REVIEW, rules(REVIEW), np.random.default_rng(0), refuse) is None
    assert 1 <= len(asked) <= 10


def test_equal_draws_give_equal_neighbours() -> None:
    of = rules(REVIEW, placeholders=["{q}"])
    assert family(REVIEW, of, 50, seed=4) == family(REVIEW, of, 50, seed=4)
    assert family(REVIEW, of, 50, seed=4) != family(REVIEW, of, 50, seed=5)


def test_an_instruction_is_not_added_twice() -> None:
    of = rules("Go.")
    for text in family("Go.", of, 300):
        assert all(text.count(f"{sentence}.") <= 1 for sentence in additions())


def test_another_source_of_paraphrases_can_be_given() -> None:
    of = rules("xyzzy plugh")
    found = {neighbour("xyzzy plugh", of, np.random.default_rng(i), never, lambda p: [p + "!"]) for i in range(60)}
    assert {"xyzzy! plugh", "xyzzy plugh!"} & found
