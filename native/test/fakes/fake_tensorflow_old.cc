// TensorFlow as tfjs-node brought it: too old, which has to be said before what
// such a library lacks.

#ifdef _WIN32
#define FAKE_EXPORT __declspec(dllexport)
#else
#define FAKE_EXPORT __attribute__((visibility("default")))
#endif

extern "C" FAKE_EXPORT const char* TF_Version() { return "2.9.1"; }
