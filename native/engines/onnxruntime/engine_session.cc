#include "engines/onnxruntime/engine_session.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "engines/onnxruntime/config_keys.h"
#include "engines/onnxruntime/device_turn.h"
#include "engines/onnxruntime/providers.h"
#include "engines/onnxruntime/status.h"

namespace tenon::onnxruntime {
namespace {

// With this entry a model in the ORT format is used where it lies, instead of
// being copied: the session then refers to the bytes as long as it lives.
constexpr std::string_view kUseBytesDirectly = "session.use_ort_model_bytes_directly";

bool UsesBytesDirectly(const SessionOptions& options) {
  for (const auto& [key, value] : options.config_entries) {
    if (key == kUseBytesDirectly && value == "1") return true;
  }
  return false;
}

std::filesystem::path ToPath(const std::string& text) {
  return std::filesystem::path(std::u8string(text.begin(), text.end()));
}

bool FileExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(ToPath(path), error);
}

bool HasKey(const std::vector<std::pair<std::string, std::string>>& entries,
            const std::string& key) {
  return std::any_of(entries.begin(), entries.end(),
                     [&key](const auto& entry) { return entry.first == key; });
}

Status Aborted() { return {StatusCode::kAborted, "the load was cancelled"}; }

bool IsCancelled(CancelToken* cancel) { return cancel != nullptr && cancel->cancelled(); }

Status ProviderFailed(const ExecutionProvider& provider, const Status& status) {
  const std::string subject = "execution provider \"" + provider.name + "\": ";
  if (status.message().starts_with(subject)) return status;
  return Status(StatusCode::kProvider, subject + status.message())
      .WithEngineCode(status.engine_code());
}

SessionOptions WithProviders(const SessionOptions& options,
                             std::vector<ExecutionProvider> providers) {
  SessionOptions changed = options;
  changed.providers = std::move(providers);
  // A trial leaves nothing behind.
  changed.optimized_model_path.clear();
  changed.profile_path.clear();
  return changed;
}

Status CreateEngineSession(const Library& library, const ModelSource& source,
                           const OrtSessionOptions* options, const WeightGroup* group,
                           OrtSession** session) {
  const Api& api = library.api();
  const OrtEnv* const env = library.env();
  if (source.path.empty()) {
    return TakeLoadStatus(
        api,
        group == nullptr
            ? api.CreateSessionFromArray(env, source.bytes, source.byte_length, options, session)
            : api.CreateSessionFromArrayWithPrepackedWeightsContainer(
                  env, source.bytes, source.byte_length, options, group->container(), session));
  }
  const auto path = ToOrtPath(source.path);
  return TakeLoadStatus(api, group == nullptr
                                 ? api.CreateSession(env, path.c_str(), options, session)
                                 : api.CreateSessionWithPrepackedWeightsContainer(
                                       env, path.c_str(), options, group->container(), session));
}

}  // namespace

void SessionCloser::operator()(OrtSession* session) {
  const DeviceTurn turn(takes_turns);
  // Where it cannot be written, nobody is left to be told.
  if (!profile_path.empty()) (void)EndProfile(session);
  library->api().ReleaseSession(session);
}

Result<std::string> SessionCloser::EndProfile(OrtSession* session) {
  if (profile_path.empty()) {
    return Status(StatusCode::kUnsupported, "expected a model loaded with profiling");
  }
  if (profile_ended) return profile_path;
  const DeviceTurn turn(takes_turns);
  const Api& api = library->api();
  Allocated<char> written(api, library->allocator());
  TENON_RETURN_IF_ERROR(
      TakeStatus(api, api.SessionEndProfiling(session, library->allocator(), &written.memory),
                 StatusCode::kInternal));
  profile_ended = true;
  if (written.memory != nullptr) {
    // The engine adds the time to the name it was given; the profile's reader
    // knows the name alone. Where that cannot be had, the engine's stays.
    std::error_code error;
    std::filesystem::rename(ToPath(written.memory), ToPath(profile_path), error);
    if (error) profile_path = written.memory;
  }
  return profile_path;
}

// One try to make the session.
struct EngineSession::Attempt {
  EngineSession session;
  // The provider that could not be appended.
  std::optional<size_t> culprit;
};

Status EngineSession::Try(const Library& library, const ModelSource& source,
                          const SessionOptions& options, CancelToken* cancel, Attempt* attempt) {
  const Api& api = library.api();
  EngineSession& made = attempt->session;
  const bool takes_turns = TakesTurns(options);
  const DeviceTurn turn(takes_turns);
  if (IsCancelled(cancel)) return Aborted();
  SessionOptionsHandle handle;
  TENON_RETURN_IF_ERROR(MakeSessionOptions(library, options, &handle, &made.resources_));
  for (size_t i = 0; i < options.providers.size(); ++i) {
    const Status appended = AppendProvider(library, options.providers[i], handle.get());
    if (appended.ok()) continue;
    attempt->culprit = i;
    return ProviderFailed(options.providers[i], appended);
  }
  if (UsesBytesDirectly(options)) made.bytes_owner_ = source.bytes_owner;

  OrtSession* session = nullptr;
  Status status;
  {
    // The flag is the options' own, which outlive the scope. A library that has
    // no such flag finishes its load, and the session is dropped below.
    OrtSessionOptions* const flagged = handle.get();
    const bool can_stop = api.SessionOptionsSetLoadCancellationFlag != nullptr;
    const CancelToken::Scope scope(can_stop ? cancel : nullptr, [&api, flagged] {
      StatusHandle(api.SessionOptionsSetLoadCancellationFlag(flagged, true), {&api}).reset();
    });
    status = CreateEngineSession(library, source, handle.get(), made.resources_.weight_group.get(),
                                 &session);
  }
  made.session_ = std::unique_ptr<OrtSession, SessionCloser>(
      session, SessionCloser{&library, options.profile_path, false, takes_turns});
  if (IsCancelled(cancel)) {
    return status.ok() ? Aborted()
                       : Status(StatusCode::kAborted, status.message())
                             .WithEngineCode(status.engine_code());
  }
  if (status.code() == StatusCode::kModelNotFound &&
      (source.path.empty() || FileExists(source.path))) {
    // The model is there; a file it names is not.
    return Status(StatusCode::kModelInvalid, status.message()).WithEngineCode(status.engine_code());
  }
  TENON_RETURN_IF_ERROR(status);

  made.library_ = &library;
  made.may_be_on_device_ = !RunsOnCpuOnly(options);
  made.run_entries_ = options.run_config_entries;
  made.active_adapters_ = options.active_lora_adapters;
  for (const ExecutionProvider& provider : options.providers) {
    const std::string name = FindProvider(provider.name, library.providers());
    made.providers_.push_back(name.empty() ? provider.name : name);
  }
  if (made.providers_.empty() || !IsCpuProvider(made.providers_.back())) {
    made.providers_.push_back("CPUExecutionProvider");
  }
  return {};
}

// The engine says that a session cannot be made, and not whose fault it is: a
// provider's devices are first touched then. So the load is tried without each.
// Leaves `culprit` alone where it is the model's.
Status EngineSession::FindCulprit(const Library& library, const ModelSource& source,
                                  const SessionOptions& options, CancelToken* cancel,
                                  const Status& failure, size_t* culprit) {
  const auto loads = [&](std::vector<ExecutionProvider> providers) {
    Attempt trial;
    return Try(library, source, WithProviders(options, std::move(providers)), cancel, &trial).ok();
  };
  std::vector<size_t> suspects;
  for (size_t i = 0; i < options.providers.size(); ++i) {
    if (!IsCpuProvider(options.providers[i].name)) suspects.push_back(i);
  }
  if (suspects.empty()) return failure;
  std::vector<ExecutionProvider> cpu_only;
  for (const ExecutionProvider& provider : options.providers) {
    if (IsCpuProvider(provider.name)) cpu_only.push_back(provider);
  }
  const bool cpu_loads = loads(cpu_only);
  if (IsCancelled(cancel)) return Aborted();
  if (!cpu_loads) return failure;
  *culprit = suspects.front();
  for (size_t i = 0; suspects.size() > 1 && i < suspects.size(); ++i) {
    std::vector<ExecutionProvider> others = options.providers;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(suspects[i]));
    if (!loads(std::move(others))) continue;
    *culprit = suspects[i];
    break;
  }
  return IsCancelled(cancel) ? Aborted() : ProviderFailed(options.providers[*culprit], failure);
}

Result<EngineSession> EngineSession::Create(const Library& library, const ModelSource& source,
                                            const SessionOptions& options, CancelToken* cancel) {
  if (source.path.empty() && source.byte_length == 0) {
    return Status(StatusCode::kModelInvalid,
                  "expected a model of at least one byte, received none");
  }
  for (const std::string& name : options.active_lora_adapters) {
    const auto known = [&name](const LoraAdapter& adapter) { return adapter.name == name; };
    if (std::none_of(options.lora_adapters.begin(), options.lora_adapters.end(), known)) {
      return Status(StatusCode::kInvalidArgument,
                    "expected a LoRA adapter that was loaded, received \"" + name + "\"");
    }
  }
  SessionOptions wanted = options;
  std::vector<ProviderFallback> fallbacks;
  for (;;) {
    if (IsCancelled(cancel)) return Aborted();
    Attempt attempt;
    Status status = Try(library, source, wanted, cancel, &attempt);
    if (status.ok()) {
      attempt.session.fallbacks_ = std::move(fallbacks);
      return std::move(attempt.session);
    }
    const bool may_be_a_provider = status.code() == StatusCode::kModelInvalid ||
                                   status.code() == StatusCode::kProvider ||
                                   status.code() == StatusCode::kOutOfMemory;
    if (!attempt.culprit && may_be_a_provider && !RunsOnCpuOnly(wanted)) {
      size_t culprit = wanted.providers.size();
      status = FindCulprit(library, source, wanted, cancel, status, &culprit);
      if (culprit < wanted.providers.size()) attempt.culprit = culprit;
    }
    if (!attempt.culprit || status.code() != StatusCode::kProvider ||
        !options.allow_provider_fallback) {
      return status;
    }
    const auto culprit = wanted.providers.begin() + static_cast<std::ptrdiff_t>(*attempt.culprit);
    fallbacks.emplace_back(culprit->name, status.message());
    wanted.providers.erase(culprit);
  }
}

Status EngineSession::ApplyRunOptions(const RunOptions* own, OrtRunOptions* run) const {
  const Api& api = library_->api();
  const auto add = [&](const std::string& key, const std::string& value) {
    return WithSubject(TakeStatus(api, api.AddRunConfigEntry(run, key.c_str(), value.c_str()),
                                  StatusCode::kInvalidArgument),
                       "run config entry \"" + key + "\"");
  };
  for (const auto& [key, value] : run_entries_) {
    // The engine would warn of an entry that takes another's place.
    if (own == nullptr || !HasKey(own->config_entries, key)) {
      TENON_RETURN_IF_ERROR(add(key, value));
    }
  }
  for (const std::string& name : AdaptersOf(own)) {
    TENON_RETURN_IF_ERROR(AddLoraAdapter(name, run));
  }
  if (own == nullptr) return {};

  for (const auto& [key, value] : own->config_entries) {
    const std::string subject = "run config entry \"" + key + "\"";
    TENON_RETURN_IF_ERROR(CheckText(subject, key + value));
    TENON_RETURN_IF_ERROR(WithSubject(CheckRunKey(*library_, key), subject));
    TENON_RETURN_IF_ERROR(add(key, value));
  }
  const auto check = [&api](OrtStatus* status) {
    return TakeStatus(api, status, StatusCode::kInvalidArgument);
  };
  if (own->log_severity) {
    TENON_RETURN_IF_ERROR(check(api.RunOptionsSetRunLogSeverityLevel(run, *own->log_severity)));
  }
  if (own->log_verbosity) {
    TENON_RETURN_IF_ERROR(check(api.RunOptionsSetRunLogVerbosityLevel(run, *own->log_verbosity)));
  }
  if (own->tag.empty()) return {};
  TENON_RETURN_IF_ERROR(CheckText("the run's tag", own->tag));
  return check(api.RunOptionsSetRunTag(run, own->tag.c_str()));
}

Status EngineSession::AddLoraAdapter(const std::string& name, OrtRunOptions* run) const {
  const Api& api = library_->api();
  for (const auto& [known, adapter] : resources_.lora_adapters) {
    if (known != name) continue;
    return WithSubject(TakeStatus(api, api.RunOptionsAddActiveLoraAdapter(run, adapter.get()),
                                  StatusCode::kInvalidArgument),
                       "LoRA adapter \"" + name + "\"");
  }
  return {StatusCode::kInvalidArgument,
          "expected a LoRA adapter that was loaded, received \"" + name + "\""};
}

}  // namespace tenon::onnxruntime
