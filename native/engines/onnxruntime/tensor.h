#pragma once

#include <cstddef>
#include <cstdint>
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
#include "engines/session.h"

namespace tenon::onnxruntime {

// The engine's number of a dtype; 0 where it has none.
OrtElementType ToElementType(DType dtype);
// kUndefined where Tenon knows no such type.
DType FromElementType(OrtElementType type);

// Memory that stands in for a tensor's own where the engine cannot use that:
// at an address its kernels do not take, or on a device the session is not on.
struct StandIn {
  std::shared_ptr<void> memory;
  size_t byte_length = 0;
  // What it stands in for; null for a device's memory, which does not change.
  void* original = nullptr;
};

// What making the engine's values asks for and leaves behind, which must live
// until the run is over.
struct FeedContext {
  const Library& library;
  // False where the session's memory is all ordinary memory.
  bool may_be_on_device = false;
  std::vector<StandIn> stand_ins;
  // Bytes that went from one host buffer to another.
  uint64_t copied_bytes = 0;
};

// The engine's form of a tensor, over the tensor's own memory unless it holds
// strings, which are copied. `name` is the input's or output's, for messages.
Status MakeTensor(const Tensor& tensor, const std::string& name, FeedContext* context,
                  ValueHandle* handle);

// The engine's form of one feed, already checked against its spec and not
// absent. A tensor of the engine is passed as it is: `*value` is its own, and
// must be kept by the feed. Anything else is owned by `made`.
Status MakeFeed(const Value& feed, const ValueSpec& spec, const std::string& name,
                FeedContext* context, ValueHandle* made, const OrtValue** value);

// What the engine says of a tensor of its own.
struct TensorDescription {
  OrtElementType type = 0;
  DType dtype = DType::kUndefined;
  Shape shape;
  size_t byte_length = 0;      // 0 for strings
  bool in_host_memory = true;  // strings always are
  void* data = nullptr;        // host memory, not strings
};

// `may_be_on_device` asks where the tensor is, which costs two more calls.
Status DescribeTensor(const Library& library, OrtValue* value, const std::string& name,
                      bool may_be_on_device, TensorDescription* description);

// Copies the bytes of a tensor that holds no strings to host memory. May wait for
// the device.
Status CopyBytes(const Library& library, const OrtValue* value,
                 const TensorDescription& description, const std::string& name, void* to);

// The same as a tensor of its own, strings too.
Status CopyToHost(const Library& library, const OrtValue* value,
                  const TensorDescription& description, const std::string& name, Tensor* tensor);

// An output as a Value over the engine's own memory; a tensor that is not in
// host memory is copied there. `copied_bytes` takes what strings came to.
Status TakeOutput(const Library& library, ValueHandle handle, const ValueSpec& spec,
                  bool may_be_on_device, uint64_t* copied_bytes, Value* output);

// True where the bytes belong to a feed of the request or a stand-in for one,
// and thus not to whatever the run returned.
bool BelongsToFeed(const void* data, size_t byte_length, const RunRequest& request,
                   const std::vector<StandIn>& stand_ins);

// Makes the tensors of `outputs` that went to host memory of their own
// exclusive: one whose memory overlaps a feed's or another output's (an output
// that is an input, the same output twice, two names of one value) moves.
Status SeparateOutputs(const RunRequest& request, FeedContext* context,
                       std::vector<Value>* outputs);

}  // namespace tenon::onnxruntime
