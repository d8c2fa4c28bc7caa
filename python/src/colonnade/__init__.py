"""Datasets, results and live changes of Colonnade as Arrow, Polars and pandas.

>>> import colonnade
>>> client = colonnade.connect()
>>> client.table("model_calls", where="cost > 0.01").to_pandas()
"""

from ._client import Client, Datasets, connect
from ._errors import (
    BadInput,
    Broken,
    ColonnadeError,
    Conflict,
    Forbidden,
    LimitExceeded,
    NotFound,
    RunFailed,
    Unauthenticated,
    Unavailable,
)
from ._exports import Export
from ._ingest import Receipt, Writer
from ._rows import Rows
from ._runs import Run
from ._watch import Change, Watch

__all__ = [
    "BadInput",
    "Broken",
    "Change",
    "Client",
    "ColonnadeError",
    "Conflict",
    "Datasets",
    "Export",
    "Forbidden",
    "LimitExceeded",
    "NotFound",
    "Receipt",
    "Rows",
    "Run",
    "RunFailed",
    "Unauthenticated",
    "Unavailable",
    "Watch",
    "Writer",
    "connect",
]
__version__ = "0.1.0"
