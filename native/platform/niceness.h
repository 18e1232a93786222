#pragma once

namespace tenon {

// Has the calling thread give way to others when there are more than CPUs: it becomes
// `steps` nicer than it is, 19 being the most the system knows. Threads that it starts
// later are as nice. Cannot be taken back without a privilege. Does nothing where
// threads have no niceness of their own (all but Linux).
void GiveWay(int steps);

}  // namespace tenon
