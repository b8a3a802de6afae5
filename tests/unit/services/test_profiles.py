"""Language model profiles in an environment: what is read, and what is refused without showing a value."""

from __future__ import annotations

import pytest

from services.domain.errors import Invalid
from services.profiles import PREFIX, LlmProfile, default_profile, read_profiles

HOUSE = {f"{PREFIX}HOUSE__BASE_URL": "http://127.0.0.1:8080/v1", f"{PREFIX}HOUSE__MODEL": "small"}


def test_a_profile_needs_an_address_and_a_model_and_no_more() -> None:
    (profile,) = read_profiles(HOUSE | {"PATH": "/bin", "ASKTELL_DATABASE": "sqlite:///x.db"}).values()
    assert (profile.name, profile.base_url, profile.model) == ("house", "http://127.0.0.1:8080/v1", "small")
    assert (profile.api_key_env, profile.timeout_seconds, profile.max_retries) == (None, 60.0, 5)
    assert profile.project_max_tokens is profile.project_max_cost is None


def test_every_field_is_read_from_its_variable() -> None:
    wanted = {
        "api_key_env": "HOUSE_KEY", "timeout_seconds": 7.5, "max_retries": 2, "max_tokens": 100,
        "max_tokens_field": "max_completion_tokens", "concurrency": 3, "project_concurrency": 2, "price_in": 0.15, "price_out": 0.6,
        "project_max_tokens": 10, "project_max_cost": 1.5,
    }  # fmt: skip
    environ = HOUSE | {f"{PREFIX}HOUSE__{name.upper()}": str(value) for name, value in wanted.items()}
    profile = read_profiles(environ)["house"]
    assert {name: getattr(profile, name) for name in wanted} == wanted
    assert set(LlmProfile.model_fields) == {"name", "base_url", "model", *wanted}


def test_names_may_have_underscores_and_several_stand_beside_each_other() -> None:
    other = {name.replace("HOUSE", "MY_BIG_ONE"): value for name, value in HOUSE.items()}
    assert sorted(read_profiles(HOUSE | other)) == ["house", "my_big_one"]


def test_an_empty_variable_counts_as_absent() -> None:
    assert read_profiles(HOUSE | {f"{PREFIX}HOUSE__PRICE_IN": " ", f"{PREFIX}OTHER__MODEL": ""}) == read_profiles(HOUSE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BASE_URL", "file:///etc/passwd"),
        ("BASE_URL", "https:///secret-path"),
        ("BASE_URL", "not an address, a secret"),
        ("API_KEY", "sk-secret"),
        ("NAME", "secret"),
        ("TIMEOUT_SECONDS", "0"),
        ("TIMEOUT_SECONDS", "secret"),
        ("MAX_RETRIES", "1000"),
        ("MAX_TOKENS", "0"),
        ("MAX_TOKENS_FIELD", "secret"),
        ("CONCURRENCY", "0"),
        ("PRICE_IN", "-1"),
        ("PRICE_OUT", "inf"),
        ("PRICE_OUT", "nan"),
        ("PROJECT_MAX_TOKENS", "2.5"),
        ("PROJECT_MAX_COST", "secret"),
        ("SURPRISE", "secret"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_variable_and_never_shown(field: str, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_profiles(HOUSE | {f"{PREFIX}HOUSE__{field}": value})
    told = f"{caught.value.detail} {caught.value.errors} {caught.value!r} {caught.value.__cause__}"
    assert f"{PREFIX}HOUSE__{field}" in caught.value.detail
    assert "secret" not in told and (len(value) < 5 or value not in told)


@pytest.mark.parametrize("missing", ["BASE_URL", "MODEL"])
def test_a_missing_one_is_named(missing: str) -> None:
    with pytest.raises(Invalid, match=f"{PREFIX}HOUSE__{missing}"):
        read_profiles({name: value for name, value in HOUSE.items() if not name.endswith(missing)})


@pytest.mark.parametrize(
    "variable", [f"{PREFIX}MODEL", f"{PREFIX}house__MODEL", f"{PREFIX}A B__MODEL", f"{PREFIX}__MODEL"]
)
def test_a_variable_without_a_profiles_name_is_refused(variable: str) -> None:
    with pytest.raises(Invalid, match="is not of the form"):
        read_profiles({variable: "x"})


def test_the_default_is_the_one_of_that_name_or_the_only_one() -> None:
    house = read_profiles(HOUSE)
    assert default_profile({}) is None
    assert default_profile(house) == "house"
    assert default_profile(house | {"other": house["house"]}) is None
    assert default_profile(house | {"default": house["house"]}) == "default"


def test_cost_counts_both_prices_by_the_million() -> None:
    profile = read_profiles(HOUSE | {f"{PREFIX}HOUSE__PRICE_IN": "2", f"{PREFIX}HOUSE__PRICE_OUT": "10"})["house"]
    assert profile.cost(500_000, 100_000) == pytest.approx(2.0)
    assert (profile.completion_tokens(None), profile.completion_tokens(9), profile.completion_tokens(10**6)) == (
        4096,
        9,
        4096,
    )
