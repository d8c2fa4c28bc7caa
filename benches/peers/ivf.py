import os

import faiss
import numpy as np


def load(folder, sizes):
    faiss.omp_set_num_threads(int(os.environ["BENCH_THREADS"]))
    cols, k, checked = sizes["cols"], sizes["k"], sizes["checked"]
    x = np.fromfile(f"{folder}/x.f32", dtype=np.float32).reshape(sizes["rows"], cols)
    q = np.fromfile(f"{folder}/q.f32", dtype=np.float32).reshape(sizes["queries"], cols)
    flat = faiss.IndexFlatL2(cols)
    flat.add(x)
    exact = flat.search(q[:checked], k)[1]

    def build():
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(cols), cols, sizes["lists"])
        index.cp.niter = 10
        index.cp.max_points_per_centroid = 128
        index.train(x)
        index.add(x)
        index.nprobe = sizes["probes"]
        return index

    def recall(found):
        hits = sum(len(np.intersect1d(ours, theirs)) for ours, theirs in zip(found[:checked], exact))
        return hits / exact.size

    index = build()
    load.recall = lambda result: recall(
        result if isinstance(result, np.ndarray) else result.search(q[:checked], k)[1]
    )
    return {
        ("ivf build", "faiss"): build,
        ("ivf search", "faiss"): lambda: index.search(q, k)[1],
    }


def sample(case, result):
    return [load.recall(result)]
