"""The PyPI client gql with its reconnecting session. Prints each version that it reads as a line of JSON.

Usage: subscriber.py http://ADDRESS SINCE
"""

import asyncio
import json
import random
import sys

from gql import Client, gql
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.websockets import WebsocketsTransport
from tenacity import retry, wait_random

address, last = sys.argv[1], int(sys.argv[2])
QUERY = """subscription($since: Int) {
  eventsChanged(since: $since) { version previousVersion added { count nodes(first: 1000) { id } } }
}"""


def write(line):
    print(json.dumps(line), flush=True)


async def follow():
    global last
    url = f"{address}/graphql".replace("http", "ws", 1)
    protocols = [WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
    client = Client(transport=WebsocketsTransport(url=url, subprotocols=protocols))
    # A restart takes about a second. By default, each attempt doubles the wait.
    reconnect = retry(wait=wait_random(0.1, 0.3))
    session = await client.connect_async(reconnecting=True, retry_connect=reconnect)
    while True:
        try:
            query = gql(QUERY)
            query.variable_values = {"since": last}
            async for data in session.subscribe(query):
                change = data["eventsChanged"]
                last = int(change["version"])
                ids = [node["id"] for node in change["added"]["nodes"]]
                write({"version": last, "previous": int(change["previousVersion"]), "ids": ids})
            # The server sent `complete`.
            write({"ended": "complete"})
            return
        except TransportConnectionFailed as error:
            cause = error.__cause__
            code = getattr(getattr(cause, "rcvd", None), "code", None)
            write({"again": True, **({"code": code} if code else {})})
            await asyncio.sleep(random.uniform(0.1, 0.3))
        except Exception as error:  # noqa: BLE001: whatever it is, the subscription is over
            write({"ended": "error", "error": repr(error)})
            return


asyncio.run(follow())
