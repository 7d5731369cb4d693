"""Answers held to JSON schemas, judged by a validator that shares nothing with us: schemas.py BASE TOKEN CA MODEL COUNT."""
import concurrent.futures, json, sys
import jsonschema, openai

base, token, ca, model, count = sys.argv[1:]
http = openai.DefaultHttpxClient(verify=ca, trust_env=False, timeout=240)
client = openai.OpenAI(base_url=base, api_key=token, http_client=http, max_retries=0)

def thing(properties, **more):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False, **more}

def few(items, least=1, most=3):
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}

def words(most):
    return {"type": "string", "minLength": 1, "maxLength": most}

def whole(least, most):
    return {"type": "integer", "minimum": least, "maximum": most}

ORGAN = {"enum": ["heart", "lung", "liver"]}
# Each is bounded, so that no answer is cut off before its end.
SCHEMAS = [
    thing({"organ": ORGAN, "size_mm": whole(0, 99), "urgent": {"type": "boolean"}}),
    thing({"finding": thing({"organ": ORGAN, "where": thing({"side": {"enum": ["left", "right"]}, "zone": whole(1, 3)})})}),
    few(thing({"organ": ORGAN, "text": words(20)})),
    thing({"first": {"$ref": "#/$defs/organ"}, "all": few({"$ref": "#/$defs/organ"})}, **{"$defs": {"organ": ORGAN}}),
    {"$ref": "#/$defs/part", "$defs": {"part": thing({"organ": ORGAN, "within": {"anyOf": [{"type": "null"}, thing({"organ": ORGAN})]}})}},
    thing({"size": {"anyOf": [whole(1, 300), {"const": "not measured"}, {"type": "null"}]}}),
    {"type": "object", "properties": {"organ": ORGAN, "note": words(16)}, "required": ["organ"], "additionalProperties": False},
    thing({"ratio": {"type": "number", "minimum": 0, "maximum": 1}, "offset": {"type": "integer", "exclusiveMinimum": -50, "exclusiveMaximum": 50}}),
    thing({"code": {"type": "string", "pattern": "^[A-Z][0-9]{2}(\\.[0-9])?$"}}),
    thing({"on": {"type": "string", "format": "date"}, "id": {"type": "string", "format": "uuid"}}),
    {"type": "array", "prefixItems": [ORGAN, whole(0, 9), {"type": "boolean"}], "items": False, "minItems": 3, "maxItems": 3},
    thing({"kind": {"const": "draft"}, "version": {"const": 1}, "by": {"enum": ["model", "person", None]}}),
    thing({"organ": {"enum": ["Herz \u2013 linker Vorhof", "c\u0153ur", "\u809d\u81d3"]}, "sign": {"enum": ["\u2265", '"', "\\", "\n"]}}),
    few(few(whole(0, 255), 2, 3)),
    {"oneOf": [thing({"kind": {"const": "size"}, "mm": whole(0, 500)}), thing({"kind": {"const": "text"}, "text": words(12)})]},
]
judge = jsonschema.Draft202012Validator
judges = [judge(schema, format_checker=judge.FORMAT_CHECKER) for schema in SCHEMAS]
for schema in SCHEMAS:
    judge.check_schema(schema)

def answer(number):
    schema = SCHEMAS[number % len(SCHEMAS)]
    made = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Describe a finding as JSON."}], max_tokens=400,
        temperature=1.5, seed=number,  # so hot that only the schema can keep it in form
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
    return made.choices[0].finish_reason, made.choices[0].message.content

def nothing(name):
    raise ValueError(f"{name} is not JSON")

def wrong(number, finish, text):
    """What is wrong with an answer; None where it is valid."""
    if finish != "stop":
        return f"it ended by {finish}"
    try:
        value = json.loads(text, parse_constant=nothing)
    except ValueError as error:
        return str(error)
    valid = judges[number % len(SCHEMAS)]
    assert not valid.is_valid([value] * 5), f"the validator takes anything: {text}"
    return next((error.message for error in valid.iter_errors(value)), None)

texts, faults = set(), []
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for number, (finish, text) in enumerate(pool.map(answer, range(int(count)))):
        texts.add(text)
        fault = wrong(number, finish, text)
        if fault:
            faults.append((number, fault, text))
assert not faults, faults
assert len(texts) > len(SCHEMAS), "they are drawn, and differ"
print(f"{count} answers to {len(SCHEMAS)} schemas, all valid; {len(texts)} of them differ: ok")
