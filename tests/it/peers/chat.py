"""The OpenAI Python client against the appliance: chat.py BASE TOKEN CA MODEL."""
import concurrent.futures, json, sys
import openai

base, token, ca, model = sys.argv[1:]
http = openai.DefaultHttpxClient(verify=ca, trust_env=False, timeout=240)
client = openai.OpenAI(base_url=base, api_key=token, http_client=http, max_retries=0)
assert model in [m.id for m in client.models.list()]
ask = lambda text: [{"role": "user", "content": text}]

whole = client.chat.completions.create(model=model, messages=ask("What is the capital of France?"), temperature=0, max_tokens=24)
assert "Paris" in whole.choices[0].message.content, whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

stream = client.chat.completions.create(model=model, messages=ask("What is the capital of France?"), temperature=0,
                                        max_tokens=24, stream=True, stream_options={"include_usage": True})
text, usage, finish = "", None, None
for chunk in stream:
    assert chunk.usage is None or not chunk.choices, chunk  # only the last chunk, which has no choice, tells the usage
    usage = chunk.usage or usage
    for choice in chunk.choices:
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
assert text == whole.choices[0].message.content, (text, whole)
counts = lambda of: (of.prompt_tokens, of.completion_tokens, of.total_tokens)
assert counts(usage) == counts(whole.usage) and finish == whole.choices[0].finish_reason, (usage, finish)
# The same beginning was read a moment ago: what of it was still held need not be the same both times.
assert all(0 <= of.prompt_tokens_details.cached_tokens < of.prompt_tokens for of in (usage, whole.usage))

stopped = client.chat.completions.create(model=model, messages=ask("Count from one to nine in digits."), temperature=0, max_tokens=48, stop=["5"])
assert "5" not in stopped.choices[0].message.content
twice = [client.chat.completions.create(model=model, messages=ask("Tell me a story."), temperature=0.9, top_p=0.9, seed=7,
                                        max_tokens=24).choices[0].message.content for _ in range(2)]
assert twice[0] == twice[1], twice

def refused(kind, **request):
    try:
        client.chat.completions.create(**{"model": model, "messages": ask("hello"), "max_tokens": 4, **request})
    except kind as error:
        return error
    raise AssertionError(f"{request} was not refused")

error = refused(openai.BadRequestError, messages=ask("pain " * 20000))
assert error.code == "context_length_exceeded" and "20" in str(error), error
refused(openai.NotFoundError, model="gpt-4o")
refused(openai.BadRequestError, messages=[{"role": "wizard", "content": "hello"}])
refused(openai.BadRequestError, temperature=-1)

schema = {"type": "object", "properties": {"organ": {"enum": ["heart", "lung"]}, "size_mm": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["organ", "size_mm"], "additionalProperties": False}
shaped = client.chat.completions.create(model=model, messages=ask("Describe a finding as JSON."), max_tokens=60, seed=1, n=2,
                                        response_format={"type": "json_schema", "json_schema": {"name": "finding", "schema": schema}})
assert len(shaped.choices) == 2 and shaped.usage.prompt_tokens_details.cached_tokens >= 0, shaped
for choice in shaped.choices:
    assert set(json.loads(choice.message.content)) == {"organ", "size_mm"}, choice
told = client.chat.completions.create(model=model, messages=ask("Name an organ."), temperature=0, max_tokens=4, logprobs=True, top_logprobs=2,
                                      presence_penalty=0.5)
assert [len(token.top_logprobs) for token in told.choices[0].logprobs.content] == [2] * 4, told
refused(openai.BadRequestError, tools=[{"type": "function", "function": {"name": "no name"}}])
refused(openai.BadRequestError, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wibble"}}})

find = {"type": "function", "function": {"name": "find_patient", "strict": True, "description": "Finds a patient.", "parameters": {
    "type": "object", "properties": {"ward": {"enum": ["A", "B"]}, "bed": {"type": "integer", "minimum": 1, "maximum": 40}},
    "required": ["ward", "bed"], "additionalProperties": False}}}

def is_call(call):
    arguments = json.loads(call.function.arguments)
    return call.type == "function" and call.id and call.function.name == "find_patient" \
        and arguments["ward"] in "AB" and 1 <= arguments["bed"] <= 40 and len(arguments) == 2

asked = ask("Who lies in ward A, bed 7?")
called = client.chat.completions.create(model=model, messages=asked, tools=[find], tool_choice="required", temperature=0, max_tokens=80,
                                        parallel_tool_calls=False).choices[0]
assert called.finish_reason == "tool_calls" and called.message.content is None and len(called.message.tool_calls) == 1, called
assert is_call(called.message.tool_calls[0]), called
told = asked + [called.message, {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "nobody"}]
assert client.chat.completions.create(model=model, messages=told, tools=[find], tool_choice="none", max_tokens=12).choices[0].message.content
# As it comes, with the client's own way of putting it together again.
with client.chat.completions.stream(model=model, messages=asked, tools=[find], tool_choice={"type": "function", "function": {"name": "find_patient"}},
                                    temperature=0, max_tokens=80, parallel_tool_calls=False) as streamed:
    kinds = [event.type for event in streamed]
    final = streamed.get_final_completion().choices[0]
assert "tool_calls.function.arguments.done" in kinds and final.finish_reason == "tool_calls", (kinds, final)
assert final.message.tool_calls[0].function.arguments == called.message.tool_calls[0].function.arguments, (final, called)
free = client.chat.completions.create(model=model, messages=ask("Say hello."), tools=[find], max_tokens=60).choices[0]
assert free.message.content or all(map(is_call, free.message.tool_calls or [])), free

def one(n):
    answer = client.chat.completions.create(model=model, messages=ask(f"Say something about the number {n}."), temperature=0, max_tokens=32)
    return answer.choices[0].message.content
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(one, range(8)))
assert all(answers), answers
assert one(3) == answers[3], "the answer does not depend on what else runs"

stream = client.chat.completions.create(model=model, messages=ask("Tell me a very long story."), stream=True, max_tokens=2000)
next(iter(stream))
stream.close()  # gone: the sequence is freed, and the next request is served at once
assert one(1)

completion = client.completions.create(model=model, prompt="The heart is", max_tokens=8, temperature=0)
assert completion.choices[0].text
least = client.completions.create(model=model, prompt="The heart is", max_tokens=40, extra_body={"ignore_eos": True})
assert least.usage.completion_tokens == 40, least

vectors = client.embeddings.create(model="all-minilm-l6-v2", input=["That is a happy person", "That is a very happy person", "Today is a sunny day"])
first, alike, other = (one.embedding for one in vectors.data)
dot = lambda a, b: sum(x * y for x, y in zip(a, b))
assert abs(dot(first, alike) - 0.9429) < 0.001 and abs(dot(first, other) - 0.2569) < 0.001, (dot(first, alike), dot(first, other))
assert vectors.usage.prompt_tokens == vectors.usage.total_tokens > 20
plain = client.embeddings.create(model="all-minilm-l6-v2", input="That is a happy person", encoding_format="float")
assert plain.data[0].embedding == first
try:
    client.embeddings.create(model="all-minilm-l6-v2", input=["short", "pain " * 600])
    raise AssertionError("a text that is too long was not refused")
except openai.BadRequestError as error:
    assert error.code == "context_length_exceeded" and "index 1" in str(error) and "512" in str(error), error
print("ok")
