"""Times one search after another, and counts what each finds of the true nearest."""

import http.client
import itertools
import json
import os
import subprocess
import sys
import time

# Its index builder warns a thousand times a second otherwise.
os.environ.setdefault("LANCE_LOG", "error")
import faiss
import lancedb
import lancedb.index
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from usearch.index import Index, MetricKind, search as usearch_exact

BINARY, SCRATCH = sys.argv[1:]
ROWS = int(os.environ.get("ROWS", 1_000_000))
DIMENSIONS = int(os.environ.get("DIMENSIONS", 384))
QUERIES = int(os.environ.get("QUERIES", 200))
THREADS = int(os.environ.get("BENCH_THREADS", 2))
HNSW = os.environ.get("HNSW") == "1"
PEERS = os.environ.get("PEERS") != "0"
MIN_RECALL = 0.95
K, TEAMS, TEAM, WARM_UP = 10, 10, 3, 5
DATA = f"{SCRATCH}/data"


def main():
    faiss.omp_set_num_threads(THREADS)
    print(f"{ROWS} vectors of {DIMENSIONS}, {QUERIES} queries, k {K}, {THREADS} threads; "
          f"the filter takes {100 // TEAMS} % of the rows")
    x, q = vectors()
    teams = np.arange(ROWS) * 7919 % TEAMS
    allowed = np.flatnonzero(teams == TEAM)
    truth = nearest(x, q, np.arange(ROWS)), nearest(x, q, allowed)
    peers = itertools.chain(faiss_searches(x, allowed), usearch_searches(x), lance(x, teams))
    searches = itertools.chain(ours(x, teams), peers if PEERS else ())
    for name, search in searches:
        for filtered, expected in zip((False, True), truth):
            report(name, filtered, search, q, expected)


def vectors():
    """Vectors that vary in 40 directions, in each less than in the one before, and a little in all others, as those
    of texts do; queries of the same kind."""
    random = np.random.default_rng(42)
    directions = random.standard_normal((40, DIMENSIONS), dtype=np.float32)
    directions /= np.sqrt(np.arange(1, 41, dtype=np.float32))[:, None]

    def draw(count):
        v = random.standard_normal((count, len(directions)), dtype=np.float32) @ directions
        v += 0.3 * random.standard_normal(v.shape, dtype=np.float32)
        return np.ascontiguousarray(v / np.linalg.norm(v, axis=1, keepdims=True))

    return draw(ROWS), draw(QUERIES)


def nearest(x, q, rows):
    """The score of the k-th nearest of `rows` to each query, in 64 bits, and all scores' way to be checked."""
    worst = np.empty(len(q))
    for at in range(0, len(q), 20):
        scores = x[rows] @ q[at:at + 20].T
        worst[at:at + 20] = np.partition(scores, -K, axis=0)[-K]
    return worst, x, set(rows.tolist()) if len(rows) < len(x) else None


def report(name, filtered, search, q, expected):
    worst, x, allowed = expected
    times, hits = [], 0
    try:
        for at in range(-WARM_UP, len(q)):
            start = time.perf_counter()
            found = search(q[at], filtered)
            seconds = time.perf_counter() - start
            if found is None:
                return
            if at < 0:
                continue
            times.append(seconds)
            found = np.asarray(found[:K], dtype=np.int64)
            found = found[found >= 0]  # faiss fills up with -1
            assert allowed is None or all(row in allowed for row in found.tolist()), name
            hits += int((x[found] @ q[at] >= worst[at] - 1e-5).sum())
    except Exception as problem:
        print(f"{name:28} {'filter' if filtered else 'all':8} failed: {problem}")
        return
    p50, p95 = (1000 * np.percentile(times, p) for p in (50, 95))
    print(f"{name:28} {'filter' if filtered else 'all':8} p50 {p50:8.2f} ms  p95 {p95:8.2f} ms  "
          f"recall@{K} {hits / K / len(q):.4f}", flush=True)


def colonnade(*arguments):
    start = time.perf_counter()
    done = subprocess.run([BINARY, *arguments, "--data", DATA], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: {done.stderr}")
    return time.perf_counter() - start, done.stdout


def ours(x, teams):
    ids = pa.array([f"d{row:07}" for row in range(len(x))])
    with open(f"{SCRATCH}/docs.toml", "w") as file:
        file.write('name = "docs"\nkey = ["id"]\ncolumns = [{name = "id", type = "text"}, '
                   '{name = "team", type = "int64"}]\n')
    with open(f"{SCRATCH}/embeddings.toml", "w") as file:
        file.write('name = "embeddings"\npartition_by = [{column = "source"}]\ncolumns = ['
                   '{name = "source", type = "text"}, {name = "id", type = "text"}, '
                   '{name = "embedder", type = "text"}, {name = "text_hash", type = "text"}, '
                   f'{{name = "vector", type = "vector({DIMENSIONS})"}}]\n')
    pq.write_table(pa.table({"id": ids, "team": teams}), f"{SCRATCH}/docs.parquet")
    writer, part = None, 100_000
    for at in range(0, len(x), part):
        rows = x[at:at + part]
        lists = pa.ListArray.from_arrays(
            pa.array(np.arange(0, rows.size + 1, DIMENSIONS, dtype=np.int32)), pa.array(rows.ravel()))
        same = lambda value: pa.array([value] * len(rows))
        table = pa.table({"source": same("docs"), "id": ids[at:at + part], "embedder": same("bench@1"),
                          "text_hash": same(""), "vector": lists})
        writer = writer or pq.ParquetWriter(f"{SCRATCH}/embeddings.parquet", table.schema)
        writer.write_table(table)
    writer.close()
    for name in ("docs", "embeddings"):
        seconds, _ = colonnade("ingest", name, f"{SCRATCH}/{name}.parquet", "--spec", f"{SCRATCH}/{name}.toml")
        print(f"ours: ingest {name} {seconds:.1f} s")
        os.remove(f"{SCRATCH}/{name}.parquet")
    seconds, record = colonnade("run", "vector_index", "--param", "dataset=docs", "--json")
    summary = json.loads(record)["summary"]
    print(f"ours: vector_index {seconds:.1f} s, {summary['probes']} of {summary['lists']} lists, "
          f"recall {summary['recall']:.4f}")
    server = subprocess.Popen([BINARY, "serve", "--data", DATA, "--listen", "127.0.0.1:0"],
                              stderr=subprocess.PIPE, text=True)
    address = next(line.split("http://")[1].strip() for line in server.stderr if "listening on http://" in line)
    connection = http.client.HTTPConnection(address)
    query = ("query($v: Vector!, $where: DocsWhere, $exact: Boolean) { docsSimilar(to: {vector: $v}, k: %d, "
             "where: $where, exact: $exact) { method matches { score node { id } } } }" % K)

    def post(query, variables):
        body = json.dumps({"query": query, "variables": variables})
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        if "errors" in answer:
            raise RuntimeError(answer["errors"][0]["message"])
        return answer["data"]

    def search(exact):
        def ask(vector, filtered):
            where = {"team": {"eq": str(TEAM)}} if filtered else None
            found = post(query, {"v": vector.tolist(), "where": where, "exact": exact})
            return [int(match["node"]["id"][1:]) for match in found["docsSimilar"]["matches"]]

        return ask

    def look_up(random):
        """Seconds for as many rows as a search answers with, without a search."""
        rows = {"ids": [f"d{row:07}" for row in random.choice(len(x), K, replace=False)]}
        start = time.perf_counter()
        found = post("query($ids: [String!]) { docs(where: {id: {in: $ids}}) { nodes { id } } }", rows)
        assert len(found["docs"]["nodes"]) == K
        return time.perf_counter() - start

    try:
        start = time.perf_counter()
        search(True)(x[0], False)
        print(f"ours: first exact search, which reads the vectors, {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        search(False)(x[0], False)
        print(f"ours: first approximate search, which reads the index, {time.perf_counter() - start:.1f} s")
        with open(f"/proc/{server.pid}/status") as status:
            peak = next(line for line in status if line.startswith("VmHWM"))
        print("ours: server", " ".join(peak.split()))
        random = np.random.default_rng(7)
        times = [look_up(random) for _ in range(WARM_UP + QUERIES)][WARM_UP:]
        p50, p95 = (1000 * np.percentile(times, p) for p in (50, 95))
        print(f"ours: {K} rows by id, no search: p50 {p50:.2f} ms  p95 {p95:.2f} ms")
        yield "ours, exact, GraphQL", search(True)
        yield "ours, ivf, GraphQL", search(False)
    finally:
        server.terminate()
        server.wait()


def faiss_searches(x, allowed):
    selector = faiss.IDSelectorBatch(allowed)
    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(x)

    def exact(vector, filtered):
        parameters = faiss.SearchParameters(sel=selector) if filtered else None
        return flat.search(vector[None], K, params=parameters)[1][0]

    yield "faiss IndexFlatIP", exact
    lists = round(4 * len(x) ** 0.5)
    start = time.perf_counter()
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIMENSIONS), DIMENSIONS, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = 10, 128
    index.train(x)
    index.add(x)
    built = time.perf_counter() - start
    sample = x[:: len(x) // 500]
    truth = flat.search(sample, K)[0][:, -1:]
    probes = 1
    while probes < lists and (index_scores(index, sample, probes) >= truth - 1e-5).mean() < MIN_RECALL:
        probes *= 2
    print(f"faiss: IndexIVFFlat {built:.1f} s, {probes} of {lists} lists")

    def approximate(vector, filtered):
        parameters = faiss.SearchParametersIVF(nprobe=probes, **({"sel": selector} if filtered else {}))
        return index.search(vector[None], K, params=parameters)[1][0]

    yield "faiss IndexIVFFlat", approximate


def index_scores(index, sample, probes):
    return index.search(sample, K, params=faiss.SearchParametersIVF(nprobe=probes))[0]


def usearch_searches(x):
    yield "usearch exact", lambda v, filtered: (
        None if filtered else usearch_exact(x, v[None], K, MetricKind.IP, exact=True, threads=THREADS).keys.ravel())
    if HNSW:
        start = time.perf_counter()
        index = Index(ndim=DIMENSIONS, metric="ip", dtype="f32")
        index.add(np.arange(len(x)), x, threads=THREADS)
        print(f"usearch: HNSW {time.perf_counter() - start:.1f} s")
        yield "usearch HNSW", lambda v, filtered: None if filtered else index.search(v, K, threads=THREADS).keys


def lance(x, teams):
    database = lancedb.connect(f"{SCRATCH}/lance")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), DIMENSIONS)
    start = time.perf_counter()
    table = database.create_table("docs", pa.table({"id": np.arange(len(x)), "team": teams, "vector": vectors}))
    print(f"LanceDB: write {time.perf_counter() - start:.1f} s")

    def search(exact, probes):
        def ask(vector, filtered):
            asked = table.search(vector).distance_type("dot").limit(K).select(["id", "_distance"])
            asked = asked.bypass_vector_index() if exact else asked.nprobes(probes)
            if filtered:
                asked = asked.where(f"team = {TEAM}", prefilter=True)
            return asked.to_arrow()["id"].to_pylist()

        return ask

    yield "LanceDB, exact", search(True, 1)
    lists = round(4 * len(x) ** 0.5)
    start = time.perf_counter()
    table.create_index("vector", config=lancedb.index.IvfFlat(distance_type="dot", num_partitions=lists))
    print(f"LanceDB: IVF_FLAT {time.perf_counter() - start:.1f} s, {lists} lists")
    for probes in (16, 64):
        yield f"LanceDB, ivf, {probes} lists", search(False, probes)


main()
