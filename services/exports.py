"""Export: every trial of a study, streamed page by page so that memory does not grow with the study."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import orjson

from .caller import Caller, Role
from .domain.study import StudySpec
from .domain.trial import Trial
from .store import trials as store
from .store.records import StudyRecord
from .studies import Studies
from .transactions import Transactions
from .trials import answers

Format = Literal["json", "csv", "parquet"]
PAGE = 1000
MEDIA = {"json": "application/json", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

_FIXED = (
    "number",
    "state",
    "worker",
    "attempt",
    "feasible",
    "suggester",
    "reason",
    "elapsed_seconds",
    "cost",
    "created_at",
    "started_at",
    "finished_at",
    "feedback",
    "lease_expires_at",
    "seq",
    "fallback",
    "seen_seq",
)
_OF_SUGGESTION = ("suggester", "reason", "fallback", "seen_seq")
_DOCUMENTS = ("measurements", "evaluate_on", "examples")


class Exports:
    """The use case of taking everything out."""

    def __init__(self, transactions: Transactions, studies: Studies) -> None:
        self._transactions = transactions
        self._studies = studies

    async def open(self, caller: Caller, ref: str, format_: Format) -> AsyncIterator[bytes]:
        """Every trial. JSON: an array of trials; CSV and Parquet: a row each, `parameters.x`, `metrics.y`, `std.y` as columns.

        Raises:
            NotFound: no such study.
        """
        caller.must_be(Role.READER)
        study, _ = await self._studies.find(caller, ref)
        pages = self._pages(study)
        match format_:
            case "json":
                return _json(pages)
            case "csv":
                return _csv(study.spec, pages)
            case "parquet":
                return _parquet(study.spec, pages)

    async def _pages(self, study: StudyRecord) -> AsyncIterator[list[Trial]]:
        after = 0
        while True:
            found = await self._transactions.read(
                lambda connection, after=after: list(  # type: ignore[misc]
                    answers(connection, study, store.page(connection, study.id, store.Slice(PAGE, after=after)))
                )
            )
            if not found:
                return
            yield found
            after = found[-1].number


async def _json(pages: AsyncIterator[list[Trial]]) -> AsyncIterator[bytes]:
    separator = b"["
    async for page in pages:
        for start in range(0, len(page), 100):
            chunk = b",\n".join(trial.model_dump_json().encode() for trial in page[start : start + 100])
            yield separator + chunk
            separator = b",\n"
    yield b"[]" if separator == b"[" else b"]"


def columns(spec: StudySpec) -> list[str]:
    """The columns of a table of trials."""
    parameters = [f"parameters.{p.name}" for p in spec.parameters]
    return [
        *_FIXED,
        *parameters,
        *(f"metrics.{name}" for name in spec.required_metrics),
        "other_metrics",
        *(f"std.{name}" for name in spec.required_metrics),
        "other_std",
        "residual",
        *_DOCUMENTS,
        "labels",
        "metadata",
    ]


def row(spec: StudySpec, trial: Trial) -> dict[str, Any]:
    """A trial as a flat row; arrays and objects as JSON text, but for `residual`, which is a list."""
    flat: dict[str, Any] = {name: getattr(trial, name) for name in _FIXED if name not in _OF_SUGGESTION}
    flat |= {"state": trial.state.value} | {name: getattr(trial.suggested_by, name) for name in _OF_SUGGESTION}
    for parameter in spec.parameters:
        flat[f"parameters.{parameter.name}"] = _plain(trial.parameters.get(parameter.name))
    for kind, told in (("metrics", trial.metrics), ("std", trial.std or {})):
        flat |= {f"{kind}.{name}": told.get(name) for name in spec.required_metrics}
        flat[f"other_{kind}"] = _text({name: told[name] for name in told if name not in spec.required_metrics})
    flat["residual"] = None if trial.residual is None else list(trial.residual)
    flat |= {name: _text(value) for name, value in trial.model_dump(mode="json", include=set(_DOCUMENTS)).items()}
    return flat | {"labels": _text(trial.labels), "metadata": _text(trial.metadata)}


def _text(value: Any) -> str | None:
    return orjson.dumps(value).decode() if value else None


def _plain(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, (list, dict)) else value


async def _csv(spec: StudySpec, pages: AsyncIterator[list[Trial]]) -> AsyncIterator[bytes]:
    names = columns(spec)
    yield _csv_lines(names, [dict(zip(names, names, strict=True))])
    async for page in pages:
        for start in range(0, len(page), 100):
            yield _csv_lines(names, (row(spec, trial) for trial in page[start : start + 100]))


def _csv_lines(names: list[str], rows: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    for item in rows:
        writer.writerow({name: _csv_value(value) for name, value in item.items()})
    return text.getvalue().encode()


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else _plain(value)


async def _parquet(spec: StudySpec, pages: AsyncIterator[list[Trial]]) -> AsyncIterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    schema = _schema(spec)
    sink = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(sink, schema) as writer:
        async for page in pages:
            rows = [_typed(schema, row(spec, trial)) for trial in page]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
            # The writer counts offsets by itself, so what was sent may leave the buffer.
    yield sink.getvalue()


def _schema(spec: StudySpec) -> Any:
    import pyarrow

    kinds: dict[str, Any] = dict.fromkeys(("number", "attempt", "seq", "seen_seq"), pyarrow.int64())
    kinds |= dict.fromkeys(("feasible", "fallback"), pyarrow.bool_())
    kinds |= dict.fromkeys(("elapsed_seconds", "cost"), pyarrow.float64())
    times = ("created_at", "started_at", "finished_at", "lease_expires_at")
    kinds |= dict.fromkeys(times, pyarrow.timestamp("us", tz="UTC"))
    types = {"float": pyarrow.float64(), "int": pyarrow.int64(), "bool": pyarrow.bool_()}
    kinds |= {f"parameters.{p.name}": types.get(p.type, pyarrow.string()) for p in spec.parameters}
    kinds |= {f"{kind}.{name}": pyarrow.float64() for kind in ("metrics", "std") for name in spec.required_metrics}
    kinds["residual"] = pyarrow.list_(pyarrow.float64())
    return pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in columns(spec)])


def _typed(schema: Any, item: dict[str, Any]) -> dict[str, Any]:
    # A categorical may mix strings, numbers and null: its column is text, each value as JSON unless it is a string.
    import pyarrow

    return {
        name: orjson.dumps(value).decode()
        if value is not None and not isinstance(value, str) and schema.field(name).type == pyarrow.string()
        else value
        for name, value in item.items()
    }
