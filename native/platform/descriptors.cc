#include "platform/descriptors.h"

#include <cerrno>

#ifndef _WIN32
#include <fcntl.h>
#endif

namespace tenon {

int DuplicateDescriptor(int descriptor) {
#ifdef _WIN32
  (void)descriptor;
  return -ENOSYS;
#else
  const int duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  return duplicate < 0 ? -errno : duplicate;
#endif
}

}  // namespace tenon
