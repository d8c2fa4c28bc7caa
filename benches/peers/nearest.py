import os

import faiss
import numpy as np
from usearch.index import MetricKind, search

THREADS = int(os.environ["BENCH_THREADS"])
# Rows of scores that numpy holds at a time: 100,000 scores of each query do not fit in memory at once.
BLOCK = 256


def load(folder, sizes):
    cols, k = sizes["dimensions"], sizes["k"]
    base = np.fromfile(f"{folder}/base.f32", np.float32).reshape(-1, cols)
    queries = np.fromfile(f"{folder}/queries.f32", np.float32).reshape(-1, cols)
    faiss.omp_set_num_threads(THREADS)
    product, distance = faiss.IndexFlatIP(cols), faiss.IndexFlatL2(cols)
    product.add(base)
    distance.add(base)

    few = queries[: sizes["few"]]

    def by_usearch():
        found = search(base, few, k, MetricKind.IP, exact=True, threads=THREADS)
        return 1.0 - found.distances, found.keys

    def by_numpy():
        scores, rows = np.empty((len(few), k), np.float32), np.empty((len(few), k), np.int64)
        for first in range(0, len(few), BLOCK):
            block = few[first : first + BLOCK] @ base.T
            best = np.argpartition(block, -k, axis=1)[:, -k:]
            values = np.take_along_axis(block, best, axis=1)
            order = np.argsort(-values, axis=1)
            scores[first : first + BLOCK] = np.take_along_axis(values, order, axis=1)
            rows[first : first + BLOCK] = np.take_along_axis(best, order, axis=1)
        return scores, rows

    return {
        ("nearest, dot", "faiss IndexFlatIP"): lambda: product.search(queries, k),
        ("nearest, dot, few queries", "faiss IndexFlatIP"): lambda: product.search(few, k),
        ("nearest, dot, few queries", "usearch exact"): by_usearch,
        ("nearest, dot, few queries", "numpy"): by_numpy,
        ("nearest, squared L2, few queries", "faiss IndexFlatL2"): lambda: distance.search(few, k),
    }


def sample(case, result):
    scores, rows = result
    step = max(1, len(scores) // 64)
    return [*rows[::step, 0], *scores[::step].ravel()]
