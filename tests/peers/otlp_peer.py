"""Spans of agents by OpenTelemetry's own SDK and exporter: each value that was set is a value of a row.

otlp_peer.py BINARY SCRATCH. Each check asserts; the last line says how many there were.
"""

import concurrent.futures
import contextlib
import http.server
import json
import logging
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime, timedelta, timezone

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}
SESSIONS, SPANS_OF_SESSION, PASSED_OVER = 250, 4, 50
BEGUN = 1_769_904_000_000_000_000  # 2026-02-01T00:00:00Z
SECOND = 1_000_000_000
MODELS = ["gpt-4o-2024-08-06", "claude-sonnet-4-5", "gemini-2.5-pro"]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Server:
    """A server of its own root, with a key of each role."""

    def __init__(self, root):
        self.root = root
        self.key = self.keys("writer")
        self.reader = self.keys("reader")
        command = [BINARY, "--data", str(root), "serve", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if line.startswith("listening on "):
                self.url = line.removeprefix("listening on ").strip()
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def keys(self, role):
        command = [BINARY, "--data", str(self.root), "keys", "create", role, "--role", role]
        done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
        return done.stdout.split()[-1]

    def post(self, path, body, content_type):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": content_type, "Accept": "application/json"}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def graphql(self, query):
        answer = self.post("/graphql", json.dumps({"query": query}).encode(), "application/json")
        assert "errors" not in answer, answer
        return answer["data"]

    def sql(self, sql):
        return self.post("/v1/sql", json.dumps({"sql": sql}).encode(), "application/json")

    def end(self):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0


class Sent(SpanExporter):
    """Hands spans on, and keeps them."""

    def __init__(self, exporter):
        self.exporter, self.batches = exporter, []

    def export(self, spans):
        self.batches.append(list(spans))
        return self.exporter.export(spans)

    def shutdown(self):
        self.exporter.shutdown()


def exporter(server, key=None, **options):
    headers = {"authorization": f"Bearer {key or server.key}"}
    return OTLPSpanExporter(endpoint=f"{server.url}/v1/traces", headers=headers, **options)


@contextlib.contextmanager
def tracing(to):
    provider = TracerProvider(resource=Resource.create({"service.name": "shop", "service.version": "1.4.2"}))
    provider.add_span_processor(BatchSpanProcessor(to, max_queue_size=4096, max_export_batch_size=256))
    yield provider.get_tracer("agents", "0.3")
    provider.shutdown()


def session(tracer, number):
    """A question to an agent: it asks a model, which has a tool called, and then asks it again."""
    conversation, agent = f"conversation-{number}", f"agent-{number % 3}"
    model, begun = MODELS[number % len(MODELS)], BEGUN + number * 60 * SECOND + number * 1_000
    shared = {"gen_ai.conversation.id": conversation, "gen_ai.agent.name": agent, "gen_ai.agent.id": f"asst_{number % 3}"}

    def span(operation, name, kind, parent, start, end, attributes, status=None):
        context = set_span_in_context(parent) if parent else None
        of = tracer.start_span(f"{operation} {name}", context, kind, start_time=begun + start)
        of.set_attributes({"gen_ai.operation.name": operation, **shared, **attributes})
        if status:
            of.set_status(status)
        return of, lambda: of.end(end_time=begun + end)

    def chat(parent, start, end, turn):
        attributes = {
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model.rsplit("-", 1)[0],
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": 1_000 + number * 7 + turn,
            "gen_ai.usage.output_tokens": 50 + number,
            "gen_ai.usage.cache_read.input_tokens": number * 7,
            "gen_ai.response.time_to_first_chunk": 0.125 + number / 1_000,
            "gen_ai.response.finish_reasons": ["tool_calls" if turn == 0 else "stop"],
            "gen_ai.request.temperature": 0.7,
            "enduser.id": f"user-{number % 17}",
        }
        failed = turn == 1 and number % 25 == 0
        if failed:
            attributes["error.type"] = "APITimeoutError" if number % 50 == 0 else "500"
        status = Status(StatusCode.ERROR, "no answer of the model") if failed else None
        span("chat", model, SpanKind.CLIENT, parent, start, end, attributes, status)[1]()

    agent_span, end = span("invoke_agent", agent, SpanKind.INTERNAL, None, 0, 10 * SECOND, {"gen_ai.provider.name": "openai"})
    chat(agent_span, SECOND, 3 * SECOND + 123_000, 0)
    tool = {"gen_ai.tool.name": "search_orders", "gen_ai.tool.call.id": f"call_{number}", "shop.found": number % 2 == 0}
    span("execute_tool", "search_orders", SpanKind.INTERNAL, agent_span, 4 * SECOND, 5 * SECOND + number, tool)[1]()
    chat(agent_span, 6 * SECOND, 9 * SECOND, 1)
    end()


def instant(nanoseconds):
    return EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def read_instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def ids(span):
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def expected_call(span):
    of, (trace, number) = span.attributes, ids(span)
    error, latency = of.get("error.type"), (span.end_time - span.start_time) / 1e6
    status = "ok" if error is None else "timeout" if "Timeout" in error else "error"
    return {
        "id": f"{trace}-{number}",
        "at": instant(span.start_time),
        "userId": of["enduser.id"],
        "agentId": of["gen_ai.agent.id"],
        "workflowId": of["gen_ai.conversation.id"],
        "provider": of["gen_ai.provider.name"],
        "model": of["gen_ai.response.model"],
        "operation": "chat",
        "inputTokens": of["gen_ai.usage.input_tokens"],
        "outputTokens": of["gen_ai.usage.output_tokens"],
        "cachedTokens": of["gen_ai.usage.cache_read.input_tokens"],
        "latencyMs": latency,
        "timeToFirstTokenMs": of["gen_ai.response.time_to_first_chunk"] * 1e3,
        "status": status,
        "error": None if error is None else f"{error}: no answer of the model",
        "cost": None,
    }


def expected_step(span):
    of, (trace, number) = span.attributes, ids(span)
    operation = of["gen_ai.operation.name"]
    with_what = {"chat": "gen_ai.request.model", "execute_tool": "gen_ai.tool.name", "invoke_agent": "gen_ai.agent.name"}
    otel = {
        "trace_id": trace,
        "span_id": number,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "status": span.status.status_code.name.lower(),
        "scope": "agents",
        "scope_version": "0.3",
        "resource": dict(span.resource.attributes),
    }
    if span.parent:
        otel["parent_span_id"] = f"{span.parent.span_id:016x}"
    if span.status.description:
        otel["status_message"] = span.status.description
    attributes = {key: list(value) if isinstance(value, tuple) else value for key, value in of.items()}
    return {
        "caseId": of["gen_ai.conversation.id"],
        "activity": f"{operation} {of[with_what[operation]]}",
        "startedAt": instant(span.start_time),
        "endedAt": instant(span.end_time),
        "resource": of["gen_ai.agent.name"],
        "attributes": {**attributes, "otel": otel},
    }


def pages(server, root, columns):
    """All rows of a dataset, page by page."""
    after = ""
    while True:
        data = server.graphql(f"{{ {root}(first: 500{after}) {{ nodes {{ {columns} }} pageInfo {{ hasNextPage endCursor }} }} }}")
        yield from data[root]["nodes"]
        if not data[root]["pageInfo"]["hasNextPage"]:
            return
        after = f", after: {json.dumps(data[root]['pageInfo']['endCursor'])}"


def number_of(value):
    return int(value) if isinstance(value, str) else value


def counts(server):
    data = server.graphql("{ modelCalls { totalCount } workflowSteps { totalCount } }")
    return tuple(int(data[root]["totalCount"]) for root in ("modelCalls", "workflowSteps"))


@check
def every_value_that_was_sent_is_a_value_of_a_row(server, sent):
    spans = [span for batch in sent.batches for span in batch]
    ours = [span for span in spans if "gen_ai.operation.name" in span.attributes]
    assert len(spans) == SESSIONS * SPANS_OF_SESSION + PASSED_OVER and len(ours) == SESSIONS * SPANS_OF_SESSION
    calls = {span["id"]: span for span in map(expected_call, (s for s in ours if s.attributes["gen_ai.operation.name"] == "chat"))}
    columns = " ".join(next(iter(calls.values())))
    found = 0
    for node in pages(server, "modelCalls", columns):
        node["at"] = read_instant(node["at"])
        for column in ("inputTokens", "outputTokens", "cachedTokens"):
            node[column] = number_of(node[column])
        assert node == calls[node["id"]], (node, calls[node["id"]])
        found += 1
    assert found == len(calls) == 2 * SESSIONS, found

    steps = {ids(span): expected_step(span) for span in ours}
    found = 0
    for node in pages(server, "workflowSteps", "caseId activity startedAt endedAt resource attributes"):
        for column in ("startedAt", "endedAt"):
            node[column] = read_instant(node[column])
        if isinstance(node["attributes"], str):
            node["attributes"] = json.loads(node["attributes"])
        otel = node["attributes"]["otel"]
        step = steps[otel["trace_id"], otel["span_id"]]
        assert node == step, (node, step)
        found += 1
    assert found == len(steps), found
    statuses = server.sql("SELECT status, count(*) AS n FROM model_calls GROUP BY status ORDER BY status")
    assert {row["status"]: row["n"] for row in statuses} == {"error": 5, "ok": 490, "timeout": 5}, statuses


@check
def steps_of_a_case_are_in_the_order_of_the_agent(server, sent):
    rows = server.sql(
        "SELECT activity, attributes->'otel'->>'parent_span_id' IS NULL AS is_root FROM workflow_steps "
        "WHERE case_id = 'conversation-7' ORDER BY started_at"
    )
    expected = ["invoke_agent agent-1", "chat claude-sonnet-4", "execute_tool search_orders", "chat claude-sonnet-4"]
    expected = [activity if "chat" not in activity else f"chat {MODELS[1].rsplit('-', 1)[0]}" for activity in expected]
    assert [row["activity"] for row in rows] == expected, rows
    assert [row["is_root"] for row in rows] == [True, False, False, False], rows


@check
def what_is_sent_again_is_there_once(server, sent):
    before = counts(server)
    again = exporter(server, compression=Compression.Gzip)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        results = list(threads.map(again.export, sent.batches * 2))
    assert set(results) == {SpanExportResult.SUCCESS}, results
    assert counts(server) == before


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Hands requests on to the server, and of each first answer its client is told that there is none now."""

    server_url = None
    seen = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = ("Content-Type", "Content-Encoding", "Authorization")
        headers = {name: self.headers[name] for name in names if self.headers[name]}
        request = urllib.request.Request(self.server_url + self.path, data=body, headers=headers)
        with urllib.request.urlopen(request) as answer:
            answered = answer.read()
        times = self.seen[body] = self.seen.get(body, 0) + 1
        self.send_response(503 if times == 1 else 200)
        self.send_header("Content-Length", "0" if times == 1 else str(len(answered)))
        self.end_headers()
        if times > 1:
            self.wfile.write(answered)

    def log_message(self, *_):
        pass


@check
def an_exporter_that_tries_again_doubles_nothing(server, sent):
    before = counts(server)
    Forgetful.server_url = server.url
    between = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    threading.Thread(target=between.serve_forever, daemon=True).start()
    headers = {"authorization": f"Bearer {server.key}"}
    to = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{between.server_port}/v1/traces", headers=headers)
    with tracing(to) as tracer:
        for number in range(1_000, 1_010):
            session(tracer, number)
    between.shutdown()
    assert set(Forgetful.seen.values()) == {2}, Forgetful.seen.values()
    calls, steps = counts(server)
    assert (calls - before[0], steps - before[1]) == (20, 40), (before, calls, steps)


@check
def who_may_not_write_is_refused(server, sent):
    before = counts(server)
    for key in (server.reader, "nobody-at-all-0123456789"):
        assert exporter(server, key).export(sent.batches[0]) == SpanExportResult.FAILURE
    assert counts(server) == before


server = Server(SCRATCH / "root")
# Refusals are what is asked for here.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
sent = Sent(exporter(server))
began = time.perf_counter()
with tracing(sent) as tracer:
    for number in range(SESSIONS):
        session(tracer, number)
    for number in range(PASSED_OVER):
        tracer.start_span("GET /orders", attributes={"http.route": "/orders", "n": number}).end()
took = time.perf_counter() - began
spans = sum(map(len, sent.batches))
print(f"otlp: {spans:,} spans in {len(sent.batches)} requests, {took:.1f} s with what made them")
for function in CHECKS:
    function(server, sent)
    print(f"otlp: {function.__name__.replace('_', ' ')}")
server.end()
print(f"otlp: {len(CHECKS)} checks")
