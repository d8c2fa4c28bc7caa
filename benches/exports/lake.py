"""The model calls that exports and Flight SQL are measured with."""

import json
import os
import subprocess

import duckdb

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}


def lake(binary, root, rows):
    """The dataset, made once: DuckDB makes the rows, and `ingest` takes them."""
    if (root / "default/model_calls").exists():
        return
    made = root.parent / "made.parquet"
    duckdb.sql(
        f"COPY (SELECT 'call-' || lpad(i::VARCHAR, 9, '0') AS id, "
        f"TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL (i * 240) MILLISECOND + INTERVAL ((hash(i) % 1000)::BIGINT) MICROSECOND AS at, "
        f"'user-' || (hash(i, 1) % 5000) AS user_id, 'agent-' || (hash(i, 2) % 40) AS agent_id, "
        f"CASE WHEN hash(i, 3) % 3 = 0 THEN NULL ELSE 'flow-' || (hash(i, 3) % 900) END AS workflow_id, "
        f"['north', 'south', 'east'][(1 + hash(i, 4) % 3)::BIGINT] AS provider, "
        f"['aurora-small', 'aurora-large', 'embed-3', 'small-1', 'vision-2'][(1 + hash(i, 5) % 5)::BIGINT] AS model, 'chat' AS operation, "
        f"(hash(i, 6) % 4000)::BIGINT AS input_tokens, (hash(i, 7) % 900)::BIGINT AS output_tokens, "
        f"(hash(i, 8) % 100000) / 7.0 + 20000 AS latency_ms, "
        f"CASE WHEN hash(i, 9) % 50 = 0 THEN 'error' ELSE 'ok' END AS status, "
        f"CASE WHEN hash(i, 9) % 50 = 0 THEN 'quota, \"daily\"' END AS error, "
        f"((hash(i, 10) % 9000000)::DECIMAL(18, 9) / 1000000000)::DECIMAL(18, 9) AS cost "
        f"FROM range({rows}) rows(i)) TO '{made}' (FORMAT parquet)"
    )
    command = [binary, "--data", str(root), "ingest", "model_calls", str(made)]
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    made.unlink()


def files_of(root):
    """The data files of the newest version, as any reader of Delta's log finds them."""
    table, live = root / "default/model_calls", {}
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for line in entry.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = True
            if "remove" in action:
                live.pop(action["remove"]["path"], None)
    return [str(table / name) for name in live]
