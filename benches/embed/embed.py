"""Times one embedder after another on the same texts, in turn, and compares their vectors."""

import csv
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np
import onnxruntime
import torch
from sentence_transformers import SentenceTransformer

DATA, SCRATCH = map(pathlib.Path, sys.argv[1:3])
OURS = sys.argv[sys.argv.index("--") + 1:]
ROUNDS = int(os.environ.get("ROUNDS", 3))
THREADS = int(os.environ["OMP_NUM_THREADS"])
BATCHES = (32, 128)


def main():
    torch.set_num_threads(THREADS)
    texts = read_texts()
    pathlib.Path(os.environ["COLONNADE_TEXTS"]).write_text(json.dumps(texts))
    model = SentenceTransformer(str(published_folder()), device="cpu")
    model.max_seq_length = 256
    session = exported(model)
    runs = {"ours": lambda: ours()}
    for batch in BATCHES:
        runs[f"sentence-transformers, batches of {batch}"] = timed(
            lambda batch=batch: model.encode(texts, batch_size=batch, normalize_embeddings=True))
        runs[f"onnxruntime, batches of {batch}"] = timed(lambda batch=batch: by_onnx(session, model, texts, batch))
    rates = {name: [] for name in runs}
    vectors = {}
    for round in range(ROUNDS):
        for name in sorted(runs, reverse=round % 2 == 1):
            time.sleep(0.5)
            seconds, answer = runs[name]()
            rates[name].append(len(texts) / seconds)
            if answer is not None:
                vectors[name] = answer
    first = next(iter(vectors.values()))
    worst = min(float((first * other).sum(axis=1).min()) for other in vectors.values())
    print(f"{len(texts)} texts of Banking77 and CLINC, {THREADS} threads, medians of {ROUNDS} rounds; "
          f"the peers' vectors agree to a cosine of {worst:.6f}")
    middle = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in middle.items():
        print(f"| {name} | {rate:.0f} texts/s | {middle['ours'] / rate:.2f}x |")


def read_texts():
    with open(DATA / "banking77/train.csv", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    clinc = json.loads(next((DATA / "clinc_small").glob("data_small*.json")).read_text())
    return texts + [text for part in sorted(clinc) for text, _ in clinc[part]]


def published_folder():
    """The model as its authors' code takes it."""
    kept = pathlib.Path(os.environ["COLONNADE_MINILM"])
    folder = SCRATCH / "published"
    folder.mkdir()
    shutil.copy(kept / "tokenizer.json", folder)
    shutil.copy(next(kept.glob("*.safetensors")), folder / "model.safetensors")
    wrap = {
        "config.json": {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384,
                        "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
                        "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2,
                        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True,
                                  "model_max_length": 256, "pad_token": "[PAD]", "cls_token": "[CLS]",
                                  "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"},
    }
    for name, content in wrap.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def exported(model):
    """The encoder as ONNX, all of its optimisations on."""
    encoder = model[0].auto_model.eval()
    path = str(SCRATCH / "encoder.onnx")
    names = ["input_ids", "attention_mask"]
    example = torch.ones((2, 8), dtype=torch.int64)
    axes = {name: {0: "texts", 1: "tokens"} for name in [*names, "hidden"]}

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = encoder

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    torch.onnx.export(Encoder(), (example, example), path, input_names=names, output_names=["hidden"],
                      dynamic_axes=axes, opset_version=17, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def by_onnx(session, model, texts, batch):
    """Sorted by length, as sentence-transformers does it."""
    tokenizer = model.tokenizer
    order = np.argsort([-len(text) for text in texts])
    answer = np.empty((len(texts), 384), np.float32)
    for start in range(0, len(texts), batch):
        rows = order[start:start + batch]
        tokens = tokenizer([texts[row] for row in rows], padding=True, truncation=True, max_length=256,
                           return_tensors="np")
        mask = tokens["attention_mask"]
        hidden, = session.run(None, {"input_ids": tokens["input_ids"].astype(np.int64),
                                     "attention_mask": mask.astype(np.int64)})
        summed = (hidden * mask[..., None]).sum(axis=1)
        answer[rows] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return answer


def timed(work):
    def run():
        start = time.perf_counter()
        answer = work()
        return time.perf_counter() - start, np.asarray(answer)
    return run


def ours():
    output = subprocess.run(OURS, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r": ([0-9.]+) s \(", output)[-1]), None


main()
