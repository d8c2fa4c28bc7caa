import os

import faiss
import numpy as np
from sklearn.cluster import KMeans


def load(folder, sizes):
    faiss.omp_set_num_threads(int(os.environ["BENCH_THREADS"]))
    rows, cols, iterations = sizes["rows"], sizes["cols"], sizes["iterations"]
    x = np.fromfile(f"{folder}/x.f32", dtype=np.float32).reshape(rows, cols)
    x64 = x.astype(np.float64)

    def by_faiss(clusters):
        def run():
            means = faiss.Kmeans(
                cols, clusters, niter=iterations, max_points_per_centroid=rows, min_points_per_centroid=1
            )
            means.train(x, init_centroids=x[:clusters])
            # Training ends with an update: the labels of its centres take a search.
            distances, labels = means.index.search(x, 1)
            return float(distances.sum(dtype=np.float64)) / x.size

        return run

    def by_sklearn(x, clusters):
        def run():
            means = KMeans(
                clusters, init=x[:clusters], n_init=1, max_iter=iterations, tol=0, algorithm="lloyd"
            ).fit(x)
            return means.inertia_ / x.size

        return run

    return {
        ("kmeans f32", "faiss"): by_faiss(sizes["clusters"]),
        ("kmeans f32", "scikit-learn"): by_sklearn(x, sizes["clusters"]),
        ("kmeans f32, few clusters", "faiss"): by_faiss(sizes["few"]),
        ("kmeans f32, few clusters", "scikit-learn"): by_sklearn(x, sizes["few"]),
        ("kmeans f64", "scikit-learn"): by_sklearn(x64, sizes["clusters"]),
    }


def sample(case, result):
    return [result]
