#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/status.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"
#include "engines/onnxruntime/options.h"

namespace tenon::onnxruntime {

// A provider that was asked for and left out, and the engine's words why.
using ProviderFallback = std::pair<std::string, std::string>;

// Releases a session, after ending its profile, if that has not ended yet.
struct SessionCloser {
  const Library* library = nullptr;
  std::string profile_path;
  bool profile_ended = false;
  // See EngineSession::takes_turns.
  bool takes_turns = false;

  void operator()(OrtSession* session);
  // Writes the profile and gives that its file's name, which is the result.
  Result<std::string> EndProfile(OrtSession* session);
};

// The engine's session with everything that must outlive it. Its end writes the
// profile, if one was asked for.
class EngineSession {
 public:
  // Blocks. A provider that cannot start is kProvider, or left out where
  // `options` allows it. `cancel` may be null. The library must outlive the result.
  static Result<EngineSession> Create(const Library& library, const ModelSource& source,
                                      const SessionOptions& options, CancelToken* cancel);

  EngineSession() = default;
  EngineSession(EngineSession&&) = default;
  EngineSession& operator=(EngineSession&&) = default;
  ~EngineSession() { session_.reset(); }

  OrtSession* get() const { return session_.get(); }

  // Full names of the providers it has, in order of preference; the CPU is last.
  const std::vector<std::string>& providers() const { return providers_; }
  const std::vector<ProviderFallback>& fallbacks() const { return fallbacks_; }
  // False where all of its memory is the CPU's.
  bool may_be_on_device() const { return may_be_on_device_; }

  // Whether whatever it does on its device needs a DeviceTurn.
  bool takes_turns() const { return session_.get_deleter().takes_turns; }

  // Gives a run's fresh options what holds for every run of the session, and over
  // it what this one is told, which may be null. Fails with kInvalidArgument.
  Status ApplyRunOptions(const RunOptions* own, OrtRunOptions* run) const;
  // Whether such a run uses LoRA adapters.
  bool UsesAdapters(const RunOptions* own) const { return !AdaptersOf(own).empty(); }

  // See Session::EndProfiling. One call at a time.
  Result<std::string> EndProfiling() { return session_.get_deleter().EndProfile(session_.get()); }

 private:
  struct Attempt;
  static Status Try(const Library& library, const ModelSource& source,
                    const SessionOptions& options, CancelToken* cancel, Attempt* attempt);
  static Status FindCulprit(const Library& library, const ModelSource& source,
                            const SessionOptions& options, CancelToken* cancel,
                            const Status& failure, size_t* culprit);

  const std::vector<std::string>& AdaptersOf(const RunOptions* own) const {
    return own != nullptr && own->lora_adapters ? *own->lora_adapters : active_adapters_;
  }
  Status AddLoraAdapter(const std::string& name, OrtRunOptions* run) const;

  // The members are destroyed from the last to the first: what the session
  // refers to goes after it.
  std::shared_ptr<void> bytes_owner_;
  SessionResources resources_;
  std::unique_ptr<OrtSession, SessionCloser> session_;
  const Library* library_ = nullptr;
  std::vector<std::string> providers_;
  std::vector<ProviderFallback> fallbacks_;
  bool may_be_on_device_ = false;
  std::vector<std::pair<std::string, std::string>> run_entries_;
  std::vector<std::string> active_adapters_;
};

}  // namespace tenon::onnxruntime
