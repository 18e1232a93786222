#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "engines/tensorflow/abi.h"
#include "engines/tensorflow/engine.h"

namespace tenon::tensorflow {

// The serialized RunOptions (tensorflow/core/protobuf/config.proto) of a run.
std::string EncodeRunOptions(const RunOptions& options);

// What a traced run tells of itself, a serialized RunMetadata.
class RunTrace {
 public:
  RunTrace() = default;
  RunTrace(const RunTrace&) = delete;
  RunTrace& operator=(const RunTrace&) = delete;
  ~RunTrace() {
    if (buffer_.data_deallocator == nullptr) return;
    buffer_.data_deallocator(const_cast<void*>(buffer_.data), buffer_.length);
  }

  // What TF_SessionRun is to fill.
  TF_Buffer* buffer() { return &buffer_; }

  // Writes it to `path`: as it is where that ends in ".pb", else as ChromeTrace has
  // it. Fails with kRun, the run itself having gone well.
  Status Write(const std::string& path) const;

 private:
  TF_Buffer buffer_{nullptr, 0, nullptr};
};

// The steps of a serialized RunMetadata in the JSON of Chrome's trace viewer: a
// process for each device, a thread for each of its threads, an event for each
// operation. Bytes that are no RunMetadata give what could be read of them.
std::string ChromeTrace(std::string_view run_metadata);

}  // namespace tenon::tensorflow
