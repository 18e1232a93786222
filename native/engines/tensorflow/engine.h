#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/model_info.h"
#include "core/status.h"
#include "engines/engine.h"
#include "engines/session.h"

namespace tenon::tensorflow {

// An input or output of a signature: the public spec and the graph tensor
// behind it ("serving_default_x:0").
struct Binding {
  ValueSpec spec;
  std::string tensor;
};

struct SignatureBinding {
  std::string name;
  std::vector<Binding> inputs;
  std::vector<Binding> outputs;
};

struct ModelSource {
  // A SavedModel folder (UTF-8) and the tags of the meta graph to load …
  std::string saved_model;
  std::vector<std::string> tags;
  // … or a serialized GraphDef with everything frozen into constants.
  std::string frozen_graph;  // path of the .pb; empty for a SavedModel
  // What can be called. Every tensor is looked up once, at load; one that is
  // not in the graph fails the load with kModelInvalid. For a frozen graph a
  // spec's dtype and shape may be left undefined: they are then read from the graph.
  std::vector<SignatureBinding> signatures;
  std::vector<std::pair<std::string, std::string>> metadata;
};

struct SessionOptions {
  // Threads of the process's pools, which its first session makes, or of the
  // session's own (ProcessOptions::per_session_threads).
  int intra_op_threads = 1;  // >= 1
  int inter_op_threads = 1;  // >= 1
  // Whether those numbers were asked for. If so, pools that the process has with
  // other numbers are kConfigure; if not, they are taken as they are.
  bool insist_intra_op = false;
  bool insist_inter_op = false;
  // Whether the session uses the process's pools. One that cannot be had, by
  // ProcessOptions, is kConfigure; unset takes what there is.
  std::optional<bool> shared_threads;
  std::vector<std::string> op_libraries;  // paths, loaded before the graph
  std::string config_proto;  // a serialized ConfigProto, merged over the fields above; may be empty
};

// What one run is told, or each run of a binding.
struct RunOptions : EngineRunOptions {
  // The run fails with kRun, engine code 4 (TF_DEADLINE_EXCEEDED), when TensorFlow
  // next looks after so long; 0 leaves it to the session's configuration.
  int64_t timeout_ms = 0;  // >= 0
  // Where a run that went well leaves what each operation took: as a serialized
  // RunMetadata if the name ends in ".pb", else in the format of Chrome's trace
  // viewer. May be empty.
  std::string trace_path;
  // The trace has what devices other than CPUs did, too. TensorFlow does that for
  // one run of the process at a time, and fails another one.
  bool trace_hardware = false;
};

// Process-wide settings. What is not set here is nobody's wish.
struct ProcessOptions {
  // Each session has thread pools of its own, sized by its options, instead of
  // using the two that the first session makes for the process. Default false.
  std::optional<bool> per_session_threads;
};

// Settings for the Open that opens the library. Once it is open, one that differs
// from what is in force is kConfigure. Thread-safe.
Status Configure(const ProcessOptions& options);

// Opens the library at `path`, or returns the one already open. Fails with
// kEngineLoad, kEngineVersion (older than 2.10) or kEngineConflict. Thread-safe.
Result<std::shared_ptr<Engine>> Open(const std::string& path);

// Blocks for as long as the engine takes.
Result<std::shared_ptr<Session>> CreateSession(const std::shared_ptr<Engine>& engine,
                                               const ModelSource& source,
                                               const SessionOptions& options);

}  // namespace tenon::tensorflow
