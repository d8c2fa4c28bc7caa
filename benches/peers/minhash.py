import numpy as np
from datasketch import MinHash, MinHashLSH
from rensa import RMinHash, RMinHashLSH

THRESHOLD = 0.6


def load(folder, sizes):
    functions = sizes["functions"]
    offsets = np.fromfile(f"{folder}/offsets.i64", dtype=np.int64)
    with open(f"{folder}/texts.bin", "rb") as file:
        data = file.read()
    texts = [data[a:b].decode() for a, b in zip(offsets, offsets[1:])]

    def characters(texts):
        return [{text[at : at + 5] for at in range(len(text) - 4)} for text in texts]

    def words(texts):
        return [set(text.split()) for text in texts]

    def datasketch(shingles):
        encoded = [[shingle.encode() for shingle in text] for text in shingles]
        return MinHash.bulk(encoded, num_perm=functions)

    def rensa(shingles):
        return RMinHash.digest_matrix_from_token_sets(shingles, functions, 1)

    def check(candidates, shingles):
        kept = []
        for a, b in candidates:
            jaccard = len(shingles[a] & shingles[b]) / len(shingles[a] | shingles[b])
            if jaccard >= THRESHOLD:
                kept.append(jaccard)
        return kept

    def datasketch_pairs():
        shingles = characters(texts)
        lsh = MinHashLSH(threshold=THRESHOLD, num_perm=functions)
        candidates = set()
        for row, signature in enumerate(datasketch(shingles)):
            candidates.update((other, row) for other in lsh.query(signature))
            lsh.insert(row, signature)
        return check(candidates, shingles)

    def rensa_pairs():
        shingles = characters(texts)
        signatures = RMinHash.from_token_sets(shingles, functions, 1)
        lsh = RMinHashLSH(threshold=THRESHOLD, num_perm=functions, num_bands=32)
        candidates = set()
        for row, signature in enumerate(signatures):
            candidates.update((other, row) for other in lsh.query(signature))
            lsh.insert(row, signature)
        return check(candidates, shingles)

    peers = {
        ("similar pairs, 5 characters", "datasketch, LSH"): datasketch_pairs,
        ("similar pairs, 5 characters", "rensa, LSH"): rensa_pairs,
    }
    for case, cut in [("minhash, 5 characters", characters), ("minhash, 1 word", words)]:
        made = cut(texts)
        hashes = RMinHash.hash_token_sets(made)
        flat = np.array([hash for row in hashes for hash in row], dtype=np.uint64)
        ends = np.cumsum([0] + [len(row) for row in hashes]).astype(np.uint64)
        peers |= {
            (case, "datasketch"): lambda cut=cut: datasketch(cut(texts)),
            (case, "datasketch, shingles made before"): lambda made=made: datasketch(made),
            (case, "rensa"): lambda cut=cut: rensa(cut(texts)),
            (case, "rensa, shingles made before"): lambda made=made: rensa(made),
            (case, "rensa, hashes made before"): lambda flat=flat, ends=ends: (
                RMinHash.digest_matrix_from_flat_token_hashes(flat, ends, functions, 1)
            ),
        }
    return peers


def sample(case, result):
    if case.startswith("similar"):
        return [len(result), np.mean(result)]
    if isinstance(result, list):
        rows = np.array([signature.hashvalues for signature in result])
    else:
        rows = np.array(result.to_rows())
    pairs = len(rows) // 2
    estimates = (rows[0 : 2 * pairs : 2] == rows[1 : 2 * pairs : 2]).mean(axis=1)
    return [estimates[group::16].mean() for group in range(16)]
