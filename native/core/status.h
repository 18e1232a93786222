#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tenon {

// What went wrong, in the words callers match on: each one is an
// ERR_TENON_… code of docs/errors.md (StatusCodeName gives the text).
enum class StatusCode {
  kOk = 0,
  kInvalidArgument,
  kEngineLoad,      // a library is there, but cannot be opened or is no engine
  kEngineVersion,   // an engine older than Tenon supports
  kEngineConflict,  // another library of the same engine is already open
  kModelNotFound,
  kModelInvalid,  // the engine refuses the model
  kUnknownTag,
  kUnknownSignature,
  kModelClosed,
  kPoolClosed,
  kProvider,  // an execution provider that is not there or cannot start
  kUnknownFeed,
  kMissingFeed,
  kUnknownOutput,
  kDType,
  kShape,
  kDataLength,
  kDetached,
  kDisposed,     // an engine tensor that was let go
  kBindingBusy,  // a bound run while one is under way
  kConfigure,    // a process-wide setting that comes too late
  kTooLarge,     // element or byte counts that overflow
  kUnsupported,  // a value this engine (version) has no way to take or give
  kOutOfMemory,
  kRun,    // the engine failed in the middle of a run
  kBatch,  // an output that cannot be cut into those of a batch's members
  kAborted,
  kQueueFull,
  kInternal,
};

// "ERR_TENON_RUN" for kRun.
std::string_view StatusCodeName(StatusCode code);

// The outcome of an operation. Engines and the runtime return it; only addon/
// turns it into a JavaScript exception.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The engine's own error number (OrtErrorCode, TF_Code); 0 where the error
  // is Tenon's.
  int engine_code() const { return engine_code_; }
  Status WithEngineCode(int engine_code) && {
    engine_code_ = engine_code;
    return std::move(*this);
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
  int engine_code_ = 0;
};

// A value or the reason there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit by design

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  T& operator*() { return *value_; }
  T* operator->() { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace tenon

// Leaves the enclosing function with the status of `expression` unless it is ok.
#define TENON_RETURN_IF_ERROR(expression)          \
  do {                                             \
    ::tenon::Status tenon_status_ = (expression);  \
    if (!tenon_status_.ok()) return tenon_status_; \
  } while (false)
