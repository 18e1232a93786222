// A new enough version without most of its functions.

#ifdef _WIN32
#define FAKE_EXPORT __declspec(dllexport)
#else
#define FAKE_EXPORT __attribute__((visibility("default")))
#endif

extern "C" FAKE_EXPORT const char* TF_Version() { return "2.21.0"; }
extern "C" FAKE_EXPORT void* TF_NewStatus() { return nullptr; }
extern "C" FAKE_EXPORT void TF_DeleteStatus(void*) {}
