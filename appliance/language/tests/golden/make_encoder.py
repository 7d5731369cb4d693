"""A small BERT of random weights as GGUF, and what it makes of texts: encoder.gguf and encoder.json.

    python make_encoder.py       (needs gguf==0.19.0, tokenizers and numpy)

The ids are those of `tokenizers` for the vocabulary as BERT's own files write it; the vectors are numpy's, in double precision, of
the weights as they are read back from the file. Nothing of the appliance is used.
"""
import json
import math
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as Q, GGUFReader, GGUFWriter, PoolingType, TokenType
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as Decoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HIDDEN, LAYERS, HEADS, POSITIONS = 32, 64, 2, 2, 48
EPSILON = 1e-12
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the heart is of normal size no effusion pleural lung nodule right left upper lobe 6 mm stable in a patient".split()
PIECES = "s ed ing ion al mal dia cardi thor ax ic um eff us".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = ".,:;-()[]/'心"
VOCABULARY = list(dict.fromkeys(
    SPECIAL + ["[unused0]"] + list(LETTERS + MARKS) + WORDS + ["cardi", "thor", "a"]
    + ["##" + piece for piece in [*LETTERS, *PIECES]]))
TEXTS = [
    "The heart is of normal size.",
    "No pleural effusions; a 6 mm nodule in the right upper lobe, stable.",
    "",
    "CARDIOMEGALY (thoracic)",
    "Cardiómegàly: naïve façade",
    "心 the patient's \t lung\u0000s\u200b\n",
    "effusion [SEP] nodule [unused0]",
    "x" * 101 + " lung",
    "☃ heart",
]


def phantom(token):
    if token in SPECIAL:
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def write(path):
    source = np.random.default_rng(7)
    writer = GGUFWriter(path, "bert")
    writer.add_name("random weights")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([phantom(token) for token in VOCABULARY])
    writer.add_token_types([TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in VOCABULARY])
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_bos_token_id(2)  # what current converters call it

    def tensor(name, dims, gain, form=Q.F32, mean=0.0):
        values = (source.normal(0, gain, dims) + mean).astype(np.float32)
        writer.add_tensor(name, quantize(values, form), raw_dtype=form)

    def linear(name, out, of, form):
        tensor(f"{name}.weight", (out, of), 1.5 / math.sqrt(of), form)
        tensor(f"{name}.bias", (out,), 0.1)

    def norm(name):
        tensor(f"{name}.weight", (WIDTH,), 0.1, mean=1.0)
        tensor(f"{name}.bias", (WIDTH,), 0.1)

    tensor("token_embd.weight", (len(VOCABULARY), WIDTH), 1.0, Q.Q8_0)
    tensor("position_embd.weight", (POSITIONS, WIDTH), 0.3)
    tensor("token_types.weight", (2, WIDTH), 0.3)
    norm("token_embd_norm")
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        for part, form in [("attn_q", Q.F16), ("attn_k", Q.BF16), ("attn_v", Q.F16), ("attn_output", Q.Q5_0)]:
            linear(at + part, WIDTH, WIDTH, form)
        norm(at + "attn_output_norm")
        linear(at + "ffn_up", HIDDEN, WIDTH, Q.Q4_0)
        linear(at + "ffn_down", WIDTH, HIDDEN, Q.Q4_1)
        norm(at + "layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rows(weights, ids):
    def linear(name, of):
        return of @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(name, of):
        centred = of - of.mean(-1, keepdims=True)
        spread = np.sqrt((centred ** 2).mean(-1, keepdims=True) + EPSILON)
        return centred / spread * weights[name + ".weight"] + weights[name + ".bias"]

    erf = np.vectorize(math.erf)
    of = weights["token_embd.weight"][ids] + weights["position_embd.weight"][:len(ids)] + weights["token_types.weight"][0]
    of = norm("token_embd_norm", of)
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        query, key, value = (linear(at + part, of).reshape(len(ids), HEADS, WIDTH // HEADS).transpose(1, 0, 2)
                             for part in ("attn_q", "attn_k", "attn_v"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(WIDTH // HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        seen = (scores @ value).transpose(1, 0, 2).reshape(len(ids), WIDTH)
        of = norm(at + "attn_output_norm", linear(at + "attn_output", seen) + of)
        hidden = linear(at + "ffn_up", of)
        hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
        of = norm(at + "layer_output_norm", linear(at + "ffn_down", hidden) + of)
    return of


def tokenizer():
    made = Tokenizer(WordPiece({token: id for id, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer = BertNormalizer(lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    made.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.decoder = Decoder()
    made.add_special_tokens(SPECIAL)
    return made


def main():
    path = str(HERE / "encoder.gguf")
    write(path)
    weights = {tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float64) for tensor in GGUFReader(path).tensors}
    words = tokenizer()
    unit = lambda vector: [round(float(v), 6) for v in vector / np.linalg.norm(vector)]
    cases = []
    for text in TEXTS:
        ids = words.encode(text).ids
        of = rows(weights, ids)
        cases.append({"text": text, "ids": ids, "mean": unit(of.mean(0)), "first": unit(of[0])})
    (HERE / "encoder.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
