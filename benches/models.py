"""GGUF files of random weights: real dimensions and mixes of forms for speed, small ones of every family for arithmetic.

    python benches/models.py 1b /tmp/1b.gguf          (the shape of Llama 3.2 1B, 0.8 GB; 7b: Mistral 7B, 7b-qwen2: Qwen 2 7B)
    python benches/models.py tiny-gemma3 /tmp/tiny.gguf

Speed does not depend on the values of weights, so no download is needed to measure a shape. The same name gives the same
bytes. Needs gguf==0.19.0 and numpy.
"""
import argparse
import dataclasses

import numpy as np
from gguf import GGMLQuantizationType as Q, GGUFWriter, TokenType
from gguf.quants import quant_shape_to_byte_shape


@dataclasses.dataclass
class Shape:
    arch: str
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int = 320
    context: int = 512
    base: float = 10_000.0
    form: Q = Q.Q8_0
    head_form: Q | None = None  # of the head, and of the embedding where that is the head too; the form where nothing is said
    tied: bool = False
    factors: bool = False  # Llama 3's rope_freqs.weight
    window: int = 0
    mix: bool = False  # attn_v and ffn_down of half of the layers in Q6_K, as Q4_K_M has it


SHAPES = {
    "1b": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128_256, 8192, 500_000.0, Q.Q4_K, Q.Q6_K, tied=True, factors=True, mix=True),
    "7b": Shape("llama", 32, 4096, 14_336, 32, 8, 128, 32_768, 8192, 1e6, Q.Q4_K, Q.Q6_K, mix=True),
    "7b-qwen2": Shape("qwen2", 28, 3584, 18_944, 28, 4, 128, 152_064, 32_768, 1e6, Q.Q4_K, Q.Q6_K, mix=True),
    "1b-q8": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128_256, 8192, 500_000.0, Q.Q8_0, tied=True, factors=True),
    "tiny-llama": Shape("llama", 2, 64, 96, 4, 2, 16),
    "tiny-llama3": Shape("llama", 2, 64, 96, 2, 1, 32, base=500_000.0, tied=True, factors=True),
    "tiny-mistral": Shape("llama", 2, 64, 96, 2, 2, 64, base=1e6, form=Q.Q5_0),
    "tiny-qwen2": Shape("qwen2", 2, 64, 96, 4, 2, 16, base=1e6, form=Q.Q4_1),
    "tiny-qwen3": Shape("qwen3", 2, 64, 96, 2, 1, 64, base=1e6, tied=True, form=Q.Q5_1),
    "tiny-gemma3": Shape("gemma3", 7, 64, 96, 2, 1, 32, base=1e6, tied=True, window=24, form=Q.Q4_0),
    "tiny-phi3": Shape("phi3", 2, 64, 96, 4, 4, 16),
    "tiny-k4": Shape("llama", 1, 256, 256, 4, 2, 64, form=Q.Q4_K, head_form=Q.Q6_K, mix=True, tied=True),
    "tiny-k5": Shape("qwen2", 1, 256, 256, 4, 2, 64, form=Q.Q5_K, tied=True),
    "tiny-k3": Shape("llama", 1, 256, 256, 4, 2, 64, form=Q.Q3_K, head_form=Q.Q2_K, tied=True),
    "tiny-f16": Shape("llama", 2, 64, 96, 4, 2, 16, form=Q.F16, tied=True),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("shape", choices=SHAPES)
    arguments.add_argument("out")
    options = arguments.parse_args()
    write(options.shape, options.out)


def write(name, path):
    shape = SHAPES[name]
    writer = GGUFWriter(path, shape.arch)
    describe(writer, shape)
    vocabulary(writer, shape)
    parts = list(tensors(shape))
    for tensor, rows, inputs, form, _ in parts:
        dims = (rows, inputs) if rows else (inputs,)
        form = form or Q.F32
        kind = {Q.F16: np.float16, Q.F32: np.float32}.get(form)
        stored = quant_shape_to_byte_shape(dims, form) if kind is None else dims
        size = int(np.prod(stored)) * (np.dtype(kind).itemsize if kind else 1)
        writer.add_tensor_info(tensor, stored, np.dtype(kind or np.uint8), size, None if kind else form)
    if shape.factors:
        factors = llama3_factors(shape).astype(np.float32)
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    source = np.random.default_rng(sum(name.encode()))
    for _, rows, inputs, form, gain in parts:  # one after the other: a large model need not fit into memory
        writer.write_tensor_data(values(source, rows, inputs, form, gain))
    if shape.factors:
        writer.write_tensor_data(factors)
    writer.close()


def values(source, rows, inputs, form, gain):
    if rows == 0:  # a vector
        return (source.normal(0, 0.1, inputs) + gain).astype(np.float32)
    if form in (Q.F16, Q.F32):
        return source.normal(0, gain / np.sqrt(inputs), (rows, inputs)).astype(np.float16 if form == Q.F16 else np.float32)
    return blocks(source, form, rows, inputs, gain / np.sqrt(inputs))


def describe(writer, shape):
    writer.add_name("random weights")  # a peer reads more into names that it knows
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(shape.base)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_vocab_size(shape.vocabulary)
    if shape.window:
        writer.add_sliding_window(shape.window)


def vocabulary(writer, shape):
    """The bytes, words that nobody writes, and what ends a text."""
    letters = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or 174 <= c]
    others = [c for c in range(256) if c not in letters]
    texts = [chr(c) for c in letters] + [chr(256 + i) for i in range(len(others))]
    texts.append("th")  # what the one merge makes
    texts += [f"word{i}" for i in range(shape.vocabulary - len(texts) - 1)] + ["<|endoftext|>"]
    kinds = [TokenType.NORMAL] * (len(texts) - 1) + [TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(len(texts) - 1)
    writer.add_bos_token_id(len(texts) - 1)
    writer.add_add_bos_token(False)


def tensors(shape):
    """Name, rows (0: a vector), inputs, form, and the size of its values."""
    head = shape.head_form or shape.form
    queries, pairs = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    matrix = lambda name, rows, inputs, form=shape.form: (f"{name}.weight", rows, inputs, form, 1.0)
    yield ("token_embd.weight", shape.vocabulary, shape.width, head if shape.tied else shape.form, 4.0)
    if not shape.tied:
        yield matrix("output", shape.vocabulary, shape.width, head)
    yield ("output_norm.weight", 0, shape.width, None, 1.0)
    for layer in range(shape.layers):
        at = f"blk.{layer}."
        better = Q.Q6_K if shape.mix and gets_more_bits(layer, shape.layers) else shape.form
        norms = ["attn_norm", "ffn_norm"] + (["post_attention_norm", "post_ffw_norm"] if shape.arch == "gemma3" else [])
        for norm in norms:
            yield (f"{at}{norm}.weight", 0, shape.width, None, 1.0)
        if shape.arch == "phi3":
            yield matrix(f"{at}attn_qkv", queries + 2 * pairs, shape.width)
            yield matrix(f"{at}ffn_up", 2 * shape.hidden, shape.width)
        else:
            yield matrix(f"{at}attn_q", queries, shape.width)
            yield matrix(f"{at}attn_k", pairs, shape.width)
            yield matrix(f"{at}attn_v", pairs, shape.width, better)
            yield matrix(f"{at}ffn_gate", shape.hidden, shape.width)
            yield matrix(f"{at}ffn_up", shape.hidden, shape.width)
        if shape.arch == "qwen2":
            for part, width in (("attn_q", queries), ("attn_k", pairs), ("attn_v", pairs)):
                yield (f"{at}{part}.bias", 0, width, None, 0.0)
        if shape.arch in ("qwen3", "gemma3"):
            for part in ("attn_q_norm", "attn_k_norm"):
                yield (f"{at}{part}.weight", 0, shape.head_width, None, 1.0)
        yield matrix(f"{at}attn_output", shape.width, queries)
        yield matrix(f"{at}ffn_down", shape.width, shape.hidden, better)


def gets_more_bits(layer, layers):
    """As llama.cpp chooses the layers: the first and last eighth, and every third between."""
    eighth = layers // 8
    return layers < 4 or layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def blocks(source, form, rows, inputs, size):
    """Random blocks of a form whose values have about the standard deviation `size` and no mean."""
    wide = 256 if form.name.endswith("_K") else 32
    count = rows * (inputs // wide)
    noise = lambda bytes_: source.integers(0, 256, (count, bytes_), dtype=np.uint8)
    half = lambda value: np.full((count, 1), value, np.float16).view(np.uint8)
    parts = {
        Q.Q4_0: lambda: [half(size / 4.6), noise(16)],
        Q.Q4_1: lambda: [half(size / 4.6), half(-7.5 * size / 4.6), noise(16)],
        Q.Q5_0: lambda: [half(size / 9.2), noise(20)],
        Q.Q5_1: lambda: [half(size / 9.2), half(-15.5 * size / 9.2), noise(20)],
        Q.Q8_0: lambda: [half(size / 74), noise(32)],
        Q.Q2_K: lambda: [noise(16), noise(64), half(size / 14), half(1.5 * size / 14)],
        Q.Q3_K: lambda: [noise(32), noise(64), noise(12), half(size / 43)],
        Q.Q4_K: lambda: [half(size / 260), half(7.5 * size / 260), noise(12), noise(128)],
        Q.Q5_K: lambda: [half(size / 530), half(15.5 * size / 530), noise(12), noise(32), noise(128)],
        Q.Q6_K: lambda: [noise(128), noise(64), noise(16), half(size / 1350)],
    }
    return np.concatenate(parts[form](), axis=1).reshape(rows, -1)


def llama3_factors(shape):
    """As Llama 3.1 and 3.2 have them: long waves are stretched eight times, short ones left, the rest between."""
    factor, low, high, original = 8.0, 1.0, 4.0, shape.context / 16
    pairs = np.arange(0, shape.head_width, 2) / shape.head_width
    waves = 2 * np.pi * shape.base**pairs
    smooth = np.clip((original / waves - low) / (high - low), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)


if __name__ == "__main__":
    main()
