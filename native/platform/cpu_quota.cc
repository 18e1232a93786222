#include "platform/cpu_quota.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "platform/cpu_quota_files.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#elif defined(__linux__)
#include <sched.h>
#else
#include <unistd.h>
#endif

namespace tenon {
namespace {

// 0 where the system does not tell.
int UsableCpus() {
#if defined(_WIN32)
  return static_cast<int>(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS));
#elif defined(__linux__)
  // The kernel refuses a mask smaller than its own, whose size it does not tell.
  for (size_t cpus = CPU_SETSIZE; cpus <= size_t{1} << 20; cpus *= 2) {
    std::vector<cpu_set_t> mask((cpus + CPU_SETSIZE - 1) / CPU_SETSIZE);
    const size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return 0;
#else
  return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
#endif
}

// One line of /proc/self/mountinfo, as far as it matters here.
struct CgroupMount {
  std::string root;   // the cgroup that is mounted
  std::string point;  // where
  bool v2 = false;
};

std::vector<std::string> Words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

bool HasItem(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (list.substr(0, comma) == item) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

// mountinfo writes a blank as \040, and so on.
std::string Unescape(const std::string& text) {
  const auto octal = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      plain.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                        (text[i + 3] - '0')));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

// "id parent device root point options [optional …] - type source super-options"
std::optional<CgroupMount> ParseMount(const std::string& line) {
  const std::vector<std::string> words = Words(line);
  const auto separator = std::find(words.begin(), words.end(), "-");
  if (separator - words.begin() < 6 || words.end() - separator < 4) return std::nullopt;
  CgroupMount mount{Unescape(words[3]), Unescape(words[4])};
  mount.v2 = separator[1] == "cgroup2";
  if (mount.v2 || (separator[1] == "cgroup" && HasItem(separator[3], "cpu"))) return mount;
  return std::nullopt;
}

std::optional<int64_t> ParseNumber(const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string> ReadWords(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return Words(line);
}

int CpusOf(const std::string& quota, const std::string& period) {
  const auto used = ParseNumber(quota);  // "max" and -1 mean no limit
  const auto of = ParseNumber(period);
  if (!used || !of || *used <= 0 || *of <= 0) return 0;
  const int64_t cpus = *used / *of + (*used % *of != 0 ? 1 : 0);
  return static_cast<int>(std::min<int64_t>(cpus, std::numeric_limits<int>::max()));
}

int QuotaOf(const std::filesystem::path& folder, bool v2) {
  if (v2) {
    const auto words = ReadWords(folder / "cpu.max");
    return words.size() == 2 ? CpusOf(words[0], words[1]) : 0;
  }
  const auto quota = ReadWords(folder / "cpu.cfs_quota_us");
  const auto period = ReadWords(folder / "cpu.cfs_period_us");
  return quota.size() == 1 && period.size() == 1 ? CpusOf(quota[0], period[0]) : 0;
}

// The smaller of two counts of which 0 means "not known".
int Smaller(int a, int b) {
  if (a <= 0) return b;
  if (b <= 0) return a;
  return std::min(a, b);
}

// `cgroup` as a path below the mount. In a container the mount may show only the
// container's own cgroup while the process still knows itself by the full path,
// or, in a namespace, by one that leads out of it: then the mount itself is it.
std::filesystem::path BelowMount(const std::string& cgroup, const std::string& mount_root) {
  if (cgroup.starts_with("/..")) return {};
  const std::filesystem::path path = std::filesystem::path(cgroup).lexically_normal();
  const std::filesystem::path below = path.lexically_relative(mount_root);
  if (below.empty() || *below.begin() == "..") return {};
  return below == "." ? std::filesystem::path() : below;
}

// The smallest quota from the cgroup's folder up to the mount point.
int SmallestQuota(const std::filesystem::path& point, std::filesystem::path below, bool v2) {
  int cpus = 0;
  while (true) {
    cpus = Smaller(cpus, QuotaOf(point / below, v2));
    if (below.empty()) return cpus;
    below = below.parent_path();
  }
}

}  // namespace

int CgroupCpuQuota(const std::filesystem::path& root) {
  // v2: "0::/path"; v1: "4:cpu,cpuacct:/path".
  std::optional<std::string> v1_path;
  std::optional<std::string> v2_path;
  std::ifstream cgroups(root / "proc/self/cgroup");
  for (std::string line; std::getline(cgroups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) {
      v2_path = line.substr(second + 1);
    } else if (HasItem(controllers, "cpu")) {
      v1_path = line.substr(second + 1);
    }
  }

  int cpus = 0;
  std::ifstream mounts(root / "proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const auto mount = ParseMount(line);
    if (!mount) continue;
    const auto& path = mount->v2 ? v2_path : v1_path;
    if (!path) continue;
    const std::filesystem::path point = root / std::filesystem::path(mount->point).relative_path();
    cpus = Smaller(cpus, SmallestQuota(point, BelowMount(*path, mount->root), mount->v2));
  }
  return cpus;
}

int CpuQuota() {
  int cpus = Smaller(static_cast<int>(std::thread::hardware_concurrency()), UsableCpus());
#if defined(__linux__)
  try {
    cpus = Smaller(cpus, CgroupCpuQuota("/"));
  } catch (const std::exception&) {
    // Out of memory, or a path the standard library cannot take: no quota known.
  }
#endif
  return std::max(cpus, 1);
}

}  // namespace tenon
