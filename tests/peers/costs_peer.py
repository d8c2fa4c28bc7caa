"""Holds what the job `costs` says against computations that know nothing of it.

costs_peer.py BINARY SCRATCH DATA

1. Each model of LiteLLM's list at each tier, with short and long inputs, cached and reasoning tokens, against what the package litellm
   charges for the same usage.
2. The traces of Azure and Mooncake, and generated calls, against pandas: each call, and the sum of each day.
3. A price that changes in the middle of a day.
"""

import decimal
import gzip
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import pandas as pd
from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token
from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper, Usage

BINARY, SCRATCH, DATA = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
PRICES = DATA / "llm_prices" / "model_prices_and_context_window.json.gz"
decimal.getcontext().prec = 60
failures = []


root = SCRATCH / "root"


def colonnade(*arguments):
    command = [BINARY, "--data", str(root), *arguments, "--log", "error"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def query(sql):
    out = colonnade("sql", sql, "--rows", "0", "--format", "ndjson")
    return [json.loads(line, parse_float=decimal.Decimal) for line in out.splitlines()]


def run(**params):
    asked = [part for name, value in params.items() for part in ("--param", f"{name}={json.dumps(value)}")]
    began = time.perf_counter()
    colonnade("run", "costs", *asked)
    return time.perf_counter() - began


def told(what, of, wrong):
    print(f"{what}: {of - len(wrong):,} of {of:,} equal" + "".join(f"\n  {line}" for line in wrong[:: max(1, len(wrong) // 20)]))
    if wrong:
        failures.append(what)


listed = json.loads(gzip.decompress(PRICES.read_bytes()), parse_float=decimal.Decimal)
del listed["sample_spec"]
colonnade("ingest", "llm_prices", str(PRICES), "--format", "litellm-prices")


def by_litellm():
    """Usages that a price by token says all of."""
    # What has a table of lengths, hours of the day, or prices by another unit for these tokens is no price by token alone.
    other = ["tiered_pricing", "off_peak_pricing"]
    rows, charged, passed_over = [], [], 0
    for model, entry in listed.items():
        if entry.get("mode") not in ["chat", "completion", "responses", "embedding"] or "input_cost_per_token" not in entry:
            continue
        provider = entry.get("litellm_provider", "")
        # xAI's long prices begin at the length itself, and Fireworks' cached tokens are half as dear where the list says nothing: the package
        # knows both, the list does not; and that one model is free.
        if any(name in entry for name in other) or provider in ["xai", "fireworks_ai"] or model == "gemini-exp-1206":
            passed_over += 1
            continue
        for tier in [None, "priority", "flex"]:
            for sent in [1_000, 150_000, 300_000]:
                for cached, reasoned in [(0, 0), (400, 30)]:
                    said = 100 if "output_cost_per_token" in entry else 0
                    reasoned = min(reasoned, said)
                    usage = Usage(
                        prompt_tokens=sent,
                        completion_tokens=said,
                        total_tokens=sent + said,
                        prompt_tokens_details=PromptTokensDetailsWrapper(cached_tokens=cached) if cached else None,
                        completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=reasoned) if reasoned else None,
                    )
                    try:
                        cost = sum(generic_cost_per_token(model, usage, provider, service_tier=tier))
                    except Exception:
                        passed_over += 1
                        continue
                    rows.append((model, sent, said, cached, reasoned, tier))
                    charged.append(cost)
    names = ["model", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "service_tier"]
    frame = pd.DataFrame(rows, columns=names)
    frame.insert(0, "id", [f"u{at:06}" for at in range(len(frame))])
    frame.insert(1, "at", pd.Timestamp("2026-01-01", tz="UTC"))
    frame.to_parquet(SCRATCH / "usages.parquet", index=False)
    colonnade("ingest", "usages", str(SCRATCH / "usages.parquet"), "--create")
    run(dataset="usages")
    ours = query("SELECT call_id, cost, unpriced FROM call_costs WHERE source = 'usages' ORDER BY call_id")
    wrong = []
    for row, cost, own in zip(rows, charged, ours, strict=True):
        is_equal = own["cost"] is not None and abs(float(own["cost"]) - cost) <= 1e-9 * cost
        if not is_equal:
            wrong.append(f"{row}: {own['cost'] or own['unpriced']}, litellm {cost!r}")
    print(f"(passed over: {passed_over})")
    told("usages by litellm", len(rows), wrong)


def atto(price):
    return int(decimal.Decimal(price or 0) * 10**18)


def charge(frame, entry):
    """Each call in 10^-18 dollars."""
    cached = frame["cached_tokens"] if "cached_tokens" in frame else 0 * frame["input_tokens"]
    prices = [entry.get(name) for name in ["input_cost_per_token", "cache_read_input_token_cost", "output_cost_per_token"]]
    plain, read, out = atto(prices[0]), atto(prices[1] if prices[1] is not None else prices[0]), atto(prices[2])
    return (frame["input_tokens"] - cached).astype(object) * plain + cached.astype(object) * read + frame["output_tokens"].astype(object) * out


def held_against(name, frame, cost, seconds):
    """Every call, and the sum of each day, of what the job said last of a dataset."""
    own = query(f"SELECT call_id, cost FROM call_costs WHERE source = '{name}'")
    own = {row["call_id"]: None if row["cost"] is None else int(decimal.Decimal(row["cost"]) * 10**18) for row in own}
    wrong = [f"{call}: {own.get(call)}, expected {it}" for call, it in zip(frame["id"], cost, strict=True) if own.get(call) != it]
    told(f"{name}, calls ({seconds:.1f} s)", len(frame), wrong)
    days = cost.groupby(frame["at"].dt.floor("D")).sum()
    own = query(f"SELECT at, cost FROM model_costs WHERE source = '{name}' AND dimension = 'all'")
    own = {pd.Timestamp(row["at"]): int(decimal.Decimal(row["cost"]) * 10**18) for row in own}
    wrong = [f"{day}: {own.get(day)}, expected {it}" for day, it in days.items() if own.get(day) != it]
    total = decimal.Decimal(int(cost.sum())) / 10**18
    told(f"{name}, days, of {total:.2f} dollars", len(days), wrong)


def traces():
    for name, model in [("AzureLLMInferenceTrace_code.csv", "gpt-4o"), ("AzureLLMInferenceTrace_conv.csv", "gemini/gemini-2.5-pro")]:
        path = DATA / "azure_llm" / name
        frame = pd.read_csv(path)
        frame = frame.rename(columns={"ContextTokens": "input_tokens", "GeneratedTokens": "output_tokens"})
        frame["at"] = pd.to_datetime(frame["TIMESTAMP"], utc=True)
        frame["id"] = [f"{name}:{row + 1}" for row in range(len(frame))]
        trace(path, "azure_" + name.split("_")[1].split(".")[0], frame, model)
    for name, model in [("conversation_trace.jsonl.gz", "claude-sonnet-4-5"), ("synthetic_trace.jsonl.gz", "o3")]:
        path = DATA / "mooncake" / name
        frame = pd.read_json(path, lines=True)
        frame = frame.rename(columns={"input_length": "input_tokens", "output_length": "output_tokens"})
        frame["at"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame["timestamp"], unit="ms")
        trace(path, "mooncake_" + name.split("_")[0], frame, model)


def trace(path, name, frame, model):
    colonnade("ingest", "model_calls", str(path))
    colonnade("run", "sql", "--param", f"query=SELECT * FROM model_calls WHERE id LIKE '{path.name}:%'", "--param", f"output={name}")
    ids = [row["id"] for row in query(f"SELECT id FROM {name}")]
    frame["id"] = sorted(ids, key=lambda id: int(id.rsplit(":", 1)[1]))
    run(dataset=name)
    row = query(f"SELECT sum(calls) AS calls, max(why) AS why FROM unpriced_calls WHERE source = '{name}'")[0]
    is_told = (int(row["calls"]), row["why"]) == (len(frame), "it names no model")
    told(f"{name}, calls that name no model", len(frame), [] if is_told else [str(row)])
    seconds = run(dataset=name, default_model=model)
    held_against(name, frame, charge(frame, listed[model]), seconds)


def generated():
    """The demo's calls, by prices that change at noon of a day."""
    global root
    root = SCRATCH / "demo"
    colonnade("demo", "--rows", "100000", "--no-serve")
    frame = pd.DataFrame(query("SELECT id, at, model, status, input_tokens, cached_tokens, output_tokens FROM model_calls"))
    frame["at"] = pd.to_datetime(frame["at"], utc=True, format="ISO8601")
    for name in ["input_tokens", "cached_tokens", "output_tokens"]:
        frame[name] = frame[name].astype("int64")
    noon = pd.Timestamp("2026-01-15T12:00:00Z")
    names = ["input_cost_per_token", "cache_read_input_token_cost", "output_cost_per_token"]
    before = {model: ["0.000003", "0.0000003", "0.000015"] for model in frame["model"].unique()}
    after = {model: ["0.00000251", "0.0000002", "0.0000125"] for model in before}
    rows = [(model, None, *prices) for model, prices in before.items()] + [(model, noon.isoformat(), *prices) for model, prices in after.items()]
    pd.DataFrame(rows, columns=["model", "valid_from", *names]).to_csv(SCRATCH / "own.csv", index=False)
    colonnade("ingest", "own_prices", str(SCRATCH / "own.csv"), "--create")
    seconds = run(prices=["own_prices"])
    cost = pd.Series([0] * len(frame), dtype=object)
    ok = frame["status"] == "ok"
    for prices, holds in [(before, frame["at"] < noon), (after, frame["at"] >= noon)]:
        some = frame[holds & ok]
        entry = dict(zip(names, next(iter(prices.values()))))
        cost[some.index] = charge(some, entry)
    held_against("model_calls", frame, cost, seconds)


by_litellm()
traces()
generated()
if failures:
    sys.exit(f"unequal: {', '.join(failures)}")
