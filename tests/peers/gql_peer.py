"""The PyPI client gql: it reads the schema, checks what it sends against it, asks by HTTP, and follows commits by WebSocket.

Usage: gql_peer.py http://ADDRESS
"""

import asyncio
import json
import sys
import urllib.request

from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport
from gql.transport.websockets import WebsocketsTransport
from graphql import GraphQLError

address = sys.argv[1]


def ingest(series, n):
    row = {"series": series, "at": f"2026-01-01T00:{n:02}:00Z", "value": n + 0.5}
    request = urllib.request.Request(
        f"{address}/v1/ingest/metrics",
        data=(json.dumps(row) + "\n").encode(),
        headers={"content-type": "application/x-ndjson"},
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["accepted"] == 1


def asked_and_refused():
    transport = RequestsHTTPTransport(url=f"{address}/graphql")
    with Client(transport=transport, fetch_schema_from_transport=True) as session:
        query = gql(
            "query($first: Int!) { modelCalls(first: $first, orderBy: [{at: ASC}]) { nodes { id latencyMs } } }"
        )
        query.variable_values = {"first": 3}
        nodes = session.execute(query)["modelCalls"]["nodes"]
        assert [node["id"] for node in nodes] == ["call-0000", "call-0001", "call-0002"], nodes
        try:
            session.execute(gql("{ nothing }"))
            raise AssertionError("the schema it read has no such field")
        except GraphQLError as error:
            assert "nothing" in error.message, error
        try:
            session.execute(gql("{ modelCalls(asOf: {version: 9999}) { version } }"))
            raise AssertionError("there is no such version")
        except TransportQueryError as error:
            assert error.errors[0]["extensions"]["code"] == "NOT_FOUND", error.errors


async def followed():
    url = f"{address}/graphql".replace("http", "ws", 1)
    # Of several protocols it finds the one that was agreed on only where the header's name is spelt with capitals.
    protocols = [WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
    async with Client(transport=WebsocketsTransport(url=url, subprotocols=protocols)) as session:
        query = gql('subscription { metricsChanged(where: {series: {eq: "gql"}}) { added { nodes { value } } } }')
        seen = []

        async def send():
            for n in range(60):
                await asyncio.to_thread(ingest, "gql", n)
                await asyncio.sleep(0.3)

        # What commits before the subscription is there is not told.
        sending = asyncio.create_task(send())
        async for change in session.subscribe(query):
            seen += [node["value"] for node in change["metricsChanged"]["added"]["nodes"]]
            if len(seen) >= 2:
                break
        sending.cancel()
        assert seen[1] == seen[0] + 1, seen


asked_and_refused()
asyncio.run(followed())
print("gql: ok")
