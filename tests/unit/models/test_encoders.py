"""Texts as vectors: the packaged table by its own library's arithmetic, and what is remembered."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.domain.llm import LlmReply, LlmRequest
from workers.models import encoders
from workers.models.encoders import (
    Away,
    EncoderError,
    StaticTable,
    load_encoder,
    pool_vectors,
    profile_vectors,
    read_table,
)


def cosine(first: str, second: str) -> float:
    """Of two texts."""
    one, other = pool_vectors([first, second])
    return float(one @ other)


def test_vectors_have_unit_length_and_an_empty_text_is_zero() -> None:
    encoder = load_encoder()
    found = encoder.vectors(["Answer the question.", "日本語 € 🙂", "", "Answer the question."])
    assert found.shape == (4, encoder.dimensions) == (4, 256)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(found[0], found[3])
    assert encoder.vectors([]).shape == (0, 256)


def test_a_vector_is_the_mean_of_the_tokens_rows() -> None:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = encoders._folder()
    (table,) = load_file(next(folder.glob("weights/*.safetensors"))).values()
    tokens = Tokenizer.from_file(str(next(folder.glob("tokenizers/*.json")))).encode(
        "Think step by step", add_special_tokens=False
    )
    mean = table[tokens.ids].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(pool_vectors(["Think step by step"])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_texts_that_mean_the_same_are_nearer() -> None:
    near = cosine("List the animals from largest to smallest", "Sort these animals by their size")
    far = cosine("List the animals from largest to smallest", "Translate the sentence into German")
    assert near > far + 0.1


def test_the_package_itself_is_not_imported_and_neither_is_torch() -> None:
    code = (
        "import sys; from workers.models.encoders import pool_vectors; heavy = {'tokenizers', 'wordllama', 'torch'};"
        "assert not heavy & set(sys.modules); pool_vectors(['a']); assert not {'wordllama', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_or_name_is_told_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="there is no encoder 'other'; there are wordllama"):
        load_encoder("other")
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    load_encoder.cache_clear()
    with pytest.raises(EncoderError, match="needs the package wordllama"):
        load_encoder()
    load_encoder.cache_clear()


def test_vectors_are_remembered_within_bounds() -> None:
    calls: list[list[str]] = []

    def tokenize(texts: list[str]) -> list[list[int]]:
        calls.append(texts)
        return [[len(t) % 3] for t in texts]

    encoder = StaticTable(np.eye(3, dtype=np.float16), tokenize, remembered=2)
    first = encoder.vectors(["a", "bb", "a"])
    np.testing.assert_array_equal(first, encoder.vectors(["a", "bb", "a"]))
    assert calls == [["a", "bb"]]
    encoder.vectors(["ccc"])  # `bb` was used before `a`: it is forgotten
    encoder.vectors(["a"])
    assert calls == [["a", "bb"], ["ccc"]]
    encoder.vectors(["bb"])
    assert calls == [["a", "bb"], ["ccc"], ["bb"]]


def test_another_encoder_takes_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_makers", dict(encoders._makers))
    encoders.register("letters", lambda: StaticTable(np.eye(26), lambda texts: [[ord(t[0]) - 97] for t in texts]))
    assert pool_vectors(["b", "z"], "letters").argmax(axis=1).tolist() == [1, 25]
    load_encoder.cache_clear()


def test_a_table_is_mapped_as_it_was_written(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    save_file({"rows": table}, tmp_path / "t.safetensors", metadata={"made": "here"})
    found = read_table(tmp_path / "t.safetensors")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, table)
    body = json.dumps({"x": {"dtype": "I64", "shape": [1, 1], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "bad.safetensors").write_bytes(len(body).to_bytes(8, "little") + body + bytes(8))
    with pytest.raises(EncoderError, match="no table"):
        read_table(tmp_path / "bad.safetensors")


# -- an endpoint's vectors


def spoken(
    texts: Sequence[str], answer: Callable[[LlmRequest], LlmReply], at_once: int = 3
) -> tuple[Any, list[list[int]]]:
    """What comes of asking for vectors, and how many texts each call of each round had."""
    talk, rounds = profile_vectors(texts, "vectors", 7, at_once), list[list[int]]()
    try:
        wanted = next(talk)
        while True:
            rounds.append([len(r.texts) for r in wanted])
            wanted = talk.send([answer(r) for r in wanted])
    except StopIteration as end:
        return end.value, rounds


def packed(request: LlmRequest, rows: list[list[float]]) -> LlmReply:
    """A reply with these vectors."""
    table = np.array(rows, "<f4")
    vectors = base64.b64encode(table.tobytes()).decode()
    size = table.shape[1] if table.ndim == 2 else 0
    return LlmReply(key=request.key, digest=request.digest, snapshot=7, vectors=vectors, dimensions=size)


def test_an_endpoints_vectors_come_in_order_at_unit_length_and_each_text_is_sent_once() -> None:
    def answer(request: LlmRequest) -> LlmReply:
        assert request.texts
        assert not request.messages
        assert request.role == "encoder"
        return packed(
            request, [[3.0 * len(text), 4.0 * len(text)] if text != "none" else [0.0, 0.0] for text in request.texts]
        )

    texts = ["b", "  ", "aaa", "b", "cc", "none", "dddd", ""]
    found, rounds = spoken(texts, answer)
    assert rounds == [[3], [2]]
    np.testing.assert_allclose(found, [[0.6, 0.8] if t.strip() and t != "none" else [0, 0] for t in texts], atol=1e-6)
    assert spoken(["", " "], answer)[0].shape == (2, 0)


@pytest.mark.parametrize(
    "broken",
    [
        lambda r: packed(r, [[1.0, float("nan")]] * len(r.texts)),
        lambda r: packed(r, [[1.0, 2.0]] * (len(r.texts) - 1)),
        lambda r: packed(r, [[1.0] * (2 + int(r.key[-1]))] * len(r.texts)),
        lambda r: packed(r, []),
    ],
    ids=["not finite", "too few", "of two lengths", "none"],
)
def test_vectors_that_cannot_be_used_count_as_away(broken: Callable[[LlmRequest], LlmReply]) -> None:
    assert spoken(["a", "b", "c", "d"], broken)[0] == Away("unusable")


def test_an_endpoint_that_is_away_is_asked_once() -> None:
    found, rounds = spoken([str(i) for i in range(20)], lambda request: request.failed("timeout"))
    assert (found, rounds) == (Away("timeout"), [[3]])
