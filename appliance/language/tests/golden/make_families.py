"""Small models of every family and llama.cpp's logits for them: families/*.gguf and families.json.

    python make_families.py      (needs what benches/agreement.py needs)

llama.cpp reads the same weights as f32, so that it rounds nothing.
"""
import json
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "benches"))
import models  # noqa: E402
from make_golden import expand  # noqa: E402
from peer import Peer  # noqa: E402

NAMES = ["llama3", "mistral", "qwen2", "qwen3", "gemma3", "phi3", "k4"]
POSITIONS = [0, 30, 95]


def main():
    cases = []
    for name in NAMES:
        weights = str(HERE / "families" / f"{name}.gguf")
        models.write(f"tiny-{name}", weights)
        tokens = [(i * 37 + i * i) % 319 for i in range(96)]
        with tempfile.NamedTemporaryFile(suffix=".gguf") as plain:
            expand(weights, plain.name)
            peer = Peer(plain.name, context=512, f32_kv=True)
        peer.step([(token, i, 0, True) for i, token in enumerate(tokens)])
        logits = {i: [round(float(value), 4) for value in peer.logits(i)] for i in POSITIONS}
        cases.append({"name": name, "tokens": tokens, "logits": logits})
    (HERE / "families.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
