"""Write `asktell.json`, the Grafana board: `python deploy/grafana/make.py`."""

from __future__ import annotations

import json
from pathlib import Path

PANELS = [
    ("Requests per second", 'sum by (route) (rate(asktell_http_requests_total[1m]))', "reqps"),
    ("Errors per second", 'sum by (route, status) (rate(asktell_http_requests_total{status=~"[45].."}[1m]))', "reqps"),
    ("Ask wait, p99", "histogram_quantile(0.99, sum by (le) (rate(asktell_ask_wait_seconds_bucket[5m])))", "s"),
    ("Trials handed out, by source", 'sum by (source) (rate(asktell_asks_total[1m]))', "ops"),
    ("Outcomes told, by state", 'sum by (state) (rate(asktell_tells_total[1m]))', "ops"),
    ("Time of a suggestion, p90", 'histogram_quantile(0.9, sum by (le, suggester) (rate(asktell_suggest_seconds_bucket[5m])))', "s"),
    ("Suggestions that broke", 'sum by (suggester, kind) (rate(asktell_suggest_failures_total[5m]))', "ops"),
    ("Transactions, p99", 'histogram_quantile(0.99, sum by (le) (rate(asktell_transaction_seconds_bucket[5m])))', "s"),
    ("gRPC calls per second", 'sum by (method, code) (rate(asktell_grpc_requests_total[1m]))', "reqps"),
]  # fmt: skip


def panel(place: int, title: str, query: str, unit: str) -> dict[str, object]:
    """A graph in a grid two wide."""
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": title,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (place % 2), "y": 8 * (place // 2)},
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [{"refId": "A", "expr": query}],
    }


def board() -> dict[str, object]:
    """The whole board."""
    return {
        "title": "asktell",
        "uid": "asktell",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel(place, *entry) for place, entry in enumerate(PANELS)],
    }


if __name__ == "__main__":
    Path(__file__).with_name("asktell.json").write_text(json.dumps(board(), indent=2) + "\n")
