#include "addon/options.h"

#include <cstring>
#include <functional>
#include <limits>
#include <optional>

#include "addon/errors.h"
#include "addon/pool_wrap.h"
#include "addon/values.h"
#include "platform/aligned_memory.h"
#include "runtime/log_queue.h"
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

// One that may be left out, as undefined or null.
bool IsGiven(Napi::Object object, const char* key) {
  const Napi::Value value = object.Get(key);
  return !value.IsUndefined() && !value.IsNull();
}

std::optional<bool> ReadOptionalBool(Napi::Object object, const char* key) {
  if (!IsGiven(object, key)) return std::nullopt;
  return ReadBool(object, key);
}

std::optional<int> ReadOptionalInt(Napi::Object object, const char* key, int minimum) {
  if (!IsGiven(object, key)) return std::nullopt;
  return ReadInt(object, key, minimum);
}

// Memory from alloc is held, any other copied.
onnxruntime::OwnedBytes AsBytes(Napi::Value value, const char* key) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    ThrowInvalidArgument(value.Env(), "a Uint8Array for \"" + std::string(key) + "\"");
  }
  const auto array = value.As<Napi::Uint8Array>();
  onnxruntime::OwnedBytes bytes;
  bytes.byte_length = array.ByteLength();
  bytes.owner =
      bytes.byte_length == 0 ? nullptr : MemoryRegistry::Get().Find(array.ArrayBuffer().Data());
  if (bytes.owner != nullptr) {
    bytes.data = array.Data();
    return bytes;
  }
  bytes.owner = AllocateAligned(bytes.byte_length);
  if (bytes.owner == nullptr) {
    throw ToError(value.Env(), {StatusCode::kOutOfMemory, "expected memory for " +
                                                              std::to_string(bytes.byte_length) +
                                                              " bytes of \"" + key + "\""});
  }
  bytes.data = bytes.owner.get();
  if (bytes.byte_length > 0) std::memcpy(bytes.owner.get(), array.Data(), bytes.byte_length);
  return bytes;
}

std::vector<std::pair<std::string, Tensor>> ReadTensors(Napi::Object object, const char* key) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  ForEach(object, key, [&](Napi::Value value) {
    const Napi::Object pair = AsObject(value, key);
    ByteCounts counts;
    tensors.emplace_back(AsString(pair.Get(0u), key),
                         ReadValue(pair.Get(1u), FeedMemory::kOwned, &counts).tensor);
  });
  return tensors;
}

std::vector<std::pair<std::string, int64_t>> ReadSizes(Napi::Object object, const char* key) {
  std::vector<std::pair<std::string, int64_t>> sizes;
  ForEach(object, key, [&](Napi::Value value) {
    const Napi::Object pair = AsObject(value, key);
    sizes.emplace_back(AsString(pair.Get(0u), key),
                       AsInteger(pair.Get(1u), key, 0, int64_t{1} << 53));
  });
  return sizes;
}

onnxruntime::ExecutionProvider AsProvider(Napi::Value value) {
  const Napi::Object object = AsObject(value, "providers");
  onnxruntime::ExecutionProvider provider{
      ReadString(object, "name"), ReadPairs(object, "options"), {}};
  ForEach(object, "devices", [&](Napi::Value index) {
    provider.devices.push_back(
        static_cast<size_t>(AsInteger(index, "devices", 0, std::numeric_limits<int32_t>::max())));
  });
  return provider;
}

onnxruntime::LoraAdapter AsLoraAdapter(Napi::Value value) {
  const Napi::Object pair = AsObject(value, "loraAdapters");
  onnxruntime::LoraAdapter adapter;
  adapter.name = AsString(pair.Get(0u), "loraAdapters");
  const Napi::Value source = pair.Get(1u);
  if (source.IsString()) {
    adapter.path = AsString(source, "loraAdapters");
  } else {
    adapter.bytes = AsBytes(source, "loraAdapters");
  }
  return adapter;
}

onnxruntime::ThreadPools AsThreadPools(Napi::Object object) {
  onnxruntime::ThreadPools pools;
  pools.intra_op_threads = ReadInt(object, "intraOpThreads", 1);
  pools.inter_op_threads = ReadInt(object, "interOpThreads", 1);
  pools.spin = ReadBool(object, "spin");
  pools.affinity = ReadString(object, "affinity");
  pools.denormal_as_zero = ReadBool(object, "denormalAsZero");
  return pools;
}

PoolOptions ReadPool(Napi::Object options) {
  PoolOptions pool;
  pool.lanes = static_cast<size_t>(ReadInt(options, "lanes", 1));
  pool.max_queue = static_cast<size_t>(ReadInt(options, "maxQueue", 0));
  pool.spin = std::chrono::microseconds(ReadInt(options, "spinMicros", 0));
  pool.niceness = ReadInt(options, "niceness", 0);
  if (IsGiven(options, "pool")) pool.shared = ReadLanePool(options.Get("pool"));
  pool.weight = ReadInt(options, "weight", 1);
  return pool;
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

ProcessConfiguration ReadConfigure(Napi::Object options) {
  ProcessConfiguration given;
  if (IsGiven(options, "onnxruntime")) {
    const Napi::Object onnx = AsObject(options.Get("onnxruntime"), "onnxruntime");
    given.onnxruntime.log_severity = ReadOptionalInt(onnx, "logSeverity", 0);
    given.onnxruntime.telemetry = ReadOptionalBool(onnx, "telemetry");
    if (ReadBool(onnx, "logger")) given.onnxruntime.log_sink = &LogQueue::Get();
    if (IsGiven(onnx, "globalThreadPools")) {
      given.onnxruntime.global_pools =
          AsThreadPools(AsObject(onnx.Get("globalThreadPools"), "globalThreadPools"));
    }
    given.onnxruntime.provider_libraries = ReadPairs(onnx, "providerLibraries");
  }
  if (IsGiven(options, "tensorflow")) {
    const Napi::Object tensorflow = AsObject(options.Get("tensorflow"), "tensorflow");
    given.tensorflow.per_session_threads = ReadOptionalBool(tensorflow, "perSessionThreads");
  }
  return given;
}

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

  onnxruntime::SessionOptions& session = load.session;
  session.intra_op_threads = ReadInt(options, "intraOpThreads", 1);
  session.inter_op_threads = ReadInt(options, "interOpThreads", 1);
  session.spin = ReadBool(options, "spin");
  session.shared_threads = ReadOptionalBool(options, "sharedThreads");
  session.graph_optimization_level = ReadInt(options, "graphOptimizationLevel", 0);
  session.optimized_model_path = ReadString(options, "optimizedModelPath");
  session.cpu_arena = ReadBool(options, "cpuArena");
  session.memory_pattern = ReadBool(options, "memoryPattern");
  session.deterministic = ReadBool(options, "deterministic");
  session.profile_path = ReadString(options, "profilePath");
  session.log_severity = ReadOptionalInt(options, "logSeverity", 0);
  session.log_verbosity = ReadInt(options, "logVerbosity", 0);
  session.log_id = ReadString(options, "logId");
  ForEach(options, "providers",
          [&](Napi::Value value) { session.providers.push_back(AsProvider(value)); });
  session.allow_provider_fallback = ReadBool(options, "allowProviderFallback");
  session.config_entries = ReadPairs(options, "configEntries");
  session.free_dimension_overrides = ReadSizes(options, "freeDimensionOverrides");
  session.free_denotation_overrides = ReadSizes(options, "freeDenotationOverrides");
  session.custom_op_libraries = ReadStrings(options, "customOpLibraries");
  session.initializers = ReadTensors(options, "initializers");
  session.external_initializers = ReadTensors(options, "externalInitializers");
  ForEach(options, "externalData", [&](Napi::Value value) {
    const Napi::Object pair = AsObject(value, "externalData");
    session.external_files.emplace_back(AsString(pair.Get(0u), "externalData"),
                                        AsBytes(pair.Get(1u), "externalData"));
  });
  session.weight_group = ReadString(options, "weightGroup");
  ForEach(options, "loraAdapters",
          [&](Napi::Value value) { session.lora_adapters.push_back(AsLoraAdapter(value)); });
  session.active_lora_adapters = ReadStrings(options, "activeLoraAdapters");
  session.run_config_entries = ReadPairs(options, "runConfigEntries");
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
  load.session.insist_intra_op = ReadBool(options, "insistIntraOp");
  load.session.insist_inter_op = ReadBool(options, "insistInterOp");
  load.session.shared_threads = ReadOptionalBool(options, "sharedThreads");
  load.session.op_libraries = ReadStrings(options, "opLibraries");
  const Napi::Value config = options.Get("configProto");
  if (!config.IsTypedArray())
    ThrowInvalidArgument(options.Env(), "a Uint8Array for \"configProto\"");
  const auto bytes = config.As<Napi::Uint8Array>();
  load.session.config_proto.assign(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
  return load;
}

std::shared_ptr<const EngineRunOptions> ReadRunOptions(Napi::Value value) {
  if (value.IsUndefined()) return nullptr;
  const Napi::Object options = AsObject(value, "options");
  const std::string engine = ReadString(options, "engine");
  if (engine == "tensorflow") {
    auto run = std::make_shared<tensorflow::RunOptions>();
    run->timeout_ms = ReadInt(options, "timeoutMs", 0);
    run->trace_path = ReadString(options, "tracePath");
    run->trace_hardware = ReadBool(options, "traceHardware");
    return run;
  }
  auto run = std::make_shared<onnxruntime::RunOptions>();
  run->config_entries = ReadPairs(options, "configEntries");
  if (IsGiven(options, "loraAdapters")) run->lora_adapters = ReadStrings(options, "loraAdapters");
  run->log_severity = ReadOptionalInt(options, "logSeverity", 0);
  run->log_verbosity = ReadOptionalInt(options, "logVerbosity", 0);
  run->tag = ReadString(options, "tag");
  run->profile_path = ReadString(options, "profilePath");
  return run;
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
  object.Set("providers", WriteStrings(env, info.providers));
  object.Set("providerFallbacks", WritePairs(env, info.provider_fallbacks));
  return object;
}

Napi::Array WriteStrings(Napi::Env env, const std::vector<std::string>& strings) {
  Napi::Array array = Napi::Array::New(env, strings.size());
  for (uint32_t i = 0; i < strings.size(); ++i) array.Set(i, strings[i]);
  return array;
}

}  // namespace tenon::addon
