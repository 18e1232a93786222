"""Asks a gRPC server of TensorFlow Serving's services what a client in Python would.

    python grpc_client.py <protos> <address>

Compiles the protos, prints what it was answered as one JSON object. Needs grpcio and grpcio-tools.
"""

import json
import pathlib
import struct
import sys
import tempfile

import grpc
import grpc_tools
from google.protobuf import json_format
from grpc_tools import protoc

protos, address = sys.argv[1:]
generated = tempfile.TemporaryDirectory()
files = [str(path.relative_to(protos)) for path in sorted(pathlib.Path(protos).rglob("*.proto"))]
include = str(pathlib.Path(grpc_tools.__file__).parent / "_proto")
arguments = [f"-I{protos}", f"-I{include}"]
outputs = [f"--python_out={generated.name}", f"--grpc_python_out={generated.name}"]
# Nothing of grpc/ : the folder would hide the package of that name.
chosen = [name for name in files if not name.startswith("grpc/")]
if protoc.main(["", *arguments, *outputs, *chosen]) != 0:
    sys.exit("the protos do not compile")
sys.path.insert(0, generated.name)

from tensorflow.core.example import example_pb2  # noqa: E402
from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
channel = grpc.insecure_channel(address, options=options)
prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
models = model_service_pb2_grpc.ModelServiceStub(channel)
timeout = 60


def predict_request(values, signature="", name="half", content=False):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    tensor = request.inputs["x"]
    tensor.dtype = types_pb2.DT_FLOAT
    tensor.tensor_shape.dim.add(size=len(values))
    if content:
        tensor.tensor_content = struct.pack(f"<{len(values)}f", *values)
    else:
        tensor.float_val.extend(values)
    return request


def examples_input(message, signature):
    message.model_spec.name = "half"
    message.model_spec.signature_name = signature
    for x in [1.0, 5.0]:
        example = example_pb2.Example()
        example.features.feature["x"].float_list.value.append(x)
        message.input.example_list.examples.append(example)
    return message


def as_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    return None


def metadata():
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half"
    response = prediction.GetModelMetadata(request, timeout=timeout)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(signatures):
        return "no SignatureDefMap"
    return as_dict(signatures.signature_def["serving_default"])


def status():
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half"
    return as_dict(models.GetModelStatus(request, timeout=timeout))


def multi():
    request = inference_pb2.MultiInferenceRequest()
    for kind in ["classify", "regress"]:
        task = request.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.name = "half"
        task.model_spec.signature_name = f"{kind}_x_to_y"
    for x in [1.0, 5.0]:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(x)
    return as_dict(prediction.MultiInference(request, timeout=timeout))


def large():
    count = 4_000_000
    response = prediction.Predict(predict_request([2.0] * count, content=True), timeout=timeout)
    values = response.outputs["y"].float_val
    return [len(values), values[0], values[-1]]


def compressed():
    values = [float(i % 7) for i in range(5000)]
    call = prediction.Predict(
        predict_request(values), timeout=timeout, compression=grpc.Compression.Gzip
    )
    return list(call.outputs["y"].float_val[:3])


def many():
    calls = [prediction.Predict.future(predict_request([float(i)])) for i in range(200)]
    return all(
        call.result(timeout).outputs["y"].float_val[0] == i / 2 + 3 for i, call in enumerate(calls)
    )


classify = examples_input(classification_pb2.ClassificationRequest(), "classify_x_to_y")
regress = examples_input(regression_pb2.RegressionRequest(), "regress_x_to_y")
answers = {
    "predict": as_dict(prediction.Predict(predict_request([1, 2, 5]), timeout=timeout)),
    "content": as_dict(
        prediction.Predict(predict_request([1, 2, 5], content=True), timeout=timeout)
    )["outputs"],
    "classify": as_dict(prediction.Classify(classify, timeout=timeout)),
    "regress": as_dict(prediction.Regress(regress, timeout=timeout)),
    "multi": multi(),
    "metadata": metadata(),
    "status": status(),
    "large": large(),
    "compressed": compressed(),
    "many": many(),
    "unknown_model": failure(
        lambda: prediction.Predict(predict_request([1], name="größe"), timeout=timeout)
    ),
    "unknown_signature": failure(
        lambda: prediction.Predict(predict_request([1], signature="s"), timeout=timeout)
    ),
    "no_spec": failure(
        lambda: prediction.Predict(predict_pb2.PredictRequest(), timeout=timeout)
    ),
    "no_bytes": failure(
        lambda: channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=lambda _: b"\xff\xff",
        )(None, timeout=timeout)
    ),
    "unknown_method": failure(
        lambda: channel.unary_unary("/tensorflow.serving.PredictionService/None")(
            b"x" * 200_000, timeout=timeout
        )
    ),
}
print(json.dumps(answers, sort_keys=True))
