import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components


def load(folder, sizes):
    pairs = np.fromfile(f"{folder}/pairs.u32", dtype=np.uint32).reshape(-1, 2).astype(np.int32)
    nodes = sizes["nodes"]

    def matrix():
        ones = np.ones(len(pairs), dtype=np.int8)
        return csr_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(nodes, nodes))

    made = matrix()
    case = "connected components"
    return {
        (case, "scipy"): lambda: connected_components(matrix(), directed=False),
        (case, "scipy, matrix made before"): lambda: connected_components(made, directed=False),
    }


def sample(case, result):
    count, labels = result
    sizes = np.bincount(labels)
    largest = np.argmax(sizes)
    return [count, sizes[largest], np.flatnonzero(labels == largest).sum()]
