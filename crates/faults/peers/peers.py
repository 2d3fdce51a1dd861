#!/usr/bin/env python3
"""Asks a provider through the libraries named as arguments, once for each line on standard input, and says what
came back.

A line in: {"id", "library", "format", "base_url", "seconds"}. A line out: {"id", "text", "calls": [[name, arguments]]}
for what was returned as an answer, {"id", "error", "detail"} with the exception, or {"id", "hang": true}.

Every library is used as its manual shows it: streaming, with its own accumulation of the stream where it has one, and
its own defaults for retries and time limits.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import threading

os.environ["NO_PROXY"] = "127.0.0.1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

TASK = "What is in the folder docs?"
SCHEMA = {"type": "object", "properties": {"path": {}, "unit": {"type": "string"}}}
NAMES = ["list", "size"]
AT_ONCE = 48

print_lock = threading.Lock()


def say(value):
    with print_lock:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def chat_tools():
    return [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]


def messages_tools():
    return [{"name": name, "input_schema": SCHEMA} for name in NAMES]


def responses_tools():
    return [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in NAMES]


def of_chat(message):
    calls = [[call.function.name, call.function.arguments] for call in message.tool_calls or []]
    return message.content or getattr(message, "refusal", None) or "", calls


def of_response(response):
    calls = [[item.name, item.arguments] for item in response.output if item.type == "function_call"]
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    texts = [part.text if part.type == "output_text" else part.refusal for part in parts]
    return "".join(texts), calls


def openai_chat(base_url):
    import openai

    client = openai.OpenAI(api_key="sk-x", base_url=base_url + "/v1")
    user = [{"role": "user", "content": TASK}]
    with client.chat.completions.stream(model="fake-1", messages=user, tools=chat_tools()) as stream:
        return of_chat(stream.get_final_completion().choices[0].message)


def openai_responses(base_url):
    import openai

    client = openai.OpenAI(api_key="sk-x", base_url=base_url + "/v1")
    with client.responses.stream(model="fake-1", input=TASK, tools=responses_tools()) as stream:
        return of_response(stream.get_final_response())


def anthropic_messages(base_url):
    import anthropic

    client = anthropic.Anthropic(api_key="sk-x", base_url=base_url)
    user = [{"role": "user", "content": TASK}]
    with client.messages.stream(model="fake-1", max_tokens=1000, messages=user, tools=messages_tools()) as stream:
        message = stream.get_final_message()
    texts = [block.text for block in message.content if block.type == "text"]
    calls = [[block.name, json.dumps(block.input)] for block in message.content if block.type == "tool_use"]
    return "".join(texts), calls


def litellm_chat(base_url, model="openai/gpt-5-mini", path="/v1"):
    import litellm

    user = [{"role": "user", "content": TASK}]
    chunks = list(litellm.completion(
        model=model, api_base=base_url + path, api_key="sk-x", messages=user, tools=chat_tools(), max_tokens=1000,
        stream=True))
    whole = litellm.stream_chunk_builder(chunks, messages=user)
    return ("", []) if whole is None else of_chat(whole.choices[0].message)


def litellm_messages(base_url):
    return litellm_chat(base_url, "anthropic/claude-sonnet-4-5", "")


def litellm_responses(base_url):
    import litellm

    events = litellm.responses(
        model="openai/gpt-5-mini", api_base=base_url + "/v1", api_key="sk-x", input=TASK, tools=responses_tools(),
        stream=True)
    texts, calls = [], {}
    for event in events:
        kind = str(getattr(event.type, "value", event.type))
        if kind == "response.completed":
            return of_response(event.response)
        if kind == "response.output_text.delta":
            texts.append(event.delta)
        if kind == "response.output_item.added" and getattr(event.item, "type", None) == "function_call":
            calls[event.output_index] = [event.item.name, ""]
        if kind == "response.function_call_arguments.delta":
            calls[event.output_index][1] += event.delta
    return "".join(texts), list(calls.values())


ASK = {
    ("openai", "openai"): openai_chat,
    ("openai", "openai-responses"): openai_responses,
    ("anthropic", "anthropic"): anthropic_messages,
    ("litellm", "openai"): litellm_chat,
    ("litellm", "openai-responses"): litellm_responses,
    ("litellm", "anthropic"): litellm_messages,
}


def measure(job, permits):
    answer = {"id": job["id"], "hang": True}

    def ask():
        nonlocal answer
        try:
            text, calls = ASK[job["library"], job["format"]](job["base_url"])
            answer = {"id": job["id"], "text": text, "calls": calls}
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what came back
            answer = {"id": job["id"], "error": type(error).__name__, "detail": str(error)[:200]}

    # What hangs is left behind: the process ends without it.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(job["seconds"])
    permits.release()
    say(answer)


def main():
    libraries = sys.argv[1:]
    for library in libraries:
        # Once and here: some import more of themselves while they are used, which threads must not do at once.
        importlib.import_module(library)
    if "litellm" in libraries:
        sys.modules["litellm"].suppress_debug_info = True
    say({"versions": {library: importlib.metadata.version(library) for library in libraries}})
    permits = threading.Semaphore(AT_ONCE)
    waiting = []
    for line in sys.stdin:
        job = json.loads(line)
        permits.acquire()
        thread = threading.Thread(target=measure, args=(job, permits), daemon=True)
        thread.start()
        waiting.append(thread)
    for thread in waiting:
        thread.join()
    sys.stdout.flush()
    os._exit(0)


main()
