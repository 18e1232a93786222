#include "engines/tensorflow/run_options.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "engines/tensorflow/wire.h"

namespace tenon::tensorflow {
namespace {

// Fields of tensorflow.RunOptions, and its TraceLevel.
enum { kTraceLevel = 1, kTimeoutInMs = 2 };
enum { kSoftwareTrace = 1, kFullTrace = 3 };

// Fields on the way to the steps (tensorflow/core/framework/step_stats.proto).
enum { kStepStats = 1 };                                   // of RunMetadata
enum { kDeviceStats = 1 };                                 // of StepStats
enum { kDevice = 1, kNodeStats = 2, kThreadNames = 3 };    // of DeviceStepStats
enum { kKey = 1, kValue = 2 };                             // of a map's entry
enum { kNodeName = 1, kStartMicros = 2, kEndMicros = 5 };  // of NodeExecStats,
enum { kLabel = 8, kThreadId = 10 };                       // whose times after
enum { kStartNanos = 13, kEndNanos = 16 };                 // the first are relative

void AppendField(uint32_t number, uint64_t value, std::string* bytes) {
  for (uint64_t rest : {static_cast<uint64_t>(number << 3), value}) {
    for (; rest >= 0x80; rest >>= 7) bytes->push_back(static_cast<char>(rest | 0x80));
    bytes->push_back(static_cast<char>(rest));
  }
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') quoted += '\\';
    if (static_cast<unsigned char>(character) < 0x20) {
      std::array<char, 8> escaped;
      std::snprintf(escaped.data(), escaped.size(), "\\u%04x", character);
      quoted += escaped.data();
    } else {
      quoted += character;
    }
  }
  return quoted + '"';
}

struct Step {
  std::string_view node;
  std::string_view label;
  uint64_t thread = 0;
  int64_t start_nanos = 0;
  int64_t duration_nanos = 0;
};

Step ReadStep(std::string_view bytes) {
  Step step;
  // Older libraries have microseconds only.
  int64_t start_micros = 0;
  int64_t duration_micros = 0;
  while (const auto field = TakeField(&bytes)) {
    const auto number = static_cast<int64_t>(field->varint);
    switch (field->number) {
      case kNodeName: step.node = field->bytes; break;
      case kStartMicros: start_micros = number; break;
      case kEndMicros: duration_micros = number; break;
      case kLabel: step.label = field->bytes; break;
      case kThreadId: step.thread = field->varint; break;
      case kStartNanos: step.start_nanos = number; break;
      case kEndNanos: step.duration_nanos = number; break;
    }
  }
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1000;
  if (step.start_nanos == 0) step.start_nanos = std::clamp<int64_t>(start_micros, 0, kMost) * 1000;
  if (step.duration_nanos == 0) {
    step.duration_nanos = std::clamp<int64_t>(duration_micros, 0, kMost) * 1000;
  }
  return step;
}

// "MatMul" of "dense/MatMul = MatMul(x, y)"; the node where a label has no operation.
std::string_view OperationOf(const Step& step) {
  constexpr std::string_view kIs = " = ";
  const size_t is = step.label.find(kIs);
  const size_t open = step.label.find('(', is);
  if (is == std::string_view::npos || open == std::string_view::npos) return step.node;
  return step.label.substr(is + kIs.size(), open - is - kIs.size());
}

struct Device {
  std::string_view name;
  std::vector<Step> steps;
  std::map<uint64_t, std::string_view> threads;
};

Device ReadDevice(std::string_view bytes) {
  Device device;
  while (const auto field = TakeField(&bytes)) {
    switch (field->number) {
      case kDevice: device.name = field->bytes; break;
      case kNodeStats: device.steps.push_back(ReadStep(field->bytes)); break;
      case kThreadNames: {
        uint64_t thread = 0;
        std::string_view name;
        std::string_view entry = field->bytes;
        while (const auto part = TakeField(&entry)) {
          if (part->number == kKey) thread = part->varint;
          if (part->number == kValue) name = part->bytes;
        }
        device.threads[thread] = name;
        break;
      }
    }
  }
  return device;
}

// The events of one device, which the viewer shows as a process.
class ChromeWriter {
 public:
  // Times are counted from `origin`: since 1970 they would be too large for the
  // numbers of JSON to keep their nanoseconds.
  explicit ChromeWriter(int64_t origin) : origin_(origin) {}

  void Write(const Device& device) {
    ++process_;
    Name("process_name", 0, device.name);
    for (const auto& [thread, name] : device.threads) Name("thread_name", thread, name);
    for (const Step& step : device.steps) {
      Begin(OperationOf(step), "X", step.thread);
      std::array<char, 96> times;
      std::snprintf(times.data(), times.size(), R"(,"cat":"Op","ts":%.3f,"dur":%.3f)",
                    static_cast<double>(step.start_nanos - origin_) / 1e3,
                    static_cast<double>(step.duration_nanos) / 1e3);
      events_ += times.data();
      events_ += R"(,"args":{"node":)" + Quoted(step.node) + R"(,"label":)" + Quoted(step.label);
      events_ += "}}";
    }
  }

  std::string Finish() && { return std::move(events_) + "\n]}\n"; }

 private:
  void Name(std::string_view what, uint64_t thread, std::string_view name) {
    Begin(what, "M", thread);
    events_ += R"(,"args":{"name":)" + Quoted(name) + "}}";
  }
  void Begin(std::string_view name, const char* kind, uint64_t thread) {
    events_ += first_ ? "\n" : ",\n";
    first_ = false;
    events_ += R"({"name":)" + Quoted(name) + R"(,"ph":")" + kind;
    events_ += R"(","pid":)" + std::to_string(process_) + R"(,"tid":)" + std::to_string(thread);
  }

  const int64_t origin_;
  std::string events_ = R"({"traceEvents":[)";
  bool first_ = true;
  int process_ = 0;
};

}  // namespace

std::string EncodeRunOptions(const RunOptions& options) {
  std::string bytes;
  if (!options.trace_path.empty()) {
    AppendField(kTraceLevel, options.trace_hardware ? kFullTrace : kSoftwareTrace, &bytes);
  }
  if (options.timeout_ms != 0) {
    AppendField(kTimeoutInMs, static_cast<uint64_t>(options.timeout_ms), &bytes);
  }
  return bytes;
}

std::string ChromeTrace(std::string_view run_metadata) {
  std::vector<Device> devices;
  int64_t origin = std::numeric_limits<int64_t>::max();
  while (const auto steps = TakeField(&run_metadata)) {
    if (steps->number != kStepStats) continue;
    std::string_view bytes = steps->bytes;
    while (const auto field = TakeField(&bytes)) {
      if (field->number != kDeviceStats) continue;
      devices.push_back(ReadDevice(field->bytes));
      for (const Step& step : devices.back().steps) origin = std::min(origin, step.start_nanos);
    }
  }
  ChromeWriter writer(origin);
  for (const Device& device : devices) writer.Write(device);
  return std::move(writer).Finish();
}

Status RunTrace::Write(const std::string& path) const {
  const std::string_view bytes(static_cast<const char*>(buffer_.data), buffer_.length);
  std::ofstream file(std::filesystem::path(std::u8string(path.begin(), path.end())),
                     std::ios::binary | std::ios::trunc);
  if (path.ends_with(".pb")) {
    file << bytes;
  } else {
    file << ChromeTrace(bytes);
  }
  if (file.flush()) return {};
  return {StatusCode::kRun, "the trace of the run could not be written to \"" + path + "\""};
}

}  // namespace tenon::tensorflow
