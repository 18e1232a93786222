// A library with nothing of TensorFlow in it. It also stands for an op library
// that registers no operation.

#ifdef _WIN32
#define FAKE_EXPORT __declspec(dllexport)
#else
#define FAKE_EXPORT __attribute__((visibility("default")))
#endif

extern "C" FAKE_EXPORT int tenon_fake() { return 0; }
