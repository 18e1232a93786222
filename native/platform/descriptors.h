#pragma once

namespace tenon {

// A second descriptor for what `descriptor` names, closed on exec. Negative where there is none:
// the error number with its sign changed; -ENOSYS on Windows.
int DuplicateDescriptor(int descriptor);

}  // namespace tenon
