"""Makes tokens.json and greedy.json: what llama.cpp says of the same GGUF.

    python make_golden.py SmolLM2-135M-Instruct.Q4_1.gguf

needs llama-cpp-python==0.3.36 (peer.py), gguf==0.19.0, jinja2 and numpy, and 600 MB of disk for a while.

greedy.json holds every answer twice. "peer" is llama.cpp with the file as it is. It rounds activations to eight bits,
which makes its logits depend on how the prompt is cut into batches (up to 0.95 for these prompts), so no other
program can follow it to the last token. "exact" is llama.cpp with the same weights written out as f32, keys and values
in f32 and attention not fused: what the file says, without anybody's rounding.
"""
import json
import random
import sys
import tempfile

import jinja2
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize
from peer import Peer

GENERATED_TOKENS = 64
KEPT_LOGITS = 32


def main(weights):
    peer = Peer(weights)
    with open("tokens.json", "w") as out:
        write(out, [{"text": t, "ids": peer.tokens(t, special=True)} for t in texts()])
    template = chat_template(weights)
    cases = []
    for messages in conversations():
        text = template.render(messages=messages, add_generation_prompt=True)
        cases.append({"messages": messages, "prompt": text, "prompt_ids": peer.tokens(text, special=True)})
    for case in cases:
        case["peer"] = greedy(peer, case["prompt_ids"])
    with tempfile.NamedTemporaryFile(suffix=".gguf") as expanded:
        expand(weights, expanded.name)
        exact = Peer(expanded.name, f32_kv=True)
        for case in cases:
            case["exact"] = greedy(exact, case["prompt_ids"])
    with open("greedy.json", "w") as out:
        write(out, cases)


def write(out, cases):
    out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


def expand(weights, path):
    """The same model with every weight as f32."""
    reader = GGUFReader(weights)
    text = lambda key: bytes(reader.fields[key].parts[reader.fields[key].data[0]]).decode()
    writer = GGUFWriter(path, text("general.architecture"))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def chat_template(weights):
    field = GGUFReader(weights).fields["tokenizer.chat_template"]
    source = bytes(field.parts[field.data[0]]).decode()
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)


def greedy(peer, ids):
    peer.clear()
    peer.prompt(ids)
    first = peer.logits()
    top = first.argsort()[::-1][:KEPT_LOGITS]
    output, gaps, seconds = [], [], []
    logits = first
    while len(output) < GENERATED_TOKENS:
        best, second = logits.argpartition(-2)[-2:][::-1]
        best, second = (best, second) if logits[best] >= logits[second] else (second, best)
        output.append(int(best))
        gaps.append(round(float(logits[best] - logits[second]), 5))
        seconds.append(int(second))
        if peer.is_end(int(best)):
            break
        peer.step([(int(best), len(ids) + len(output) - 1, 0, True)])
        logits = peer.logits()
    return {
        "output_ids": output,
        "gaps": gaps,
        "second_ids": seconds,
        "first_logits": [[int(i), round(float(first[i]), 4)] for i in top],
    }


def conversations():
    user = lambda text: [{"role": "user", "content": text}]
    report = (
        "CT thorax with contrast. No pulmonary embolism. A 6 mm nodule in the right upper lobe, unchanged since 2024. "
        "No pleural effusion. Heart size normal. Degenerative changes of the thoracic spine."
    )
    return [
        user("What is the capital of France?"),
        user("Summarise this report in one sentence: " + report),
        user("List three causes of chest pain."),
        user("Translate to German: The patient has no fever."),
        user("Write a Python function that adds two numbers."),
        user("What is 17 + 25?"),
        user("Explain what a pneumothorax is to a patient."),
        user("Schreibe einen Satz über das Wetter in München."),
        user("Name the four chambers of the heart."),
        user("Correct the spelling: teh hart is enlargd."),
        [{"role": "system", "content": "You answer in one word."}, {"role": "user", "content": "Is water wet?"}],
        [{"role": "system", "content": "You are a radiology assistant. Be brief."}, {"role": "user", "content": report}],
        user("Why is the sky blue?"),
        user("Give me a haiku about the sea."),
        user("What does the abbreviation COPD stand for?"),
        user("Complete: The quick brown fox"),
        [
            {"role": "user", "content": "My name is Anna."},
            {"role": "assistant", "content": "Hello Anna, how can I help you?"},
            {"role": "user", "content": "What is my name?"},
        ],
        user("Convert to JSON: name Maria, age 54, ward 3B."),
        user("Is a heart rate of 140 beats per minute at rest normal for an adult?"),
        user(" ".join([report] * 12) + " How large is the nodule?"),
    ]


def texts():
    rng = random.Random(7)
    fixed = [
        "", " ", "  ", "\n", "\n\n", "\t", " \n ", "a", " a", "a ", "  a", "a  b", "a   b    c",
        "Hello, world!", "hello world", "HELLO WORLD", "Hello\nworld", "Hello\r\nworld", "Hello\n\n\nworld", "tab\tseparated\tvalues",
        "It's, I'm, you're, we've, they'll, he'd, don't", "IT'S I'M YOU'RE WE'VE", "the patient's", "'s 't 're 've 'm 'll 'd", "O'Brien's",
        "1", "12", "123", "1234", "12345", "3.14159", "1,234,567.89", "2024-11-23T17:59:23Z", "a1b2c3", "x=10", "10mg", "120/80 mmHg", "H2O", "CO₂ 38 mmHg", "²³¹Pa", "½ ⅓ ¾", "١٢٣ ४५६", "Ⅳ Ⅻ",
        "Fall 3,5 cm; SUV 4.2", "HbA1c 7.2 %", "pO2 68 mmHg, pCO2 41 mmHg, pH 7.38", "C3–C4", "T2*-weighted", "L4/L5", "ICD-10: J18.9", "(0008,0060)", "1.2.840.10008.5.1.4.1.1.2",
        "The lungs are clear. No pleural effusion or pneumothorax.", "Impression: 1. No acute abnormality. 2. Stable 6 mm nodule.",
        "Cardiac silhouette is enlarged.\n\nThere is mild interstitial oedema.", "Pt. c/o SOB x3d, afebrile, SpO2 91% RA.",
        "FINDINGS:\n- liver: normal\n- spleen: 12.4 cm\n- kidneys: no hydronephrosis", "No evidence of metastatic disease (cT1a cN0 cM0).",
        "Der Patient klagt über Übelkeit und Schwäche.", "Größe der Läsion: 12 × 8 mm, Äußeres unauffällig.", "Süß, Öl, Ärzte, ÄRZTE, STRASSE, Straße", "Befund: Kein Nachweis einer frischen Fraktur.", "Grüße aus Köln",
        "L'échographie abdominale est normale.", "Œdème pulmonaire aigu, dyspnée d'effort", "Où ça fait mal ? À gauche.", "naïve façade coöperate", "El corazón está bien. ¿Dolor? ¡Sí!",
        "Пациент жалуется на боль в груди.", "Ο ασθενής έχει πυρετό.", "المريض يعاني من ألم في الصدر", "החולה מתלונן על כאב", "रोगी को बुखार है", "ผู้ป่วยมีไข้", "bệnh nhân bị sốt",
        "患者主诉胸痛三天。", "患者は胸痛を訴えています。", "ひらがな カタカナ 漢字", "환자는 흉통을 호소합니다.", "中文English混合123テスト", "　全角　スペース　", "ＡＢＣ１２３",
        "😀", "😀😃😄", "👩‍⚕️ doctor", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️ heart", "a😀b", "🩻 x-ray 🫀", "👍🏽",
        "def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) { a[i] *= 2; }", "SELECT * FROM t WHERE a='b';", "<html><body class=\"x\">&amp;</body></html>", "{\"a\": [1, 2, {\"b\": null}]}",
        "fn main() { println!(\"{}\", 1u32 << 4); }", "https://example.org/path?q=1&r=2#frag", "user@example.org", "C:\\Program Files\\x", "/var/lib/x/y.z", "snake_case camelCase PascalCase kebab-case", "a+b=c; a!=b; a<=b; a&&b||c", "\\n \\t \\\\", "```rust\nlet x = 1;\n```", "# Title\n\n* item\n* item\n",
        "...", "!!!???", "—–-", "“quoted” ‘single’ „deutsch“ «french»", "§ 5 Abs. 2", "€100 £5 ¥300 $9.99", "a…b", "±0.5 µm ≤ 3 °C ≥ 2", "α β γ Δ Σ", "∀x∈ℝ: x²≥0", "→ ← ↑ ↓", "™ ® ©", "* * *", "----------", "==========", "_____", "(((())))", "[[[]]]",
        "\x00", "\x01\x02\x03", "a\x00b", "\x7f", "\x1b[31mred\x1b[0m", "\u00a0nbsp\u00a0", "\u200bzero\u200bwidth", "\ufeffbom", "e\u0301 combining", "\u0301", "A\u030a Å Å", "ﬁ ligature", "\u2028\u2029", "\u3000", "\u0085next", "\U0010ffff", "\ue000 private",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "a<|im_end|>b", "<|im_start", "<|im_start|>", "<|im_start|><|im_end|>", " <|im_end|> ", "<repo_name>x<file_sep>y", "<|im_|im_end|>end|>",
        " " * 7, " " * 33, "\n" * 9, "\t\t\t", " \t \n \r\n ", "x" + " " * 20 + "y", "    indented\n        more\n", "trailing   ", "\r", "\r\r\n\n", "word\u00a0word", "a\n b\n  c",
        "supercalifragilisticexpialidocious", "Donaudampfschifffahrtsgesellschaftskapitän", "Lungenembolieausschlussuntersuchung", "pneumonoultramicroscopicsilicovolcanoconiosis", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab", "ZZZZZZ", "qwxzj", "0000000000", "9" * 40,
    ]
    pieces = ["the", "heart", " ", "  ", "\n", "42", "3.5", "mm", "Läsion", "病変", "😀", "'s", "!", "?", "_", "-", "É", "ß", "\t", "AND", "foo_bar", "(", ")", "º", "í", "й", "ا"]
    while len(fixed) < 230:
        fixed.append("".join(rng.choice(pieces) for _ in range(rng.randint(3, 30))))
    return fixed


if __name__ == "__main__":
    main(sys.argv[1])
