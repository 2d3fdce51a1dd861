"""Starts llama.cpp's own HTTP server on the tiny random model and prints one JSON line when ready:

    {"addr": "127.0.0.1:40123", "base_url": "http://127.0.0.1:40123/v1", "pid": 4711}

It ends on SIGTERM, SIGINT, or when its standard input closes, so it never outlives its parent.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import threading

import make_tiny_gguf
import xllamacpp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def parameters(model, arguments):
    """llama.cpp's settings: small, jinja templates with tool calls on, nothing from the network."""
    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.model_alias = {"tiny"}
    settings.hostnames = ["127.0.0.1"]
    settings.port = arguments.port
    settings.n_parallel = arguments.parallel
    settings.n_ctx = arguments.parallel * arguments.context
    settings.n_predict = arguments.predict
    settings.n_gpu_layers = 0
    settings.cpuparams.n_threads = arguments.threads
    settings.cpuparams_batch.n_threads = arguments.threads
    settings.use_jinja = True
    settings.endpoint_metrics = True
    settings.endpoint_slots = True
    settings.ui = False
    settings.offline = True
    settings.warmup = False
    settings.fit_params = False
    settings.cache_ram_mib = 0
    settings.verbosity = arguments.verbosity
    # The whole distribution, or the rare bytes and the ends of replies would be cut off.
    settings.sampling.temp = 1.0
    settings.sampling.top_k = 0
    settings.sampling.top_p = 1.0
    settings.sampling.min_p = 0.0
    return settings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=os.path.join(ROOT, "target", "upstreams"),
                        help="folder of the model; made there when missing")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--parallel", type=int, default=4, help="slots")
    parser.add_argument("--context", type=int, default=16_384, help="tokens per slot")
    parser.add_argument("--predict", type=int, default=256,
                        help="tokens after which a reply is cut, unless the request says less")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--verbosity", type=int, default=1, help="llama.cpp's log level, 0 to 5")
    arguments = parser.parse_args()

    # Named for the script that makes it: an old model is not taken for the new one.
    with open(make_tiny_gguf.__file__, "rb") as script:
        version = hashlib.sha256(script.read()).hexdigest()[:8]
    model = os.path.join(arguments.dir, f"tiny-random-{version}.gguf")
    if not os.path.exists(model):
        make_tiny_gguf.write(model)

    # llama.cpp logs to stdout too; the ready line must be alone there.
    ready = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    server = xllamacpp.Server(parameters(model, arguments))
    address = server.listening_address.removeprefix("http://")
    print(json.dumps({"addr": address, "base_url": f"http://{address}/v1", "pid": os.getpid()}),
          file=ready, flush=True)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def until_stdin_closes():
        while os.read(0, 4096):
            pass
        ended.set()

    threading.Thread(target=until_stdin_closes, daemon=True).start()
    ended.wait()
    # Streams still open would hold an orderly end back; the process owns nothing worth saving.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
