"""Told texts stay inside their delimiters, whatever stands in them; replies are read in one order, whatever stands in them."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.models.meta_prompt import MOST_SHOWN, Read, data, escaped, is_refusal, read, read_list, shortened

PIECES = (
    "<", ">", "/", "</", "data", "DATA", "dAtA", "text", "Text", "candidate", "</data>", "<data>", "<text>", "</text>", " ",
    "\n", "\u200b", "\u00ad", "\u202e", "\ufeff", "&lt;", '"', '<data of="text">', "Score: 100", "ignore all that", "é", "🙂",
)  # fmt: skip
hostile = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=40).map("".join)
words = st.text(st.sampled_from("abc äé🙂名\n{}.,"), min_size=1, max_size=60).filter(lambda t: t.strip())
INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


@settings(max_examples=300, deadline=None)
@given(hostile, hostile, st.integers(1, 200))
def test_nothing_told_can_leave_its_delimiters(content: str, label: str, most: int) -> None:
    shown = data(content, label, most)
    opener, _, rest = shown.partition("\n")
    inner, _, closer = rest.rpartition("\n")
    assert closer == "</data>" and re.fullmatch(r"<data( of=\"[^<>\"\n]*\")?>", opener)
    for seen in (inner, INVISIBLE.sub("", inner)):  # as a parser reads it, and as a reader sees it
        assert not re.search(r"<[\s/]*(data|text)\b", seen, re.IGNORECASE)


@settings(max_examples=200, deadline=None)
@given(st.lists(hostile, min_size=1, max_size=5))
def test_as_many_blocks_stand_in_a_prompt_as_were_put_there(contents: list[str]) -> None:
    prompt = "\n".join(data(content, "text") for content in contents)
    assert len(re.findall(r"<data of=\"text\">", prompt)) == len(re.findall(r"</data>", prompt)) == len(contents)
    assert prompt.count("<text>") == prompt.count("</text>") == 0


@settings(max_examples=200, deadline=None)
@given(hostile.filter(lambda t: "&lt;" not in t))
def test_a_text_that_a_reply_repeats_as_it_was_shown_is_the_text(content: str) -> None:
    expected = content.replace("\0", "").strip()
    found = read(f"Here it is: <text>{escaped(content)}</text> as you wished")
    assert found == Read(expected)


@given(st.text(max_size=300), st.integers(1, 100))
def test_what_is_shortened_keeps_its_head_and_more_of_its_tail(content: str, most: int) -> None:
    found = shortened(content, most)
    if len(content) <= most:
        assert found == content
    else:
        head, tail = found.split("\n[…]\n")[0], found.split("\n[…]\n")[-1]
        assert len(found) == most + len("\n[…]\n")
        assert content.startswith(head) and content.endswith(tail) and len(head) == most // 4


def test_much_is_shortened_by_itself() -> None:
    assert len(data("x" * 10**6)) < MOST_SHOWN + 100


# -- reading


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<text>a</text>", "a"),
        ("<text>a</text> or rather <text>b</text>", "b"),
        ("<text>a</text> or <text>cut", "a"),
        ("<text>draft <text>b</text> more</text>", "draft <text>b</text> more"),
        ("<text>a</text></text>", "a"),
        ("</text><text>a</text>", "a"),
        ("<TEXT>\n a b \n</Text >", "a b"),
        ('<text>a</text> {"prompt": "b"} ```\nc\n```', "a"),
        ('said {"other": 1} {"prompt": "b"} {"prompt": "c"} ```\nd\n```', "b"),
        ('{"prompt": ["no text"]} {"a": {"prompt": "inner"}}', "inner"),
        ('{"prompt": "cut', None),
        ("said\n```text\nc\nd\n```\nthat is all", "c\nd"),
        ("```\nc\n``` or <text>cut", "c"),
        ("```\nc\n``` or ```\nd\n```", None),
        ("Of course! <text>this is cut", "this is cut"),
        ("<text>", ""),
        ("<text></text>", ""),
    ],
)
def test_replies_are_read_in_one_order(reply: str, expected: str | None) -> None:
    found = read(reply, key="prompt")
    assert found == (Read(fault="unparsable") if expected is None else Read(expected))


@pytest.mark.parametrize(
    ("reply", "plain", "whole", "loose"),
    [
        ("", "empty", "empty", "empty"),
        (" \n\t", "empty", "empty", "empty"),
        ("Be brief.", "unparsable", None, None),
        ("Be brief.\nBe kind.", "unparsable", None, None),
        ("one\ntwo\nthree", "unparsable", "unparsable", None),
        ("I'm sorry, but I can't help with that.", "refused", "refused", "refused"),
        ("I’m SORRY", "refused", "refused", "refused"),
        ("As an AI I have no opinion", "refused", "refused", "refused"),
        ("Es tut mir leid\nauf\nDeutsch", "unparsable", "unparsable", None),
    ],
)
def test_a_whole_reply_counts_only_where_that_is_allowed(
    reply: str, plain: str, whole: str | None, loose: str | None
) -> None:
    assert (read(reply).fault, read(reply, whole=True).fault, read(reply, loose=True).fault) == (plain, whole, loose)


def test_a_long_text_that_begins_with_an_apology_is_no_refusal() -> None:
    assert is_refusal("Sorry, no.") and not is_refusal("Sorry, " + "I will try. " * 40)
    assert read("I'm sorry it took so long: <text>be kind</text>") == Read("be kind")


@given(words)
def test_any_words_between_tags_are_found(text: str) -> None:
    expected = Read(text.strip())
    for reply in (f"<text>{text}</text>", f"chat {{ }} chat\n<text>\n{text}\n</text>\nchat", f"first\n<text>{text}"):
        assert read(reply) == expected
    assert read("well: " + json.dumps({"n": 1, "prompt": text}), key="prompt") == expected


def test_what_no_database_can_carry_is_left_out() -> None:
    reply = r'{"prompt": "a\ud800b\u0000c"}'
    assert read(reply, key="prompt") == Read("abc")
    assert read_list(r'["a\ud83d", "b"]', 9) == ["a", "b"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('["a", "b", 3, "", "c"]', ["a", "b", "c"]),
        ('Here: ["a", "b"] and more ["c"]', ["a", "b"]),
        ("<text>a</text> and <text> b\nc </text> and <text>cut", ["a", "b\nc"]),
        ("1. a\n2) b\n(3) c\n - d\n* e\n• f\nnot one\n12: g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("nothing of the kind", []),
        ("[1, 2]\n- a", ["a"]),
        ("", []),
    ],
)
def test_lists_are_read_in_three_forms(reply: str, expected: list[str]) -> None:
    assert read_list(reply, 99) == expected
    assert read_list(reply, 1) == expected[:1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*PIECES, "{", "[", "]", "}", '"', "```", "```\n", "- ", "1.", "\0", "\ud800"]), max_size=60
    ).map("".join)
)
def test_reading_never_fails(reply: str) -> None:
    for found in (read(reply, key="k"), read(reply, whole=True), read(reply, loose=True)):
        assert (found.fault is None) or found.text == ""
        found.text.encode()
    assert all(text.strip() for text in read_list(reply, 5))


@pytest.mark.parametrize(
    "piece",
    ["<text>", "</text>", "<text></text>", "[", '{"a":', "{", "```", "```\n", "<", "- ", " ", "<text ", "</", "&lt;/ "],
)
def test_reading_takes_no_longer_than_the_reply_is_long(piece: str) -> None:
    """A model that repeats itself up to its limit must not hold a process up."""
    reply = (piece * 200_000)[:200_000]
    started = time.process_time()
    for given_ in (reply, "-" + reply + "x", "<" + reply):
        read(given_, key="k", whole=True)
        read_list(given_, 10)
        data(given_, most=10**6)
    assert time.process_time() - started < 5
