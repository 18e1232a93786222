#include "addon/options.h"

#include <functional>
#include <limits>

#include "addon/errors.h"
#include "runtime/memory_registry.h"

namespace tenon::addon {
namespace {

std::string AsString(Napi::Value value, const char* key) {
  if (!value.IsString()) {
    ThrowInvalidArgument(value.Env(), "a string for \"" + std::string(key) + "\"");
  }
  return value.As<Napi::String>().Utf8Value();
}

std::string ReadString(Napi::Object object, const char* key) {
  return AsString(object.Get(key), key);
}

int64_t AsInteger(Napi::Value value, const char* key, int64_t minimum, int64_t maximum) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    if (number >= static_cast<double>(minimum) && number <= static_cast<double>(maximum)) {
      return static_cast<int64_t>(number);
    }
  }
  ThrowInvalidArgument(value.Env(), "an integer from " + std::to_string(minimum) + " to " +
                                        std::to_string(maximum) + " for \"" + key + "\"");
}

int ReadInt(Napi::Object object, const char* key, int minimum) {
  return static_cast<int>(
      AsInteger(object.Get(key), key, minimum, std::numeric_limits<int32_t>::max()));
}

bool ReadBool(Napi::Object object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsBoolean()) {
    ThrowInvalidArgument(object.Env(), "a boolean for \"" + std::string(key) + "\"");
  }
  return value.As<Napi::Boolean>().Value();
}

void ForEach(Napi::Object object, const char* key, const std::function<void(Napi::Value)>& body) {
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) {
    ThrowInvalidArgument(object.Env(), "an array for \"" + std::string(key) + "\"");
  }
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) body(array.Get(i));
}

Napi::Object AsObject(Napi::Value value, const char* key) {
  if (!value.IsObject()) {
    ThrowInvalidArgument(value.Env(), "objects in \"" + std::string(key) + "\"");
  }
  return value.As<Napi::Object>();
}

std::vector<std::string> ReadStrings(Napi::Object object, const char* key) {
  std::vector<std::string> strings;
  ForEach(object, key, [&](Napi::Value value) { strings.push_back(AsString(value, key)); });
  return strings;
}

std::vector<std::pair<std::string, std::string>> ReadPairs(Napi::Object object, const char* key) {
  std::vector<std::pair<std::string, std::string>> pairs;
  ForEach(object, key, [&](Napi::Value value) {
    const Napi::Object pair = AsObject(value, key);
    pairs.emplace_back(AsString(pair.Get(0u), key), AsString(pair.Get(1u), key));
  });
  return pairs;
}

PoolOptions ReadPool(Napi::Object options) {
  return {static_cast<size_t>(ReadInt(options, "lanes", 1)),
          static_cast<size_t>(ReadInt(options, "maxQueue", 0))};
}

DType DTypeFromName(Napi::Env env, const std::string& name) {
  for (uint32_t number = 1; number < kDTypeCount; ++number) {
    const DType dtype = *DTypeFromNumber(number);
    if (DTypeName(dtype) == name) return dtype;
  }
  ThrowInvalidArgument(env, "the name of a dtype, received \"" + name + "\"");
}

constexpr const char* kKindNames[] = {"tensor", "sequence", "map", "optional", "sparse", "opaque"};

std::vector<tensorflow::Binding> ReadBindings(Napi::Object signature, const char* key) {
  std::vector<tensorflow::Binding> bindings;
  ForEach(signature, key, [&](Napi::Value value) {
    const Napi::Object binding = AsObject(value, key);
    bindings.push_back(
        {ReadSpec(AsObject(binding.Get("spec"), "spec")), ReadString(binding, "tensor")});
  });
  return bindings;
}

Napi::Array WritePairs(Napi::Env env,
                       const std::vector<std::pair<std::string, std::string>>& pairs) {
  Napi::Array array = Napi::Array::New(env, pairs.size());
  for (uint32_t i = 0; i < pairs.size(); ++i) {
    Napi::Array pair = Napi::Array::New(env, 2);
    pair.Set(0u, pairs[i].first);
    pair.Set(1u, pairs[i].second);
    array.Set(i, pair);
  }
  return array;
}

Napi::Array WriteSpecs(Napi::Env env, const std::vector<ValueSpec>& specs) {
  Napi::Array array = Napi::Array::New(env, specs.size());
  for (uint32_t i = 0; i < specs.size(); ++i) array.Set(i, WriteSpec(env, specs[i]));
  return array;
}

}  // namespace

OnnxLoad ReadOnnxLoad(Napi::Object options) {
  OnnxLoad load;
  load.library = ReadString(options, "library");
  load.pool = ReadPool(options);

  const Napi::Value source = options.Get("source");
  if (source.IsString()) {
    load.source.path = source.As<Napi::String>().Utf8Value();
  } else if (source.IsTypedArray() &&
             source.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto bytes = source.As<Napi::Uint8Array>();
    load.source.byte_length = bytes.ByteLength();
    if (load.source.byte_length > 0) {
      load.source.bytes = bytes.Data();
      load.source.bytes_owner = MemoryRegistry::Get().Find(bytes.ArrayBuffer().Data());
      if (load.source.bytes_owner == nullptr) {
        ThrowInvalidArgument(options.Env(), "bytes in memory from alloc for \"source\"");
      }
    }
  } else {
    ThrowInvalidArgument(options.Env(), "a path or a Uint8Array for \"source\"");
  }

  load.session.intra_op_threads = ReadInt(options, "intraOpThreads", 1);
  load.session.inter_op_threads = ReadInt(options, "interOpThreads", 1);
  load.session.spin = ReadBool(options, "spin");
  load.session.graph_optimization_level = ReadInt(options, "graphOptimizationLevel", 0);
  ForEach(options, "providers", [&](Napi::Value value) {
    const Napi::Object provider = AsObject(value, "providers");
    load.session.providers.push_back(
        {ReadString(provider, "name"), ReadPairs(provider, "options")});
  });
  load.session.config_entries = ReadPairs(options, "configEntries");
  ForEach(options, "freeDimensionOverrides", [&](Napi::Value value) {
    const Napi::Object pair = AsObject(value, "freeDimensionOverrides");
    load.session.free_dimension_overrides.emplace_back(
        AsString(pair.Get(0u), "freeDimensionOverrides"),
        AsInteger(pair.Get(1u), "freeDimensionOverrides", 0, int64_t{1} << 53));
  });
  load.session.custom_op_libraries = ReadStrings(options, "customOpLibraries");
  load.environment.log_severity = ReadInt(options, "logSeverity", 0);
  load.environment.telemetry = ReadBool(options, "telemetry");
  return load;
}

TensorFlowLoad ReadTensorFlowLoad(Napi::Object options) {
  TensorFlowLoad load;
  load.library = ReadString(options, "library");
  load.pool = ReadPool(options);
  load.source.saved_model = ReadString(options, "savedModel");
  load.source.frozen_graph = ReadString(options, "frozenGraph");
  load.source.tags = ReadStrings(options, "tags");
  load.source.metadata = ReadPairs(options, "metadata");
  ForEach(options, "signatures", [&](Napi::Value value) {
    const Napi::Object signature = AsObject(value, "signatures");
    load.source.signatures.push_back({ReadString(signature, "name"),
                                      ReadBindings(signature, "inputs"),
                                      ReadBindings(signature, "outputs")});
  });
  load.session.intra_op_threads = ReadInt(options, "intraOpThreads", 1);
  load.session.inter_op_threads = ReadInt(options, "interOpThreads", 1);
  load.session.op_libraries = ReadStrings(options, "opLibraries");
  const Napi::Value config = options.Get("configProto");
  if (!config.IsTypedArray())
    ThrowInvalidArgument(options.Env(), "a Uint8Array for \"configProto\"");
  const auto bytes = config.As<Napi::Uint8Array>();
  load.session.config_proto.assign(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
  return load;
}

ValueSpec ReadSpec(Napi::Object object) {
  ValueSpec spec;
  spec.name = ReadString(object, "name");
  const std::string kind = ReadString(object, "kind");
  // Specs travel this way for TensorFlow only, whose signatures hold tensors.
  if (kind != "tensor") {
    spec.kind = kind == "sparse" ? ValueSpec::Kind::kSparse : ValueSpec::Kind::kOpaque;
    return spec;
  }
  const Napi::Value dtype = object.Get("dtype");
  if (dtype.IsString()) {
    spec.dtype = DTypeFromName(object.Env(), dtype.As<Napi::String>().Utf8Value());
  }
  const Napi::Value shape = object.Get("shape");
  spec.unknown_rank = !shape.IsArray();
  if (shape.IsArray()) {
    ForEach(object, "shape", [&](Napi::Value value) {
      Dimension dimension;
      if (value.IsNumber()) dimension.size = value.As<Napi::Number>().Int64Value();
      if (value.IsString()) dimension.name = value.As<Napi::String>().Utf8Value();
      spec.shape.push_back(std::move(dimension));
    });
  }
  return spec;
}

Napi::Object WriteSpec(Napi::Env env, const ValueSpec& spec) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", kKindNames[static_cast<size_t>(spec.kind)]);
  object.Set("name", spec.name);
  switch (spec.kind) {
    case ValueSpec::Kind::kTensor: {
      object.Set("dtype", std::string(DTypeName(spec.dtype)));
      if (spec.unknown_rank) {
        object.Set("shape", env.Null());
        break;
      }
      Napi::Array shape = Napi::Array::New(env, spec.shape.size());
      for (uint32_t i = 0; i < spec.shape.size(); ++i) {
        const Dimension& dimension = spec.shape[i];
        if (dimension.size >= 0) {
          shape.Set(i, static_cast<double>(dimension.size));
        } else if (!dimension.name.empty()) {
          shape.Set(i, dimension.name);
        } else {
          shape.Set(i, env.Null());
        }
      }
      object.Set("shape", shape);
      break;
    }
    case ValueSpec::Kind::kSequence:
    case ValueSpec::Kind::kOptional: object.Set("element", WriteSpec(env, *spec.element)); break;
    case ValueSpec::Kind::kMap:
      object.Set("key", std::string(DTypeName(spec.dtype)));
      object.Set("value", WriteSpec(env, *spec.element));
      break;
    case ValueSpec::Kind::kSparse:
    case ValueSpec::Kind::kOpaque: break;
  }
  if (spec.optional) object.Set("optional", true);
  return object;
}

Napi::Object WriteModelInfo(Napi::Env env, const ModelInfo& info) {
  Napi::Array signatures = Napi::Array::New(env, info.signatures.size());
  for (uint32_t i = 0; i < info.signatures.size(); ++i) {
    Napi::Object signature = Napi::Object::New(env);
    signature.Set("name", info.signatures[i].name);
    signature.Set("inputs", WriteSpecs(env, info.signatures[i].inputs));
    signature.Set("outputs", WriteSpecs(env, info.signatures[i].outputs));
    signatures.Set(i, signature);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("signatures", signatures);
  object.Set("metadata", WritePairs(env, info.metadata));
  object.Set("customMetadata", WritePairs(env, info.custom_metadata));
  return object;
}

Napi::Array WriteStrings(Napi::Env env, const std::vector<std::string>& strings) {
  Napi::Array array = Napi::Array::New(env, strings.size());
  for (uint32_t i = 0; i < strings.size(); ++i) array.Set(i, strings[i]);
  return array;
}

}  // namespace tenon::addon
