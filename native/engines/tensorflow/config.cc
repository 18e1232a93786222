#include "engines/tensorflow/config.h"

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string_view>

namespace tenon::tensorflow {
namespace {

// Field numbers of tensorflow.ConfigProto (tensorflow/core/protobuf/config.proto).
constexpr uint32_t kIntraOpParallelismThreads = 2;
constexpr uint32_t kInterOpParallelismThreads = 5;
constexpr uint32_t kUsePerSessionThreads = 9;

// With this variable TensorFlow's CPU device has an intra-op pool of its own in
// each session. ConfigProto.use_per_session_threads says so of the inter-op pool
// alone (tensorflow/core/common_runtime/local_device.cc).
constexpr const char* kOwnPoolsVariable = "TF_OVERRIDE_GLOBAL_THREADPOOL";

bool HasOwnPoolsVariable() {
  const char* const value = std::getenv(kOwnPoolsVariable);
  return value != nullptr && std::string_view(value) == "1";
}

struct Process {
  std::mutex mutex;
  ProcessOptions options;
  bool fixed = false;
  bool per_session_threads = false;  // once it is fixed
  // Of the process's pools; 0 while there are none.
  int intra_op_threads = 0;
  int inter_op_threads = 0;
};

// Leaked: TensorFlow's threads outlive static objects.
Process& TheProcess() {
  static auto* process = new Process;
  return *process;
}

// TensorFlow never makes its pools anew. `pool` is what it has, 0 for none.
Status TakePool(const char* name, bool insist, int* threads, int* pool) {
  if (*pool == 0) *pool = *threads;
  if (insist && *threads != *pool) {
    return {StatusCode::kConfigure,
            std::string("expected ") + std::to_string(*pool) + " " + name +
                " threads, which this process's first TensorFlow session has fixed, received " +
                std::to_string(*threads) +
                "; sessions can have pools of their own (perSessionThreads)"};
  }
  *threads = *pool;
  return {};
}

void AppendVarint(uint64_t value, std::string* bytes) {
  while (value >= 0x80) {
    bytes->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  bytes->push_back(static_cast<char>(value));
}

void AppendInt32(uint32_t field, int value, std::string* bytes) {
  AppendVarint(field << 3, bytes);  // wire type 0
  // An int32 goes out sign-extended to 64 bits.
  AppendVarint(static_cast<uint64_t>(static_cast<int64_t>(value)), bytes);
}

}  // namespace

Status Configure(const ProcessOptions& options) {
  Process& process = TheProcess();
  std::lock_guard<std::mutex> lock(process.mutex);
  if (!options.per_session_threads) return {};
  if (process.fixed && *options.per_session_threads != process.per_session_threads) {
    return {StatusCode::kConfigure,
            "expected perSessionThreads to be set before TensorFlow is opened, received another "
            "value after it: the engine has taken the first one for the whole process"};
  }
  process.options = options;
  return {};
}

void FixProcess() {
  Process& process = TheProcess();
  std::lock_guard<std::mutex> lock(process.mutex);
  process.fixed = true;
  process.per_session_threads = process.options.per_session_threads.value_or(HasOwnPoolsVariable());
  if (process.per_session_threads == HasOwnPoolsVariable()) return;
#ifdef _WIN32
  _putenv_s(kOwnPoolsVariable, process.per_session_threads ? "1" : "0");
#else
  setenv(kOwnPoolsVariable, process.per_session_threads ? "1" : "0", 1);
#endif
}

void UnfixProcess() {
  Process& process = TheProcess();
  std::lock_guard<std::mutex> lock(process.mutex);
  process.fixed = false;
}

Status MakeConfig(const SessionOptions& options, std::string* config) {
  int intra_op_threads = options.intra_op_threads;
  int inter_op_threads = options.inter_op_threads;
  Process& process = TheProcess();
  std::lock_guard<std::mutex> lock(process.mutex);
  if (options.shared_threads && *options.shared_threads == process.per_session_threads) {
    return {StatusCode::kConfigure,
            process.per_session_threads
                ? "expected a session with thread pools of its own, as perSessionThreads has it, "
                  "received one that shares the process's"
                : "expected perSessionThreads, set before TensorFlow is opened, for a session with "
                  "thread pools of its own"};
  }
  if (!process.per_session_threads) {
    TENON_RETURN_IF_ERROR(TakePool("intra-op", options.insist_intra_op, &intra_op_threads,
                                   &process.intra_op_threads));
    TENON_RETURN_IF_ERROR(TakePool("inter-op", options.insist_inter_op, &inter_op_threads,
                                   &process.inter_op_threads));
  }
  config->clear();
  AppendInt32(kIntraOpParallelismThreads, intra_op_threads, config);
  AppendInt32(kInterOpParallelismThreads, inter_op_threads, config);
  if (process.per_session_threads) AppendInt32(kUsePerSessionThreads, 1, config);
  *config += options.config_proto;
  return {};
}

}  // namespace tenon::tensorflow
