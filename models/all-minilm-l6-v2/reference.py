"""The golden vectors of this package, computed with numpy alone: reference.py FOLDER > golden/texts.expected.json

FOLDER holds model.safetensors, tokenizer.json and config.json. Nothing of the appliance is used.
"""
import json, math, struct, sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
raw = (folder / "model.safetensors").read_bytes()
length = struct.unpack("<Q", raw[:8])[0]
weights = {}
for name, entry in json.loads(raw[8:8 + length]).items():
    if name != "__metadata__" and entry["dtype"] == "F32":
        start, end = entry["data_offsets"]
        weights[name] = np.frombuffer(raw[8 + length + start:8 + length + end], "<f4").reshape(entry["shape"]).astype(np.float64)

erf = np.vectorize(math.erf)


def linear(name, rows):
    return rows @ weights[name + ".weight"].T + weights[name + ".bias"]


def norm(name, rows):
    centred = rows - rows.mean(-1, keepdims=True)
    spread = np.sqrt((centred ** 2).mean(-1, keepdims=True) + config["layer_norm_eps"])
    return centred / spread * weights[name + ".weight"] + weights[name + ".bias"]


def vector(ids):
    heads = config["num_attention_heads"]
    width = config["hidden_size"] // heads
    rows = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:len(ids)]
    rows = norm("embeddings.LayerNorm", rows + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        query, key, value = (linear(at + "attention.self." + part, rows).reshape(len(ids), heads, width).transpose(1, 0, 2)
                             for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(width)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        seen = (scores @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        rows = norm(at + "attention.output.LayerNorm", linear(at + "attention.output.dense", seen) + rows)
        hidden = linear(at + "intermediate.dense", rows)
        hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
        rows = norm(at + "output.LayerNorm", linear(at + "output.dense", hidden) + rows)
    mean = rows.mean(0)
    return mean / np.linalg.norm(mean)


tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_truncation()
tokenizer.no_padding()
texts = json.loads((Path(__file__).parent / "golden/texts.json").read_text())["texts"]
encoded = [tokenizer.encode(text).ids for text in texts]
print(json.dumps({"vectors": [[round(float(v), 7) for v in vector(ids)] for ids in encoded], "tokens": sum(map(len, encoded))}))
