"""The peer that the golden files were made with: llama.cpp through llama-cpp-python's plain bindings.

    pip install llama-cpp-python==0.3.36      (llama.cpp 0c1e57098; compiled for this machine)

Only the C functions are used, so nothing of the bindings' own sampling or templates takes part.
"""
import ctypes

import llama_cpp
import llama_cpp.llama_cpp as c
import numpy as np

VERSION = "llama.cpp 0c1e57098"  # of llama-cpp-python 0.3.36
QUIET = c.llama_log_callback(lambda level, text, data: None)


def built():
    """Its version, and what of this machine it was compiled to use."""
    has = [part.split("=")[0].strip() for part in c.llama_print_system_info().decode().split("|") if part.strip().endswith("= 1")]
    return f"{VERSION} (llama-cpp-python {llama_cpp.__version__}): {', '.join(has)}"


class Peer:
    def __init__(self, weights, threads=2, context=4096, sequences=1, batch=512, f32_kv=False, packed=True):
        c.llama_log_set(QUIET, ctypes.c_void_p(0))
        c.llama_backend_init()
        of_model = c.llama_model_default_params()
        of_model.use_extra_bufts = packed  # weights in another form than the file's, where it has kernels for one
        self.model = c.llama_model_load_from_file(weights.encode(), of_model)
        assert self.model, weights
        self.vocab = c.llama_model_get_vocab(self.model)
        self.vocab_size = c.llama_vocab_n_tokens(self.vocab)
        params = c.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = sequences > 1
        if f32_kv:  # keys and values in f32, attention not fused: the most exact that the peer offers
            params.type_k = params.type_v = 0
            params.flash_attn_type = 0
        self.context = c.llama_init_from_model(self.model, params)
        assert self.context
        self.batch_size = batch
        self.batch = c.llama_batch_init(batch, 0, 1)

    def tokens(self, text, special):
        raw = text.encode()
        room = len(raw) + 16
        ids = (c.llama_token * room)()
        count = c.llama_tokenize(self.vocab, raw, len(raw), ids, room, False, special)
        assert count >= 0
        return list(ids[:count])

    def begin(self):
        """What a text begins with; negative where it begins with nothing."""
        return c.llama_vocab_bos(self.vocab) if c.llama_vocab_get_add_bos(self.vocab) else -1

    def clear(self):
        c.llama_memory_clear(c.llama_get_memory(self.context), True)

    def step(self, rows):
        """rows: (token, position, sequence, wants logits)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, logits) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        assert c.llama_decode(self.context, batch) == 0

    def prompt(self, ids, sequence=0, start=0):
        for at in range(0, len(ids), self.batch_size):
            part = ids[at:at + self.batch_size]
            self.step([(t, start + at + i, sequence, start + at + i == start + len(ids) - 1) for i, t in enumerate(part)])

    def logits(self, row=-1):
        pointer = c.llama_get_logits_ith(self.context, row)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab_size,)).copy()

    def is_end(self, token):
        return c.llama_vocab_is_eog(self.vocab, token)
