#include "engines/onnxruntime/model_info.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/status.h"
#include "engines/onnxruntime/tensor.h"

namespace tenon::onnxruntime {
namespace {

Status Check(const Api& api, OrtStatus* status) {
  return TakeStatus(api, status, StatusCode::kModelInvalid);
}

// A text that `read` fetches into the engine's memory; "" where it gives none.
template <typename Read>
Status ReadText(const Library& library, const Read& read, std::string* text) {
  Allocated<char> words(library.api(), library.allocator());
  TENON_RETURN_IF_ERROR(Check(library.api(), read(&words.memory)));
  *text = words.memory == nullptr ? "" : words.memory;
  return {};
}

Status ReadTensorType(const Api& api, const OrtTypeInfo* type, ValueSpec* spec) {
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  TENON_RETURN_IF_ERROR(Check(api, api.CastTypeInfoToTensorInfo(type, &tensor)));
  if (tensor == nullptr) return {StatusCode::kModelInvalid, "expected a tensor's type"};
  OrtElementType element = 0;
  TENON_RETURN_IF_ERROR(Check(api, api.GetTensorElementType(tensor, &element)));
  spec->dtype = FromElementType(element);

  size_t rank = 0;
  TENON_RETURN_IF_ERROR(Check(api, api.GetDimensionsCount(tensor, &rank)));
  spec->unknown_rank = rank == 0 && (api.TensorTypeAndShape_HasShape == nullptr ||
                                     !api.TensorTypeAndShape_HasShape(tensor));
  std::vector<int64_t> sizes(rank);
  std::vector<const char*> names(rank, nullptr);
  if (rank > 0) {
    TENON_RETURN_IF_ERROR(Check(api, api.GetDimensions(tensor, sizes.data(), rank)));
    TENON_RETURN_IF_ERROR(Check(api, api.GetSymbolicDimensions(tensor, names.data(), rank)));
  }
  for (size_t i = 0; i < rank; ++i) {
    Dimension dimension;
    if (sizes[i] >= 0) {
      dimension.size = sizes[i];
    } else if (names[i] != nullptr) {
      dimension.name = names[i];
    }
    spec->shape.push_back(std::move(dimension));
  }
  return {};
}

// Recurs as deep as the model nests its types, which the engine's own parser limits.
Status ReadType(const Api& api, const OrtTypeInfo* type, ValueSpec* spec) {
  OrtValueType value_type = kOrtTypeUnknown;
  TENON_RETURN_IF_ERROR(Check(api, api.GetOnnxTypeFromTypeInfo(type, &value_type)));
  TypeInfoHandle element;
  switch (value_type) {
    case kOrtTypeTensor:
      spec->kind = ValueSpec::Kind::kTensor;
      return ReadTensorType(api, type, spec);
    case kOrtTypeSparseTensor:
      spec->kind = ValueSpec::Kind::kSparse;
      return ReadTensorType(api, type, spec);
    case kOrtTypeSequence: {
      spec->kind = ValueSpec::Kind::kSequence;
      const OrtSequenceTypeInfo* sequence = nullptr;
      TENON_RETURN_IF_ERROR(Check(api, api.CastTypeInfoToSequenceTypeInfo(type, &sequence)));
      TENON_RETURN_IF_ERROR(
          Check(api, api.GetSequenceElementType(sequence, Receiver(api, &element))));
      break;
    }
    case kOrtTypeMap: {
      spec->kind = ValueSpec::Kind::kMap;
      const OrtMapTypeInfo* map = nullptr;
      TENON_RETURN_IF_ERROR(Check(api, api.CastTypeInfoToMapTypeInfo(type, &map)));
      OrtElementType key = 0;
      TENON_RETURN_IF_ERROR(Check(api, api.GetMapKeyType(map, &key)));
      spec->dtype = FromElementType(key);
      TENON_RETURN_IF_ERROR(Check(api, api.GetMapValueType(map, Receiver(api, &element))));
      break;
    }
    case kOrtTypeOptional: {
      spec->kind = ValueSpec::Kind::kOptional;
      const OrtOptionalTypeInfo* optional = nullptr;
      TENON_RETURN_IF_ERROR(Check(api, api.CastTypeInfoToOptionalTypeInfo(type, &optional)));
      TENON_RETURN_IF_ERROR(
          Check(api, api.GetOptionalContainedTypeInfo(optional, Receiver(api, &element))));
      break;
    }
    case kOrtTypeUnknown:
    case kOrtTypeOpaque: spec->kind = ValueSpec::Kind::kOpaque; return {};
  }
  spec->element = std::make_shared<ValueSpec>();
  return ReadType(api, element.get(), spec->element.get());
}

using GetCount = OrtStatus*(TENON_ORT_CALL*)(const OrtSession*, size_t*);
using GetName = OrtStatus*(TENON_ORT_CALL*)(const OrtSession*, size_t, OrtAllocator*, char**);
using GetType = OrtStatus*(TENON_ORT_CALL*)(const OrtSession*, size_t, OrtTypeInfo**);

// Appends all values of one sort: inputs, outputs or overridable initializers.
Status AppendSpecs(const Library& library, const OrtSession* session, GetCount get_count,
                   GetName get_name, GetType get_type, bool optional,
                   std::vector<ValueSpec>* specs) {
  const Api& api = library.api();
  size_t count = 0;
  TENON_RETURN_IF_ERROR(Check(api, get_count(session, &count)));
  for (size_t i = 0; i < count; ++i) {
    ValueSpec spec;
    TENON_RETURN_IF_ERROR(ReadText(
        library, [&](char** text) { return get_name(session, i, library.allocator(), text); },
        &spec.name));
    TypeInfoHandle type;
    TENON_RETURN_IF_ERROR(Check(api, get_type(session, i, Receiver(api, &type))));
    TENON_RETURN_IF_ERROR(ReadType(api, type.get(), &spec));
    spec.optional = optional;
    specs->push_back(std::move(spec));
  }
  return {};
}

// The keys of the model's own map, each an allocation of the engine's, in one more.
struct MetadataKeys {
  explicit MetadataKeys(const Library& library) : array(library.api(), library.allocator()) {}
  ~MetadataKeys() {
    for (int64_t i = 0; i < count; ++i) {
      Allocated<char> key(array.api, array.allocator);
      key.memory = array.memory[i];
    }
  }
  Allocated<char*> array;
  int64_t count = 0;
};

Status ReadMetadata(const Library& library, const OrtSession* session, ModelInfo* info) {
  const Api& api = library.api();
  ModelMetadataHandle metadata;
  TENON_RETURN_IF_ERROR(Check(api, api.SessionGetModelMetadata(session, Receiver(api, &metadata))));

  const auto read = [&](auto function, const char* name) {
    std::string text;
    Status status = ReadText(
        library, [&](char** words) { return function(metadata.get(), library.allocator(), words); },
        &text);
    if (status.ok() && !text.empty()) info->metadata.emplace_back(name, std::move(text));
    return status;
  };
  TENON_RETURN_IF_ERROR(read(api.ModelMetadataGetProducerName, "producer"));
  int64_t version = 0;
  TENON_RETURN_IF_ERROR(Check(api, api.ModelMetadataGetVersion(metadata.get(), &version)));
  // The engine's word for a model without a version.
  if (version != std::numeric_limits<int64_t>::max()) {
    info->metadata.emplace_back("version", std::to_string(version));
  }
  TENON_RETURN_IF_ERROR(read(api.ModelMetadataGetGraphName, "graphName"));
  TENON_RETURN_IF_ERROR(read(api.ModelMetadataGetDomain, "domain"));
  TENON_RETURN_IF_ERROR(read(api.ModelMetadataGetDescription, "description"));
  TENON_RETURN_IF_ERROR(read(api.ModelMetadataGetGraphDescription, "graphDescription"));

  MetadataKeys keys(library);
  TENON_RETURN_IF_ERROR(
      Check(api, api.ModelMetadataGetCustomMetadataMapKeys(metadata.get(), library.allocator(),
                                                           &keys.array.memory, &keys.count)));
  for (int64_t i = 0; i < keys.count; ++i) {
    const char* const key = keys.array.memory[i];
    std::string value;
    TENON_RETURN_IF_ERROR(ReadText(
        library,
        [&](char** words) {
          return api.ModelMetadataLookupCustomMetadataMap(metadata.get(), library.allocator(), key,
                                                          words);
        },
        &value));
    info->custom_metadata.emplace_back(key, std::move(value));
  }
  return {};
}

}  // namespace

Result<ModelInfo> ReadModelInfo(const Library& library, const OrtSession* session) {
  const Api& api = library.api();
  ModelInfo info;
  Signature signature;
  signature.name = "serving_default";
  TENON_RETURN_IF_ERROR(AppendSpecs(library, session, api.SessionGetInputCount,
                                    api.SessionGetInputName, api.SessionGetInputTypeInfo, false,
                                    &signature.inputs));
  TENON_RETURN_IF_ERROR(AppendSpecs(library, session, api.SessionGetOverridableInitializerCount,
                                    api.SessionGetOverridableInitializerName,
                                    api.SessionGetOverridableInitializerTypeInfo, true,
                                    &signature.inputs));
  TENON_RETURN_IF_ERROR(AppendSpecs(library, session, api.SessionGetOutputCount,
                                    api.SessionGetOutputName, api.SessionGetOutputTypeInfo, false,
                                    &signature.outputs));
  info.signatures.push_back(std::move(signature));
  TENON_RETURN_IF_ERROR(ReadMetadata(library, session, &info));
  return info;
}

}  // namespace tenon::onnxruntime
