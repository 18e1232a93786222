"""Asks a REST server of the Open Inference Protocol what a client in Python would.

    python oip_rest_client.py <port>

Prints what it was answered as one JSON object. Needs nothing but Python's own library.
"""

import gzip
import http.client
import json
import struct
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
LENGTH = "Inference-Header-Content-Length"


def ask(method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response, response.read()


def ask_json(method, path, body=None):
    response, answer = ask(method, path, None if body is None else json.dumps(body))
    return [response.status, json.loads(answer)]


def infer_binary(model, request, tensors, headers=None, pack=lambda body: body):
    """The JSON of the answer, and the bytes of its binary tensors by their names."""
    head = json.dumps(request).encode()
    given = {LENGTH: str(len(head)), **(headers or {})}
    response, answer = ask(
        "POST", f"/v2/models/{model}/infer", pack(head + b"".join(tensors)), given
    )
    if response.getheader("Content-Encoding") == "gzip":
        answer = gzip.decompress(answer)
    end = int(response.getheader(LENGTH, len(answer)))
    result = json.loads(answer[:end])
    outputs = {}
    for output in result.get("outputs", []):
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            outputs[output["name"]] = answer[end : end + size]
            end += size
    assert end == len(answer)
    return response, result, outputs


def announced(name, datatype, shape, data):
    return {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(data)},
    }


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


answers = {}
for name, path in {
    "live": "/v2/health/live",
    "ready": "/v2/health/ready",
    "model_ready": "/v2/models/half/ready",
    "metadata": "/v2/models/half",
    "config": "/v2/models/half/config",
    "unknown": "/v2/models/none",
}.items():
    answers[name] = ask_json("GET", path)
answers["server"] = ask_json("GET", "/v2")[1]["name"]

x = {"name": "x", "datatype": "FP32", "shape": [3], "data": [1.0, 2.0, 5.0]}
answers["infer"] = ask_json("POST", "/v2/models/half/infer", {"id": "a", "inputs": [x]})
answers["version"] = ask_json("POST", "/v2/models/half/versions/123/infer", {"inputs": [x]})
nan = {"name": "x", "datatype": "FP32", "shape": [1], "data": [float("nan")]}
status, result = ask_json("POST", "/v2/models/half/infer", {"inputs": [nan]})
answers["nan"] = result["outputs"][0]["data"][0] != result["outputs"][0]["data"][0]

# Sizes as clients of Triton send them: no content type, all outputs in binary.
data = floats(1, 2, 5)
request = {"inputs": [announced("x", "FP32", [3], data)], "parameters": {"binary_data_output": True}}
response, result, outputs = infer_binary("half", request, [data])
answers["binary"] = [result, list(struct.unpack("<3f", outputs["y"]))]

many = floats(*range(100_000))
request = {
    "inputs": [announced("x", "FP32", [100_000], many)],
    "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
}
response, result, outputs = infer_binary(
    "half",
    request,
    [many],
    {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"},
    lambda body: gzip.compress(body, 1),
)
halves = struct.unpack("<100000f", outputs["y"])
answers["compressed"] = [
    response.getheader("Content-Encoding"),
    all(value == i / 2 + 3 for i, value in enumerate(halves)),
]

texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"\xff\x00", b""))
request = {
    "inputs": [announced("bytes", "BYTES", [2], texts)],
    "parameters": {"signature_name": "same", "binary_data_output": True},
}
answers["bytes"] = infer_binary("texts", request, [texts])[2]["bytes"] == texts

classes = {"name": "y", "parameters": {"classification": 2}}
request = {"inputs": [x], "outputs": [classes]}
answers["classes"] = ask_json("POST", "/v2/models/half/infer", request)[1]["outputs"]

lies = [announced("x", "FP32", [4], data)]
answers["lies"] = infer_binary("half", {"inputs": lies}, [data])[1]

answers["index"] = ask_json("POST", "/v2/repository/index", {"ready": True})
answers["unload"] = ask_json("POST", "/v2/repository/models/texts/unload")
answers["unloaded"] = ask_json("GET", "/v2/models/texts/ready")
answers["load"] = ask_json("POST", "/v2/repository/models/texts/load", {})
answers["loaded"] = ask_json("GET", "/v2/models/texts/ready")
(statistics,) = ask_json("GET", "/v2/models/half/versions/124/stats")[1]["model_stats"]
answers["statistics"] = {
    name: statistics["inference_stats"][name]["count"] for name in ("success", "fail")
}
print(json.dumps(answers))
