"""What Prometheus reads. One registry, so that tests and processes do not share the global one by accident."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

HTTP_REQUESTS = Counter(
    "asktell_http_requests_total", "HTTP requests", ["method", "route", "status"], registry=REGISTRY
)
HTTP_SECONDS = Histogram(
    "asktell_http_request_seconds", "Time to answer", ["method", "route"], registry=REGISTRY, buckets=_FAST
)
GRPC_REQUESTS = Counter("asktell_grpc_requests_total", "gRPC requests", ["method", "code"], registry=REGISTRY)
GRPC_SECONDS = Histogram("asktell_grpc_request_seconds", "Time to answer", ["method"], registry=REGISTRY, buckets=_FAST)
ASKS = Counter("asktell_asks_total", "Trials handed out, by where they came from", ["source"], registry=REGISTRY)
ASK_WAIT_SECONDS = Histogram("asktell_ask_wait_seconds", "Time an ask waited", registry=REGISTRY, buckets=_FAST)
TELLS = Counter("asktell_tells_total", "Outcomes told", ["state"], registry=REGISTRY)
SUGGEST_SECONDS = Histogram(
    "asktell_suggest_seconds", "Time to compute suggestions", ["suggester"], registry=REGISTRY, buckets=_FAST
)
SUGGEST_FAILURES = Counter(
    "asktell_suggest_failures_total", "Computations that broke", ["suggester", "kind"], registry=REGISTRY
)
LEASES_EXPIRED = Counter("asktell_leases_expired_total", "Leases that ran out", registry=REGISTRY)
TRANSACTION_OPERATIONS = Histogram(
    "asktell_transaction_operations",
    "Operations written in one transaction",
    registry=REGISTRY,
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
TRANSACTION_SECONDS = Histogram(
    "asktell_transaction_seconds", "Time of a transaction", registry=REGISTRY, buckets=_FAST
)
LLM_CALLS = Counter(
    "asktell_llm_calls_total", "Language model calls, by how they ended", ["profile", "outcome"], registry=REGISTRY
)
LLM_TOKENS = Counter("asktell_llm_tokens_total", "Language model tokens", ["profile", "kind"], registry=REGISTRY)
