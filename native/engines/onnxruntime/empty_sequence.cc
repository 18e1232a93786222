#include "engines/onnxruntime/empty_sequence.h"

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <utility>

#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/status.h"
#include "engines/onnxruntime/tensor.h"

namespace tenon::onnxruntime {
namespace {

// The few fields of onnx.proto that the model below has, in protobuf's wire
// format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. All numbers
// and lengths are below 128, so that each is one byte; a tag may be two.
std::string Tag(int field, int wire_type) {
  const int tag = field << 3 | wire_type;
  if (tag < 0x80) return {static_cast<char>(tag)};
  return {static_cast<char>((tag & 0x7f) | 0x80), static_cast<char>(tag >> 7)};
}
std::string NumberField(int field, int value) { return Tag(field, 0) + static_cast<char>(value); }
std::string BytesField(int field, std::string_view bytes) {
  return (Tag(field, 2) + static_cast<char>(bytes.size())).append(bytes);
}

// A model without inputs whose output "y" is an empty sequence.
std::string EmptySequenceModel(OrtElementType type) {
  constexpr int kAttributeInt = 2;
  constexpr int kIrVersion = 6;
  constexpr int kOpset = 11;  // the first that has sequences
  const std::string dtype =
      BytesField(1, "dtype") + NumberField(3, type) + NumberField(20, kAttributeInt);
  const std::string node =
      BytesField(2, "y") + BytesField(4, "SequenceEmpty") + BytesField(5, dtype);
  const std::string tensor_type = BytesField(1, NumberField(1, type));
  const std::string sequence_type = BytesField(4, BytesField(1, tensor_type));
  const std::string output = BytesField(1, "y") + BytesField(2, sequence_type);
  const std::string graph = BytesField(1, node) + BytesField(2, "g") + BytesField(12, output);
  return NumberField(1, kIrVersion) + BytesField(7, graph) +
         BytesField(8, BytesField(1, "") + NumberField(2, kOpset));
}

Status MakeEmptySequence(const Library& library, OrtElementType type, ValueHandle* sequence) {
  const Api& api = library.api();
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kUnsupported);
  };
  SessionOptionsHandle options;
  TENON_RETURN_IF_ERROR(check(api.CreateSessionOptions(Receiver(api, &options))));
  TENON_RETURN_IF_ERROR(check(api.SetIntraOpNumThreads(options.get(), 1)));
  TENON_RETURN_IF_ERROR(check(api.SetInterOpNumThreads(options.get(), 1)));
  const std::string model = EmptySequenceModel(type);
  SessionHandle session;
  TENON_RETURN_IF_ERROR(check(api.CreateSessionFromArray(library.env(), model.data(), model.size(),
                                                         options.get(), Receiver(api, &session))));
  const char* const name = "y";
  return check(
      api.Run(session.get(), nullptr, nullptr, nullptr, 0, &name, 1, Receiver(api, sequence)));
}

}  // namespace

Status FindEmptySequence(const Library& library, const ValueSpec& element, const std::string& name,
                         const OrtValue** value) {
  const OrtElementType type =
      element.kind == ValueSpec::Kind::kTensor ? ToElementType(element.dtype) : 0;
  if (type == 0) {
    return {StatusCode::kUnsupported,
            "expected at least one item for \"" + name +
                "\": ONNX Runtime can be given no empty sequence of what is not a tensor"};
  }
  EmptySequences& cache = library.empty_sequences();
  const std::lock_guard<std::mutex> lock(cache.mutex);
  ValueHandle& sequence = cache.by_type[static_cast<size_t>(type)];
  if (sequence == nullptr) TENON_RETURN_IF_ERROR(MakeEmptySequence(library, type, &sequence));
  *value = sequence.get();
  return {};
}

}  // namespace tenon::onnxruntime
