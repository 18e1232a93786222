"""Writes ONNX's operator cases, which its wheel holds as Python code, as files.

    python write_node_cases.py <folder>
    node scripts/onnx-backend-cases.mjs --data <folder>

Needs the packages onnx and numpy.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests


def as_proto(value, info):
    if isinstance(value, onnx.TensorProto):
        return value
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    return numpy_helper.from_array(np.asarray(value), info.name)


root = pathlib.Path(sys.argv[1]) / "node"
for case in load_model_tests(kind="node"):
    folder = root / case.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    (folder / "data.json").write_text(json.dumps({"rtol": case.rtol, "atol": case.atol}))
    for number, (feeds, outputs) in enumerate(case.data_sets):
        data_set = folder / f"test_data_set_{number}"
        data_set.mkdir(exist_ok=True)
        for kind, values, infos in (
            ("input", feeds, case.model.graph.input),
            ("output", outputs, case.model.graph.output),
        ):
            for i, value in enumerate(values):
                proto = as_proto(value, infos[i])
                (data_set / f"{kind}_{i}.pb").write_bytes(proto.SerializeToString())
