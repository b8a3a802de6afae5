"""What is wrong in a suggester's options is named to the field, however deep, by REST and gRPC alike."""

from __future__ import annotations

from typing import Any

W = {"name": "w", "type": "vector", "length": 4, "min": -1, "max": 1}
THETA = {"name": "theta", "type": "vector", "encoding": "seed", "shape": [4]}
ORDER = {"name": "o", "type": "permutation", "items": ["a", "b", "c"]}

CASES: list[tuple[dict[str, Any], str, dict[str, Any], list[str]]] = [
    (W, "zo", {"rule": "adam", "rule_options": {"beta1": 2}}, ["rule_options.beta1"]),
    (W, "zo", {"rule": "adam", "rule_options": {"clip": -1}}, ["rule_options.clip"]),
    (
        W,
        "zo",
        {"rule": "adam", "rule_options": {"momentum": 1, "nest": 0}},
        ["rule_options.momentum", "rule_options.nest"],
    ),
    (W, "zo", {"rule": "sgdr(adam)", "rule_options": {"restart_period": 0.5}}, ["rule_options.restart_period"]),
    (W, "zo", {"rule": "adam", "rule_options": {"lr": "fast"}}, ["rule_options.lr"]),
    (W, "zo", {"rule_options": {"a b": 1}}, ['rule_options["a b"]']),
    (W, "zo", {"rule_options": 3}, ["rule_options"]),
    (W, "zo", {"shape": [0, 1]}, ["shape[0]"]),
    (W, "zo", {"rule": "nobody"}, ["rule"]),
    (THETA, "zo", {"rule": "adam", "rule_options": {"beta1": 2}}, ["rule_options.beta1"]),
    (THETA, "zo", {"rule_options": {"beta9": 0.5}}, ["rule_options.beta9"]),
    (THETA, "zo", {"rule": "momentum", "rule_options": {"beta1": 0.5, "beta2": 0.5}}, ["rule_options.beta2"]),
    (THETA, "es", {"rule": "sgd", "beta1": 0.5, "weight_decay": 0.1}, ["beta1"]),
    (THETA, "es", {"rule": "snes", "rank": 1, "mask": {"kind": "snr"}}, ["rank"]),
    (THETA, "es", {"mask": {"kind": "snr"}}, ["mask.kind"]),
    (THETA, "es", {"mask": {"kind": "some", "every": 0}}, ["mask.kind", "mask.every"]),
    (THETA, "es", {"mask": {"keep": "half"}}, ["mask.keep"]),
    (THETA, "es", {"mask": 3}, ["mask"]),
    (W, "eki", {"noise": -1}, ["noise"]),
    (W, "eki", {"noise": [1, -1]}, ["noise[1]"]),
    (W, "eki", {"residual": ["loss", 3]}, ["residual[1]"]),
    (
        W,
        "eki",
        {"prior": {"x": {"mean": "low", "std": -1, "more": 1}}},
        ["prior.x.mean", "prior.x.std", "prior.x.more"],
    ),
    (ORDER, "annealing", {"proposal": {"nobody": 1}}, ["proposal.nobody"]),
    (W, "cem", {"nobody": 1}, ["nobody"]),
]


async def test_the_field_is_named(worlds: Any) -> None:
    for parameter, name, options, wanted in CASES:
        suggester = {"name": name, "options": options}
        body = {"name": "s", "parameters": [parameter], "objectives": [{"metric": "loss"}], "suggester": suggester}
        for world in worlds:
            answer = await world.edge.call("POST", "/studies", body)
            places = {f"suggester.options.{place}" for place in wanted}
            assert (answer.kind, set(answer.places)) == ("invalid", places), suggester


async def test_a_patch_names_it_too(worlds: Any) -> None:
    body = {"name": "s", "parameters": [W], "objectives": [{"metric": "loss"}], "suggester": {"name": "zo"}}
    change = {"suggester": {"options": {"rule": "adam", "rule_options": {"beta1": 2}}}}
    for world in worlds:
        assert not (await world.edge.call("POST", "/studies", body)).kind
        answer = await world.edge.call("PATCH", "/studies/s", change)
        assert (answer.kind, answer.places) == ("invalid", ("suggester.options.rule_options.beta1",))


async def test_a_value_of_several_forms_is_named_where_it_stands(worlds: Any) -> None:
    """Names of a union's members are no part of the document."""
    for world in worlds:
        choices = {"name": "c", "type": "categorical", "choices": ["a", [1]]}
        body = {
            "name": "s",
            "parameters": [choices, {**THETA, "shape": {"w": [0]}}],
            "objectives": [{"metric": "loss"}],
        }
        answer = await world.edge.call("POST", "/studies", body)
        assert set(answer.places) == {"parameters[0].choices[1]", "parameters[1].shape.w[0]"}


async def test_a_tensor_longer_than_its_stream_of_noise_is_named(worlds: Any) -> None:
    tensors = {"a": [2**17, 2**17], "b": [2**17, 2**17 + 1], "c": [2**40], "d": [2]}
    for world in worlds:
        for name, options, wanted in (
            ("es", {}, {"b", "c"}),
            ("es", {"rank": 1}, {"c"}),
            ("es", {"noise": "popcount"}, {"a", "b", "c"}),
            ("es", {"noise": "rademacher"}, {"c"}),
            ("auto", {}, {"b", "c"}),
            ("zo", {"rank": 2}, {"c"}),
        ):
            suggester = {"name": name, "options": options}
            body = {"name": "s", "parameters": [{**THETA, "shape": tensors}], "objectives": [{"metric": "loss"}]}
            answer = await world.edge.call("POST", "/studies", body | {"suggester": suggester})
            assert set(answer.places) == {f"parameters[0].shape.{tensor}" for tensor in wanted}, suggester
