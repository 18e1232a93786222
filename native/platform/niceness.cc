#include "platform/niceness.h"

#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#endif

namespace tenon {

void GiveWay(int steps) {
#ifdef __linux__
  // On Linux a thread is a process to these calls, against POSIX.
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  errno = 0;
  const int before = getpriority(PRIO_PROCESS, thread);
  if (steps <= 0 || (before == -1 && errno != 0)) return;
  // A sandbox may forbid it, which costs nothing but the gain.
  (void)setpriority(PRIO_PROCESS, thread, std::min(before + steps, 19));
#else
  (void)steps;
#endif
}

}  // namespace tenon
