"""What must be marked in this package's golden texts, by the model's own tokenizer and ONNX Runtime from Python:
reference.py FOLDER > golden/texts.expected.json

FOLDER holds network.onnx, tokenizer.json and config.json. Nothing of the appliance is used.
"""
import json, re, sys, tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, here = Path(sys.argv[1]), Path(__file__).parent
manifest = tomllib.loads((here / "pericard-model.toml").read_text())
parameters = manifest["parameters"]
window, overlap = parameters["window_tokens_max"], parameters["window_overlap_tokens"]
labels = [label for _, label in sorted((int(n), label) for n, label in json.loads((folder / "config.json").read_text())["id2label"].items())]
meaning = [None if label == "O" else manifest["outputs"][label[2:]]["concept"]["value"] for label in labels]
concepts = list(dict.fromkeys(word for word in meaning if word))
sums = np.array([[float(word == concept) for concept in concepts] for word in meaning], np.float32)
least = [parameters[concept + "_score_min"] for concept in concepts]
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_truncation()
tokenizer.no_padding()
begin, end = tokenizer.encode("").ids
session = onnxruntime.InferenceSession(str(folder / "network.onnx"), providers=["CPUExecutionProvider"])


def scores(ids):
    kept, at = np.zeros((len(ids), len(concepts)), np.float32), 0
    while ids:
        upto = min(at + window - 2, len(ids))
        row = np.array([[begin, *ids[at:upto], end]], np.int64)
        given = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        logits = session.run(None, given)[0][0][1:-1]
        chances = np.exp(logits - logits.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        kept[at:upto] = np.maximum(kept[at:upto], chances @ sums)
        if upto == len(ids):
            break
        at = upto - overlap
    return kept


def follows(text, stop, start):
    between = text[stop:start]
    initial = text[stop - 1].isalpha() and not text[:stop - 1][-1:].isalnum()
    return re.fullmatch(r"[ \t\u00a0.'’-]*", between) and ("." not in between or initial)


def entities(text):
    read, found = tokenizer.encode(text, add_special_tokens=False), []
    for (start, stop), row in zip(read.offsets, scores(read.ids)):
        concept, score = int(row.argmax()), float(row.max())
        if score < least[concept] or not any(letter.isalnum() for letter in text[start:stop]):
            continue
        while start > 0 and text[start - 1].isalnum():
            start -= 1
        while stop < len(text) and text[stop].isalnum():
            stop += 1
        if found and found[-1][2] == concept and follows(text, found[-1][1], start):
            last = found[-1]
            found[-1] = (last[0], max(last[1], stop), concept, max(last[3], score))
        elif found and start < found[-1][1]:
            last = found[-1]
            found[-1] = (last[0], max(last[1], stop), *((concept, score) if score > last[3] else last[2:]))
        else:
            found.append((start, stop, concept, score))
    place = lambda at: len(text[:at].encode())
    return [{"concept": concepts[c], "start": place(a), "end": place(b), "score": round(s, 4)} for a, b, c, s in found]


if __name__ == "__main__":
    texts = json.loads((here / "golden/texts.json").read_text())["texts"]
    print(json.dumps({"entities": [entities(text) for text in texts]}, indent=1))
