#include "engines/tensorflow/config.h"

#include <cstdint>

namespace tenon::tensorflow {
namespace {

// Field numbers of tensorflow.ConfigProto (tensorflow/core/protobuf/config.proto).
constexpr uint32_t kIntraOpParallelismThreads = 2;
constexpr uint32_t kInterOpParallelismThreads = 5;

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

std::string SerializeConfig(const SessionOptions& options) {
  std::string bytes;
  AppendInt32(kIntraOpParallelismThreads, options.intra_op_threads, &bytes);
  AppendInt32(kInterOpParallelismThreads, options.inter_op_threads, &bytes);
  return bytes + options.config_proto;
}

}  // namespace tenon::tensorflow
