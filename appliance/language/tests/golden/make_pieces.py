"""pieces.json: a vocabulary that sentencepiece learned from this project's own texts, and the ids that it gives to others.

    pip install sentencepiece==0.2.3
    python make_pieces.py
"""
import io
import json
import pathlib
import random

import sentencepiece

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
SIZE = 900
TEXTS = ["README.md", "appliance/README.md", "packaging/README.md", "firmware-config/README.md"]
HARD = [
    "", " ", "  ", "a", " a", "a ", "\n", "\n\n", "\t", " \n ", "a  b", "a   b    c", "▁", "a▁b", "Ärzte", "Grüße", "żółć",
    "放射線科", "胸部X線", "рентген", "أشعة", "🫀", "❤️🫁", "e\u0301", "\u00a0", "\u200b", "\ufeff", "\x00", "\x7f", "<s>", "</s>", "<unk>",
    "<0x41>", "<0x", "[INST]", "12 mm", "3.5 cm x 2,1 cm", "1234567890", "0000", "C3/C4", "T2*", "µg/mL", "≥ 5", "±", "a" * 100,
    "the " * 50, "No pneumothorax.", "No change in the small right pneumothorax.", "IMPRESSION:\n1. Normal.\n2. None.",
]


def texts():
    """The hard ones, and pieces of what it did not learn from."""
    draw = random.Random(7)
    yield from HARD
    code = (ROOT / "appliance/language/src/tokenizer.rs").read_text() + (ROOT / "benches/README.md").read_text()
    for _ in range(200):
        start = draw.randrange(len(code) - 300)
        yield code[start:start + draw.randrange(1, 200)]


def kind(model, number):
    if model.is_byte(number):
        return "byte"
    return "none" if model.is_control(number) or model.is_unknown(number) or model.is_unused(number) else "piece"


def main():
    learned = io.BytesIO()
    lines = [line for name in TEXTS for line in (ROOT / name).read_text().splitlines()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=learned, model_type="bpe", vocab_size=SIZE, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False, num_threads=1,
        split_digits=True, allow_whitespace_only_pieces=True)
    model = sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())
    pieces = [[model.id_to_piece(i), model.get_score(i), kind(model, i)] for i in range(model.get_piece_size())]
    cases = [[text, model.encode(text)] for text in texts()]
    row = lambda value: json.dumps(value, ensure_ascii=False)
    (HERE / "pieces.json").write_text(
        '{"pieces": [\n' + ",\n".join(map(row, pieces)) + '\n],\n"cases": [\n' + ",\n".join(map(row, cases)) + "\n]}\n")


if __name__ == "__main__":
    main()
