"""Writes a tiny GGUF of random weights, so llama.cpp's own server can answer without a download.

    python make_tiny_gguf.py PATH [--seed N]

Two layers, byte-level vocabulary, same bytes for the same seed. The model knows nothing: it
babbles bytes, valid UTF-8 or not, and llama.cpp does the rest as it would for a real model
(chat template, tool-call parser, grammar of a JSON schema, slots, streaming).

Pure noise would hardly ever open a tool call or end a reply, so one dimension of the residual
stream is held constant and the output matrix reads it as a bias per token. It decides only how
often a reply opens a call, closes a string or stops; everything else is noise.
"""

import argparse
import os
import tempfile

import gguf
import numpy as np

CONTEXT = 32_768
WIDTH = 64
HEADS = 2
FEED_FORWARD = 128
LAYERS = 2

CONSTANT = 6.0  # value of the constant dimension in every token embedding
NOISE = 0.12  # deviation of the output matrix; logits of one bias differ by about 1

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Plain tokens for llama.cpp's parser, which must see them in the text.
MARKERS = ["<tool_call>", "</tool_call>"]

# The ChatML layout with calls as JSON between markers: the format most open models use.
TEMPLATE = """\
{%- if tools -%}
<|im_start|>system
{% if messages[0].role == 'system' -%}
{{ messages[0].content }}
{% endif -%}
# Tools
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
Call a function with its name and arguments as JSON:
<tool_call>{"name": "NAME", "arguments": {}}</tool_call><|im_end|>
{% elif messages[0].role == 'system' -%}
<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' -%}
<|im_start|>assistant
{{ message.content if message.content }}
{%- for call in message.tool_calls or [] -%}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor -%}
<|im_end|>
{% elif message.role == 'tool' -%}
<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


def byte_symbols():
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's map)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {byte: chr(byte) for byte in plain}
    extra = 0x100
    for byte in range(0x100):
        if byte not in symbols:
            symbols[byte] = chr(extra)
            extra += 1
    return [symbols[byte] for byte in range(0x100)]


def vocabulary():
    """Tokens, their kinds, and the few merges the format wants to see."""
    symbols = byte_symbols()
    merges = [("t", "h"), ("i", "n"), (symbols[0x20], "a")]
    normal = symbols + [left + right for left, right in merges]
    tokens = normal + SPECIALS + MARKERS
    kinds = (
        [gguf.TokenType.NORMAL] * len(normal)
        + [gguf.TokenType.CONTROL] * len(SPECIALS)
        + [gguf.TokenType.USER_DEFINED] * len(MARKERS)
    )
    return tokens, kinds, [" ".join(pair) for pair in merges]


def biases(tokens):
    """Logit bias per token: printable text likely, other bytes rare, ends and calls now and then."""
    symbols = byte_symbols()
    bias = dict.fromkeys(tokens, 0.0)
    for byte in range(0x20, 0x7F):
        bias[symbols[byte]] = 2.0
    bias['"'] = bias["}"] = 4.5
    bias["]"] = 3.5
    bias["<tool_call>"] = 6.5
    bias["<|im_end|>"] = 5.0
    bias["</tool_call>"] = bias["<|im_start|>"] = bias["<|endoftext|>"] = -6.0
    return np.array([bias[token] for token in tokens], dtype=np.float32)


def write(path, seed=7):
    """Writes the model to `path` in one move, so a reader never sees half a file."""
    tokens, kinds, merges = vocabulary()
    rng = np.random.default_rng(seed)

    def noise(rows, columns, deviation):
        return (rng.standard_normal((rows, columns)) * deviation).astype(np.float32)

    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=directory, suffix=".part")
    os.close(handle)
    try:
        writer = gguf.GGUFWriter(partial, "llama")
        writer.add_name("tiny-random")
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(LAYERS)
        writer.add_feed_forward_length(FEED_FORWARD)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(1)
        writer.add_rope_dimension_count(WIDTH // HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(len(tokens))
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)

        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(tokens.index("<|endoftext|>"))
        writer.add_eos_token_id(tokens.index("<|im_end|>"))
        writer.add_add_bos_token(False)
        writer.add_chat_template(TEMPLATE)

        embedding = noise(len(tokens), WIDTH, 1.0)
        embedding[:, 0] = CONSTANT
        writer.add_tensor("token_embd.weight", embedding)
        for layer in range(LAYERS):
            block = f"blk.{layer}"
            writer.add_tensor(f"{block}.attn_norm.weight", np.ones(WIDTH, dtype=np.float32))
            writer.add_tensor(f"{block}.attn_q.weight", noise(WIDTH, WIDTH, 0.2))
            writer.add_tensor(f"{block}.attn_k.weight", noise(WIDTH // HEADS, WIDTH, 0.2))
            writer.add_tensor(f"{block}.attn_v.weight", noise(WIDTH // HEADS, WIDTH, 0.2))
            attention = noise(WIDTH, WIDTH, 0.1)
            attention[0] = 0.0  # nothing writes to the constant dimension
            writer.add_tensor(f"{block}.attn_output.weight", attention)
            writer.add_tensor(f"{block}.ffn_norm.weight", np.ones(WIDTH, dtype=np.float32))
            writer.add_tensor(f"{block}.ffn_gate.weight", noise(FEED_FORWARD, WIDTH, 0.1))
            writer.add_tensor(f"{block}.ffn_up.weight", noise(FEED_FORWARD, WIDTH, 0.1))
            down = noise(WIDTH, FEED_FORWARD, 0.1)
            down[0] = 0.0
            writer.add_tensor(f"{block}.ffn_down.weight", down)
        writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
        output = noise(len(tokens), WIDTH, NOISE)
        # After the final norm the constant dimension is CONSTANT over the mean square's root.
        seen = CONSTANT / np.sqrt((CONSTANT**2 + (WIDTH - 1)) / WIDTH)
        output[:, 0] = biases(tokens) / seen
        writer.add_tensor("output.weight", output)

        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    write(arguments.path, arguments.seed)


if __name__ == "__main__":
    main()
