#pragma once

#include <filesystem>

namespace tenon {

// CPUs the cgroups of this process allow, rounded up: the smallest quota found
// on the way from its own cgroup to the root, v1 and v2; 0 where there is none.
// What cannot be read or understood counts as no quota.
//
// `root` is "/", or a folder that holds another proc and sys.
int CgroupCpuQuota(const std::filesystem::path& root);

}  // namespace tenon
