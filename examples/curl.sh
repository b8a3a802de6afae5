#!/usr/bin/env bash
# The protocol by hand: create, ask, tell, best. Needs `asktell serve`, curl and python3 (to pick fields from JSON).
set -euo pipefail
url="${ASKTELL_URL:-http://127.0.0.1:8000}/v1"
name="${1:-by-hand}"
curl() { command curl --silent --show-error --fail-with-body ${ASKTELL_API_KEY:+--header "Authorization: Bearer $ASKTELL_API_KEY"} \
    --header 'Content-Type: application/json' "$@"; }
field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

curl "$url/studies" --data '{
  "name": "'"$name"'",
  "parameters": [{"name": "x", "type": "float", "min": -5, "max": 5}],
  "objectives": [{"metric": "loss", "goal": "minimize"}],
  "limits": {"max_trials": 5}
}' | field '["state"]'

for _ in 1 2 3 4 5; do
    trial=$(curl "$url/studies/$name/trials:ask" --data '{"worker": "shell", "wait_seconds": 10}')
    number=$(field '["trials"][0]["number"]' <<<"$trial")
    x=$(field '["trials"][0]["parameters"]["x"]' <<<"$trial")
    loss=$(python3 -c "print($x ** 2)")
    # The key makes a retry safe: the same outcome is never counted twice.
    curl "$url/studies/$name/trials/$number:tell" --header "Idempotency-Key: $name-$number" \
        --data "{\"metrics\": {\"loss\": $loss}}" | field '["state"]'
done
curl "$url/studies/$name/best"
