#pragma once

#include <cstdint>
#include <memory>
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
  int intra_op_threads = 1;               // >= 1; the first session of the process fixes the pool
  int inter_op_threads = 1;               // >= 1
  std::vector<std::string> op_libraries;  // paths, loaded before the graph
  std::string config_proto;  // a serialized ConfigProto, merged over the fields above; may be empty
};

// Opens the library at `path`, or returns the one already open. Fails with
// kEngineLoad, kEngineVersion (older than 2.10) or kEngineConflict. Thread-safe.
Result<std::shared_ptr<Engine>> Open(const std::string& path);

// Blocks for as long as the engine takes.
Result<std::shared_ptr<Session>> CreateSession(const std::shared_ptr<Engine>& engine,
                                               const ModelSource& source,
                                               const SessionOptions& options);

}  // namespace tenon::tensorflow
