"""What the peer's workers run: the same trivial query as ours, on the database that also has the queue."""

import os
import time

import kombu.transport.sqlalchemy
from celery import Celery
from sqlalchemy import create_engine, text

# By default it looks once a second; as an option it would be handed on to SQLAlchemy, which does not know it.
kombu.transport.sqlalchemy.Transport.polling_interval = 0.02
app = Celery(broker="sqla+" + os.environ["PEER_URL"], backend="db+" + os.environ["PEER_RESULTS"])
app.conf.update(
    # As ours: a run whose worker is gone is taken over.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    database_engine_options={"pool_pre_ping": True},
)
engines = {}


@app.task
def answer(n):
    started = time.time()
    url = os.environ["PEER_RESULTS"]
    if url not in engines:
        engines[url] = create_engine(url)
    with engines[url].connect() as connection:
        found = connection.execute(text("SELECT :n AS n"), {"n": n}).scalar()
    return [started, int(found), time.time()]
