"""Compares Tenon's results with those of ONNX Runtime's own Python binding.

    node scripts/onnx-backend-cases.mjs --json | python compare_with_python.py

Prints each case with another result or another error text, and a count of all. Needs the packages
onnx, onnxruntime (of the version that Tenon has) and numpy.
"""

import collections
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper


def read(file, type_proto):
    proto, convert = {
        "sequence_type": (onnx.SequenceProto(), numpy_helper.to_list),
        "optional_type": (onnx.OptionalProto(), numpy_helper.to_optional),
        "tensor_type": (onnx.TensorProto(), numpy_helper.to_array),
    }[type_proto.WhichOneof("value")]
    proto.ParseFromString(file.read_bytes())
    return convert(proto)


def is_near(received, expected, rtol, atol):
    if expected is None or received is None:
        return received is expected
    if isinstance(expected, list):
        return len(received) == len(expected) and all(
            is_near(a, b, rtol, atol) for a, b in zip(received, expected)
        )
    received = np.asarray(received)
    if received.shape != expected.shape:
        return False
    if expected.dtype == object:
        return bool((received == expected).all())
    wide = [array.astype(np.complex128) for array in (received, expected)]
    return received.dtype == expected.dtype and np.allclose(*wide, rtol, atol, equal_nan=True)


def run(folder):
    """("passed" | "differs" | "error", the error's text)"""
    own = folder / "data.json"
    tolerance = json.loads(own.read_text()) if own.exists() else {}
    rtol, atol = tolerance.get("rtol", 1e-3), tolerance.get("atol", 1e-7)
    graph = onnx.load(folder / "model.onnx").graph
    types = {info.name: info.type for info in [*graph.input, *graph.output]}
    try:
        session = onnxruntime.InferenceSession(
            folder / "model.onnx", providers=["CPUExecutionProvider"]
        )
        for data_set in sorted(folder.glob("test_data_set_*")):
            files = [data_set / f"input_{i}.pb" for i in range(len(session.get_inputs()))]
            feeds = {
                info.name: read(file, types[info.name])
                for info, file in zip(session.get_inputs(), files)
                if file.exists()
            }
            for i, output in enumerate(session.run(None, feeds)):
                name = session.get_outputs()[i].name
                expected = read(data_set / f"output_{i}.pb", types[name])
                if not is_near(output, expected, rtol, atol):
                    return "differs", ""
    except Exception as error:  # Whatever it is, it is what the case gives.
        return "error", str(error)
    return "passed", ""


onnxruntime.set_default_logger_severity(4)
report = json.load(sys.stdin)
counts = collections.Counter()
for case in report["results"]:
    folder = pathlib.Path(report["data"]) / case["name"]
    reason = case.get("reason", "")
    outcome, text = run(folder)
    if case["result"] == "passed":
        same = outcome == "passed"
    elif reason.startswith("test_data_set_"):
        same = outcome == "differs"
    else:
        words = reason.split("): ", 1)[-1].replace(case["name"], str(folder))
        same = outcome == "error" and words in text
    counts["same" if same else "other"] += 1
    if not same:
        print(f"{case['name']}: {case['result']} ({reason[:200]}), in Python {outcome} ({text[:200]})")
print(f"onnxruntime {onnxruntime.__version__}: {dict(counts)}")
