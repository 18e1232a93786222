#include "engines/onnxruntime/config_keys.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <string_view>
#include <vector>

namespace tenon::onnxruntime {
namespace {

// onnxruntime_session_options_config_keys.h, to 1.30.
constexpr std::array kSessionKeys = std::to_array<std::string_view>({
    "mlas.disable_kleidiai",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
    "mlas.use_lut_gemm",
    "optimization.disable_specified_optimizers",
    "optimization.enable_cast_chain_elimination",
    "optimization.enable_gelu_approximation",
    "optimization.minimal_build_optimizations",
    "session.allow_released_opsets_only",
    "session.collect_node_memory_stats_to_file",
    "session.debug_layout_transformation",
    "session.disable_aot_function_inlining",
    "session.disable_cpu_ep_fallback",
    "session.disable_double_qdq_remover",
    "session.disable_model_compile",
    "session.disable_prepacking",
    "session.disable_qdq_constant_folding",
    "session.disable_quant_qdq",
    "session.dynamic_block_base",
    "session.enable_dq_matmulnbits_fusion",
    "session.enable_quant_qdq_cleanup",
    "session.fail_on_suboptimal_compiled_model",
    "session.force_spinning_stop",
    "session.graph_optimizations_loop_level",
    "session.inter_op.allow_spinning",
    "session.inter_op.spin_backoff_max",
    "session.inter_op.spin_duration_us",
    "session.intra_op.allow_spinning",
    "session.intra_op.spin_backoff_max",
    "session.intra_op.spin_duration_us",
    "session.intra_op_thread_affinities",
    "session.load_model_format",
    "session.model_external_initializers_file_folder_path",
    "session.node_partition_config_file",
    "session.optimized_model_external_initializers_file_name",
    "session.optimized_model_external_initializers_min_size_in_bytes",
    "session.qdq_matmulnbits_accuracy_level",
    "session.qdq_matmulnbits_block_size",
    "session.qdqisint8allowed",
    "session.record_ep_graph_assignment_info",
    "session.resource_cuda_partitioning_settings",
    "session.save_external_prepacked_constant_initializers",
    "session.save_model_format",
    "session.set_denormal_as_zero",
    "session.strict_shape_type_inference",
    "session.use_device_allocator_for_initializers",
    "session.use_env_allocators",
    "session.use_memory_mapped_ort_model",
    "session.use_ort_model_bytes_directly",
    "session.use_ort_model_bytes_for_initializers",
    "session.x64quantprecision",
});

// Words of the engine's own that look like keys and set nothing.
constexpr std::array kNoSessionKeys = std::to_array<std::string_view>({
    "session.enable_cpu_mem_arena",
    "session.enable_mem_pattern",
    "session.enable_profiling",
    "session.execution_mode",
    "session.graph_optimization_level",
    "session.inter_op_num_threads",
    "session.intra_op_num_threads",
    "session.log_id",
    "session.log_severity_level",
    "session.log_verbosity_level",
    "session.optimized_model_filepath",
    "session.use_deterministic_compute",
    "session.use_per_session_threads",
});

// onnxruntime_run_options_config_keys.h, to 1.30.
constexpr std::array kRunKeys = std::to_array<std::string_view>({
    "disable_synchronize_execution_providers",
    "gpu_graph_id",
    "memory.enable_memory_arena_shrinkage",
});

template <size_t count>
bool Contains(const std::array<std::string_view, count>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Whether the library names the key somewhere. True where it cannot be read.
bool FindInLibrary(const Library& library, const std::string& key) {
  const std::string& path = library.path();
  std::ifstream file(std::filesystem::path(std::u8string(path.begin(), path.end())),
                     std::ios::binary);
  const std::string text = key + '\0';
  std::vector<char> bytes(size_t{1} << 20);
  const std::boyer_moore_horspool_searcher searcher(text.begin(), text.end());
  size_t kept = 0;
  if (!file) return true;
  while (file) {
    file.read(bytes.data() + kept, static_cast<std::streamsize>(bytes.size() - kept));
    const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(kept) + file.gcount();
    if (std::search(bytes.begin(), end, searcher) != end) return true;
    // What may be the beginning of the key moves to the front.
    kept = std::min<size_t>(text.size() - 1, static_cast<size_t>(end - bytes.begin()));
    std::copy(end - static_cast<std::ptrdiff_t>(kept), end, bytes.begin());
  }
  return false;
}

// The same, and a key that was found once is not searched for again: runs ask, too.
// A release may have more keys than those above.
bool LibraryNames(const Library& library, const std::string& key) {
  static std::mutex mutex;
  static auto* found = new std::set<std::pair<std::string, std::string>>;
  const std::pair name(library.path(), key);
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (found->contains(name)) return true;
  }
  if (!FindInLibrary(library, key)) return false;
  std::lock_guard<std::mutex> lock(mutex);
  found->insert(name);
  return true;
}

Status Unknown(const Library& library, const std::string& key) {
  return {StatusCode::kInvalidArgument, "expected a key that ONNX Runtime " + library.version() +
                                            " has, received \"" + key + "\""};
}

}  // namespace

Status CheckSessionKey(const Library& library, const std::string& key) {
  constexpr std::array kOwn =
      std::to_array<std::string_view>({"mlas.", "optimization.", "session."});
  const bool is_engines = std::any_of(
      kOwn.begin(), kOwn.end(), [&key](std::string_view area) { return key.starts_with(area); });
  if (!is_engines || Contains(kSessionKeys, key)) return {};
  if (!Contains(kNoSessionKeys, key) && LibraryNames(library, key)) return {};
  return Unknown(library, key);
}

Status CheckRunKey(const Library& library, const std::string& key) {
  // Keys of providers have their area before the dot.
  const bool is_engines = key.find('.') == std::string::npos || key.starts_with("memory.");
  if (!is_engines || Contains(kRunKeys, key) || LibraryNames(library, key)) return {};
  return Unknown(library, key);
}

}  // namespace tenon::onnxruntime
