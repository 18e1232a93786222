#include "platform/cpu_quota.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "platform/cpu_quota_files.h"
#include "test/test.h"

namespace tenon {
namespace {

// A root folder with a proc and a sys of its own, removed at the end.
class FakeRoot {
 public:
  FakeRoot() {
    const auto stamp = std::chrono::steady_clock::now().time_since_epoch().count();
    folder_ = std::filesystem::temp_directory_path() / ("tenon_cpu_quota_" + std::to_string(stamp));
    std::filesystem::create_directories(folder_);
  }
  ~FakeRoot() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;

  void Write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file, std::ios::binary) << text;
  }
  void MountV2(const std::string& cgroup, const std::string& mounted = "/") {
    Write("proc/self/cgroup", "0::" + cgroup + "\n");
    Write("proc/self/mountinfo",
          "22 1 0:5 / /proc rw - proc proc rw\n"
          "31 22 0:26 " +
              mounted + " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  }
  int Quota() const { return CgroupCpuQuota(folder_); }

 private:
  std::filesystem::path folder_;
};

TEST("cpu quota: a process without cgroups has none") { CHECK_EQ(FakeRoot().Quota(), 0); }

TEST("cpu quota: v2 max is no limit") {
  FakeRoot root;
  root.MountV2("/app");
  root.Write("sys/fs/cgroup/app/cpu.max", "max 100000\n");
  CHECK_EQ(root.Quota(), 0);
}

TEST("cpu quota: v2 quotas are rounded up") {
  FakeRoot root;
  root.MountV2("/app");
  root.Write("sys/fs/cgroup/app/cpu.max", "150000 100000\n");
  CHECK_EQ(root.Quota(), 2);
  root.Write("sys/fs/cgroup/app/cpu.max", "200000 100000\n");
  CHECK_EQ(root.Quota(), 2);
  root.Write("sys/fs/cgroup/app/cpu.max", "1000 100000\n");
  CHECK_EQ(root.Quota(), 1);
}

TEST("cpu quota: the smallest limit on the way to the root holds") {
  FakeRoot root;
  root.MountV2("/pods/pod7/app");
  root.Write("sys/fs/cgroup/pods/cpu.max", "800000 100000\n");
  root.Write("sys/fs/cgroup/pods/pod7/cpu.max", "300000 100000\n");
  root.Write("sys/fs/cgroup/pods/pod7/app/cpu.max", "max 100000\n");
  CHECK_EQ(root.Quota(), 3);
  root.Write("sys/fs/cgroup/pods/pod7/app/cpu.max", "500000 100000\n");
  CHECK_EQ(root.Quota(), 3);
}

TEST("cpu quota: a limit at the mount point counts") {
  FakeRoot root;
  root.MountV2("/");
  root.Write("sys/fs/cgroup/cpu.max", "400000 100000\n");
  CHECK_EQ(root.Quota(), 4);
}

TEST("cpu quota: a cgroup is found below the part of the tree that is mounted") {
  FakeRoot root;
  root.MountV2("/docker/abc/inner", "/docker/abc");
  root.Write("sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
  CHECK_EQ(root.Quota(), 2);
}

TEST("cpu quota: a cgroup outside what is mounted means the mount point") {
  FakeRoot root;
  root.MountV2("/../../other", "/");
  root.Write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  CHECK_EQ(root.Quota(), 2);
  root.MountV2("/elsewhere", "/docker/abc");
  CHECK_EQ(root.Quota(), 2);
}

TEST("cpu quota: v1 quotas are read with their period") {
  FakeRoot root;
  root.Write("proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/app\n1:name=systemd:/\n0::/\n");
  root.Write(
      "proc/self/mountinfo",
      "32 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "33 22 0:28 / /sys/fs/cgroup/cpu\\040all rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n");
  root.Write("sys/fs/cgroup/cpu all/app/cpu.cfs_quota_us", "-1\n");
  root.Write("sys/fs/cgroup/cpu all/app/cpu.cfs_period_us", "100000\n");
  CHECK_EQ(root.Quota(), 0);
  root.Write("sys/fs/cgroup/cpu all/app/cpu.cfs_quota_us", "250000\n");
  CHECK_EQ(root.Quota(), 3);
  root.Write("sys/fs/cgroup/cpu all/cpu.cfs_quota_us", "50000\n");
  root.Write("sys/fs/cgroup/cpu all/cpu.cfs_period_us", "50000\n");
  CHECK_EQ(root.Quota(), 1);
}

TEST("cpu quota: files that make no sense are ignored") {
  FakeRoot root;
  root.MountV2("/app");
  for (const char* text : {"", "\n", "100000", "-5 100000", "100000 0", "1e5 100000",
                           "99999999999999999999 100000", "100000 100000 100000"}) {
    root.Write("sys/fs/cgroup/app/cpu.max", text);
    CHECK_EQ(root.Quota(), 0);
  }
  root.Write("proc/self/cgroup", "nonsense\n:\n0:");
  CHECK_EQ(root.Quota(), 0);
  root.MountV2("/app");
  root.Write("proc/self/mountinfo", "31 22 0:26 / -\n- - - - - -\n\n");
  CHECK_EQ(root.Quota(), 0);
}

TEST("cpu quota: this process may use at least one CPU and no more than there are") {
  const int cpus = CpuQuota();
  CHECK(cpus >= 1);
  const unsigned machine = std::thread::hardware_concurrency();
  CHECK(machine == 0 || cpus <= static_cast<int>(machine));
}

}  // namespace
}  // namespace tenon
