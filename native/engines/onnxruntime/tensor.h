#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/model_info.h"
#include "core/status.h"
#include "core/value.h"
#include "engines/onnxruntime/abi.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// The engine's number of a dtype; 0 where it has none.
OrtElementType ToElementType(DType dtype);
// kUndefined where Tenon knows no such type.
DType FromElementType(OrtElementType type);

// The engine's form of one feed, already checked against its spec. Tensors are
// passed by pointer: the feed's memory must outlive the run. `copies` takes what
// had to be copied for its alignment and must outlive the run as well.
// `name` is the input's, for messages.
Status MakeFeed(const Library& library, const Value& feed, const std::string& name,
                std::vector<std::shared_ptr<void>>* copies, ValueHandle* handle);

// An output as a Value over the engine's own memory. `may_be_on_device` asks
// for every tensor where it lies; one that is not in host memory is copied there.
Result<Value> TakeOutput(const Library& library, ValueHandle handle, const std::string& name,
                         bool may_be_on_device);

// Makes every tensor of `outputs` exclusive: one whose memory overlaps a feed's
// or another output's (an output that is an input, the same output twice, two
// names of one value) moves to memory of its own.
Status SeparateOutputs(const std::vector<Value>& feeds, std::vector<Value>* outputs);

}  // namespace tenon::onnxruntime
