"""What a GPU takes for the cases of `colonnade-gpu-package --only benches` with PyTorch, CuPy, scikit-learn, stumpy and transformers.

`peers.py [--limit SECONDS] [CASE ...]`: each case runs in a process of its own with a time limit, or with 0 for it all in
this one, which is faster; one JSON object a line. Times: `seconds` from data in main memory to results in main memory, `kernel_seconds` by events around the work on
the device. Both are medians after one call that is not counted. Where a case is smaller than ours, `share` says how
much of the work was done.
"""

import json
import subprocess
import sys
import time

ROUNDS = 3


def device():
    import torch

    return torch.cuda.get_device_name(0)


def median(values):
    return sorted(values)[len(values) // 2]


def timed(whole, inside, rounds=ROUNDS):
    """Medians of `whole()` by the clock and of `inside()` by events, each after one call that warms up."""
    import torch

    seconds, kernels = [], []
    for round in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        result = whole()
        torch.cuda.synchronize()
        if round:
            seconds.append(time.perf_counter() - start)
        del result
    for round in range(rounds + 1 if inside else 0):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        result = inside()
        end.record()
        torch.cuda.synchronize()
        if round:
            kernels.append(start.elapsed_time(end) * 1e-3)
        del result
    return {"seconds": median(seconds), "kernel_seconds": median(kernels) if kernels else None}


def ceilings(tell):
    import torch

    def events(run, rounds=10):
        run()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(rounds):
            run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) * 1e-3 / rounds

    a = torch.randn(1 << 30, device="cuda")
    b = torch.empty_like(a)
    copy = events(lambda: b.copy_(a))
    pinned = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
    there = a.view(torch.uint8)[: 1 << 30]
    up, down = events(lambda: there.copy_(pinned, non_blocking=True), 3), events(
        lambda: pinned.copy_(there, non_blocking=True), 3
    )
    found = {
        "copy_tb_per_s": 2 * a.numel() * 4 / copy / 1e12,
        "to_device_gb_per_s": (1 << 30) / up / 1e9,
        "from_device_gb_per_s": (1 << 30) / down / 1e9,
    }
    del a, b
    n = 8192
    for name, dtype, tf32 in [
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("fp16", torch.float16, False),
        ("bf16", torch.bfloat16, False),
    ]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        x, y = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
        found[f"{name}_tflops"] = 2 * n**3 / events(lambda: x @ y) / 1e12
    tell(found)


def correlate(tell):
    """4,096 x 1,048,576: rows made standard, their products, the 100 strongest; in fp32 and in TF32."""
    import torch

    rows, cols = 4096, 1 << 20
    there = torch.rand(rows, cols, device="cuda")
    x = there.cpu()

    def strongest(x):
        # In parts: the standard rows of all would not fit beside x twice.
        total = torch.zeros(rows, rows, device="cuda")
        mean = x.mean(1, keepdim=True)
        square = torch.zeros(rows, 1, device="cuda")
        for part in x.split(1 << 16, 1):
            part = part - mean
            square += (part * part).sum(1, keepdim=True)
            total.addmm_(part, part.T)
        total /= square.sqrt() * square.sqrt().T
        upper = torch.triu(total, 1).flatten()
        strength, at = upper.abs().topk(100)
        return upper[at].cpu(), at.cpu()

    sample = slice(0, 64)
    exact = torch.corrcoef(there[sample].double())
    for name, tf32 in [("fp32", False), ("tf32", True)]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        part = there[sample] - there[sample].mean(1, keepdim=True)
        norm = (part * part).sum(1).sqrt()
        worst = ((part @ part.T) / norm / norm[:, None] - exact).abs().max().item()
        found = timed(lambda: strongest(x.cuda()), lambda: strongest(there), 1)
        tell({"peer": f"torch {name}", "size": f"{rows} x {cols}", "worst": worst, **found})


def rolling(tell):
    """The rolling median alone, of 1,000 rows of 100,000: ours gives the MAD besides."""
    import cupy
    import torch
    from cupyx.scipy.ndimage import median_filter

    rows, cols, window = 1000, 8760, 168
    there = torch.rand(rows, cols, device="cuda")
    x = there.cpu()

    def by_unfold(x):
        return torch.cat([part.unfold(1, window, 1).median(2).values for part in x.split(50)])

    tell({
        "peer": "torch unfold, median",
        "share": rows / 100_000,
        **timed(lambda: by_unfold(x.cuda()).cpu(), lambda: by_unfold(there), 1),
    })
    values = cupy.asarray(there[:100])

    def by_filter():
        found = median_filter(values, size=(1, window))
        cupy.cuda.runtime.deviceSynchronize()
        return found

    by_filter()
    start = time.perf_counter()
    by_filter()
    tell({"peer": "cupyx median_filter", "share": 100 / 100_000, "kernel_seconds": time.perf_counter() - start})


def nearest(tell):
    """50,000 queries of 1,000,000 x 384 with the ten nearest of all rows, a part of the scores at a time."""
    import torch

    rows, cols, count = 1_000_000, 384, 50_000
    there = torch.rand(rows, cols, device="cuda") - 0.5
    x = there.cpu()

    def search(x, dtype):
        x = torch.nn.functional.normalize(x).to(dtype)
        scores, at = [], []
        for first in range(0, count, 5000):
            part = x[first : first + 5000] @ x.T
            part[torch.arange(len(part)), torch.arange(first, first + len(part))] = -2
            best, where = part.topk(10)
            scores.append(best)
            at.append(where)
        return torch.cat(scores).cpu(), torch.cat(at).cpu()

    torch.backends.cuda.matmul.allow_tf32 = False
    exact = search(there[:200_000].contiguous(), torch.float32)[1]
    for name, dtype, tf32 in [
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("fp16", torch.float16, False),
    ]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        found = search(there[:200_000].contiguous(), dtype)[1]
        alike = (found[:, :, None] == exact[:, None, :]).any(2).float().mean().item()
        times = timed(lambda: search(x.cuda(), dtype), lambda: search(there, dtype), 1)
        tell({"peer": f"torch {name}, topk", "share": count / rows, "recall_of_fp32": alike, **times})


def kmeans(tell):
    """Lloyd's ten iterations, 1,000,000 x 384, 1,024 clusters from sampled rows."""
    import torch

    rows, cols, clusters = 1_000_000, 384, 1024
    there = torch.rand(rows, cols, device="cuda")
    x = there.cpu()

    def labels(x, centres):
        half = 0.5 * (centres * centres).sum(1)
        return torch.cat([(half - part @ centres.T).argmin(1) for part in x.split(1 << 17)])

    def lloyd(x):
        centres = x[torch.randperm(rows, device="cuda")[:clusters]].clone()
        for _ in range(10):
            label = labels(x, centres)
            sums = torch.zeros_like(centres).index_add_(0, label, x)
            counts = torch.bincount(label, minlength=clusters).clamp(min=1)
            centres = sums / counts[:, None]
        return labels(x, centres).cpu(), centres.cpu()

    for name, tf32 in [("fp32", False), ("tf32", True)]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        tell({"peer": f"torch {name}", **timed(lambda: lloyd(x.cuda()), lambda: lloyd(there))})


def isolation_forest(tell):
    """scikit-learn on all cores, a tenth of the rows."""
    import numpy as np
    from sklearn.ensemble import IsolationForest

    x = np.random.default_rng(1).random((1_000_000, 16), dtype=np.float32)
    start = time.perf_counter()
    IsolationForest(n_estimators=100, max_samples=256, n_jobs=-1, random_state=1).fit(x).score_samples(x)
    tell({"peer": "scikit-learn, every core", "share": 0.1, "seconds": time.perf_counter() - start})


def matrix_profile(tell):
    """stumpy on the GPU, in f64; 131,072 points, so 1/58 of the pairs of 1,000,000."""
    import numpy as np
    import stumpy

    points = 1 << 17
    x = np.random.default_rng(1).random(points)
    stumpy.gpu_stump(x[:5000], 256)
    start = time.perf_counter()
    stumpy.gpu_stump(x, 256)
    tell({"peer": "stumpy.gpu_stump", "share": (points / 1e6) ** 2, "seconds": time.perf_counter() - start})


def encoder(tell):
    """An encoder of the size of all-MiniLM-L6-v2: texts of 32 tokens, mean pooling; tokens are made before."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    count, batch = 100_000, 2000
    tokens = torch.randint(0, 30522, (count, 32))
    for name, dtype, tf32 in [
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
    ]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        model = BertModel(config, add_pooling_layer=False).eval().cuda().to(dtype)

        @torch.inference_mode()
        def embed():
            found = []
            for part in tokens.split(batch):
                part = part.cuda(non_blocking=True)
                hidden = model(input_ids=part, attention_mask=torch.ones_like(part)).last_hidden_state
                found.append(torch.nn.functional.normalize(hidden.float().mean(1)))
            return torch.cat(found).cpu()

        times = timed(embed, None)
        tell({"peer": f"transformers {name}", "texts_per_s": count / times["seconds"], **times})


CASES = [ceilings, correlate, rolling, nearest, kmeans, isolation_forest, matrix_profile, encoder]


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--case"]:
        case = next(case for case in CASES if case.__name__ == arguments[1])
        case(lambda found: print(json.dumps({"case": case.__name__, **found}), flush=True))
        return
    limit = 120
    if arguments[:1] == ["--limit"]:
        limit, arguments = float(arguments[1]), arguments[2:]
    print(json.dumps({"device": device()}), flush=True)
    failed = False
    for case in CASES:
        if arguments and case.__name__ not in arguments:
            continue
        try:
            if limit == 0:
                import torch

                torch.cuda.empty_cache()
                torch.backends.cuda.matmul.allow_tf32 = False
                case(lambda found: print(json.dumps({"case": case.__name__, **found}), flush=True))
                continue
            subprocess.run([sys.executable, __file__, "--case", case.__name__], timeout=limit, check=True)
        except Exception as error:
            failed = True
            print(json.dumps({"case": case.__name__, "error": str(error)}), flush=True)
    sys.exit(failed)


main()
