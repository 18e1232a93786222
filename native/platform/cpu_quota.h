#pragma once

namespace tenon {

// CPUs this process may use: the smallest of its affinity mask, its cgroup's
// quota (v1 and v2, rounded up) and the machine's count; at least 1. Read anew
// at each call.
int CpuQuota();

}  // namespace tenon
