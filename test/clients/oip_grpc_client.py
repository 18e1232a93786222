"""Asks a gRPC server of the Open Inference Protocol what a client in Python would.

    python oip_grpc_client.py <protos> <address>

Compiles the protos, prints what it was answered as one JSON object. Needs grpcio and grpcio-tools.
"""

import json
import struct
import sys
import tempfile

import grpc
from google.protobuf import json_format
from grpc_tools import protoc

protos, address = sys.argv[1:]
generated = tempfile.TemporaryDirectory()
outputs = [f"--python_out={generated.name}", f"--grpc_python_out={generated.name}"]
chosen = ["inference/model_config.proto", "inference/grpc_service.proto"]
if protoc.main(["", f"-I{protos}", *outputs, *chosen]) != 0:
    sys.exit("the protos do not compile")
sys.path.insert(0, generated.name)

from inference import grpc_service_pb2 as pb  # noqa: E402
from inference import grpc_service_pb2_grpc as rpc  # noqa: E402

options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
channel = grpc.insecure_channel(address, options=options)
stub = rpc.GRPCInferenceServiceStub(channel)
timeout = 60


def as_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    return None


def infer_request(values, raw, name="half", datatype="FP32"):
    request = pb.ModelInferRequest(model_name=name, id="1")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[len(values)])
    if raw:
        request.raw_input_contents.append(struct.pack(f"<{len(values)}f", *values))
    else:
        tensor.contents.fp32_contents.extend(values)
    return request


def infer(request):
    return stub.ModelInfer(request, timeout=timeout)


def raw():
    response = infer(infer_request([1, 2, 5], raw=True))
    values = [list(struct.unpack("<3f", content)) for content in response.raw_output_contents]
    return {"values": values, "outputs": [as_dict(output) for output in response.outputs]}


def strings():
    texts = [b"aB", "ü".encode()]
    request = pb.ModelInferRequest(model_name="strings")
    for name in ["text", "any"]:
        request.inputs.add(name=name, datatype="BYTES", shape=[2])
        content = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        request.raw_input_contents.append(content)
    request.outputs.add(name="upper")
    return [content.hex() for content in infer(request).raw_output_contents]


def classes():
    request = infer_request([1, 9, 5], raw=True)
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    response = infer(request)
    return [response.outputs[0].datatype, response.raw_output_contents[0][4:].decode()]


def scheduled():
    request = infer_request([2], raw=False)
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 60_000_000
    request.parameters["signature_name"].string_param = "serving_default"
    return list(infer(request).outputs[0].contents.fp32_contents)


def large():
    count = 4_000_000
    response = infer(infer_request([2.0] * count, raw=True))
    content = response.raw_output_contents[0]
    return [len(content), *struct.unpack("<f", content[-4:])]


def compressed():
    request = infer_request([float(i % 7) for i in range(5000)], raw=False)
    response = stub.ModelInfer(request, timeout=timeout, compression=grpc.Compression.Gzip)
    return list(response.outputs[0].contents.fp32_contents[:3])


def many():
    calls = [stub.ModelInfer.future(infer_request([float(i)], raw=True)) for i in range(200)]
    return all(
        struct.unpack("<f", call.result(timeout).raw_output_contents[0]) == (i / 2 + 3,)
        for i, call in enumerate(calls)
    )


def stream():
    requests = [infer_request([float(i)], raw=False) for i in range(3)]
    requests.insert(1, infer_request([1.0], raw=False, name="none"))
    answers = stub.ModelStreamInfer(iter(requests), timeout=timeout)
    return [
        answer.error_message != "" or list(answer.infer_response.outputs[0].contents.fp32_contents)
        for answer in answers
    ]


def both():
    request = infer_request([1], raw=True)
    request.inputs[0].contents.fp32_contents.append(1)
    return infer(request)


answers = {
    "live": stub.ServerLive(pb.ServerLiveRequest(), timeout=timeout).live,
    "ready": stub.ServerReady(pb.ServerReadyRequest(), timeout=timeout).ready,
    "server": stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=timeout).name,
    "model_ready": stub.ModelReady(pb.ModelReadyRequest(name="half"), timeout=timeout).ready,
    "metadata": as_dict(
        stub.ModelMetadata(pb.ModelMetadataRequest(name="half", version="124"), timeout=timeout)
    ),
    "index": as_dict(stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=timeout)),
    "typed": as_dict(infer(infer_request([1, 2, 5], raw=False))),
    "raw": raw(),
    "strings": strings(),
    "classes": classes(),
    "scheduled": scheduled(),
    "large": large(),
    "compressed": compressed(),
    "many": many(),
    "stream": stream(),
    "unknown_model": failure(lambda: infer(infer_request([1], raw=True, name="größe"))),
    "unknown_datatype": failure(lambda: infer(infer_request([1], raw=True, datatype="FP8"))),
    "both": failure(both),
}
print(json.dumps(answers, sort_keys=True))
