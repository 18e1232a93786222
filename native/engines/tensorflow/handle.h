#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "engines/tensorflow/abi.h"

namespace tenon::tensorflow {

// The one owner of a TensorFlow object: the object and the function that deletes it.
template <typename T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

using TensorHandle = Handle<TF_Tensor>;

// Takes the outcome of one call. Every call of the engine that can fail gets
// one, and ToStatus is the only place that reads it.
class CallStatus {
 public:
  explicit CallStatus(const Api& api)
      : api_(api), status_(api.TF_NewStatus(), api.TF_DeleteStatus) {}

  TF_Status* get() const { return status_.get(); }
  bool ok() const { return api_.TF_GetCode(status_.get()) == TF_OK; }

  // `code` with the engine's own text and number, unless the call went well.
  Status ToStatus(StatusCode code) const {
    const int engine_code = api_.TF_GetCode(status_.get());
    if (engine_code == TF_OK) return {};
    const char* text = api_.TF_Message(status_.get());
    return Status(code, text == nullptr ? "" : text).WithEngineCode(engine_code);
  }

 private:
  const Api& api_;
  Handle<TF_Status> status_;
};

}  // namespace tenon::tensorflow
