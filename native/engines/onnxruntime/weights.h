#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "engines/onnxruntime/engine.h"
#include "engines/onnxruntime/handles.h"
#include "engines/onnxruntime/library.h"

namespace tenon::onnxruntime {

// What kernels made of their weights, shared by the sessions of one group. The
// engine locks it for itself. It must outlive those sessions.
class WeightGroup {
 public:
  // The group of that name: the one that living sessions have, or a new one.
  // Thread-safe.
  static Result<std::shared_ptr<WeightGroup>> Named(const Library& library,
                                                    const std::string& name);

  OrtPrepackedWeightsContainer* container() const { return container_.get(); }

 private:
  PrepackedWeightsHandle container_;
};

// Weights that come from elsewhere than the model's file. The engine uses the
// memory where it lies: it must outlive the session.
struct ForeignWeights {
  std::vector<std::shared_ptr<void>> memory;
  std::vector<ValueHandle> values;
};

// Gives the session all of `options`' initializers and external files.
Status AddWeights(const Library& library, const SessionOptions& options, OrtSessionOptions* session,
                  ForeignWeights* weights);

// LoRA adapters by name, in the order of the options.
using LoraAdapters = std::vector<std::pair<std::string, LoraAdapterHandle>>;
Status OpenLoraAdapters(const Library& library, const SessionOptions& options,
                        LoraAdapters* adapters);

}  // namespace tenon::onnxruntime
