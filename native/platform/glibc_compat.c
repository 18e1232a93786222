// Lets an addon built with a recent glibc run on glibc 2.28. Part of the
// prebuilt Linux addons only (CMake option TENON_OLD_GLIBC).
//
// glibc 2.34 moved libpthread and libdl into libc and gave their functions a
// new symbol version, so whatever is linked there asks for 2.34 although the
// functions are as they were. The linker option --wrap=<name>, given for each
// function below (CMakeLists.txt reads the names from this file), sends every
// call of it, those inside the static libstdc++ included, to __wrap_<name>, and
// that forwards to the symbol's old version,
// which every glibc still has. What is younger than 2.28 in truth is written
// out at the end.
//
// scripts/check-prebuild.mjs fails when a symbol younger than 2.28 is left.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/stat.h>
#include <time.h>

#if defined(__x86_64__)
#define BASE "GLIBC_2.2.5"
#define SINCE_2_3_3 "GLIBC_2.3.3"
#define SINCE_2_3_4 "GLIBC_2.3.4"
#define SINCE_2_12 "GLIBC_2.12"
#define STAT_VERSION 1
#elif defined(__aarch64__)
// The first glibc with this architecture; nothing is older.
#define BASE "GLIBC_2.17"
#define SINCE_2_3_3 BASE
#define SINCE_2_3_4 BASE
#define SINCE_2_12 BASE
#define STAT_VERSION 0
#else
#error \
    "expected x86_64 or aarch64: the old symbol versions of this architecture are not listed here"
#endif

#define HIDDEN __attribute__((visibility("hidden")))

// Declares old_<name> as <name> in its old version.
#define OLD(version, result, name, parameters) \
  result old_##name parameters;                \
  __asm__(".symver old_" #name ", " #name "@" version)

#define FORWARD(version, result, name, parameters, arguments) \
  OLD(version, result, name, parameters);                     \
  HIDDEN result __wrap_##name parameters { return old_##name arguments; }

// Exceptions, threads, thread-local storage.
FORWARD(BASE, int, pthread_create,
        (pthread_t * thread, const pthread_attr_t* attributes, void* (*body)(void*),
         void* argument),
        (thread, attributes, body, argument))
FORWARD(BASE, int, pthread_join, (pthread_t thread, void** result), (thread, result))
FORWARD(BASE, int, pthread_detach, (pthread_t thread), (thread))
FORWARD(BASE, int, pthread_once, (pthread_once_t * once, void (*body)(void)), (once, body))
FORWARD(BASE, int, pthread_key_create, (pthread_key_t * key, void (*destroy)(void*)),
        (key, destroy))
FORWARD(BASE, int, __pthread_key_create, (pthread_key_t * key, void (*destroy)(void*)),
        (key, destroy))
FORWARD(BASE, int, pthread_key_delete, (pthread_key_t key), (key))
FORWARD(BASE, void*, pthread_getspecific, (pthread_key_t key), (key))
FORWARD(BASE, int, pthread_setspecific, (pthread_key_t key, const void* value), (key, value))
FORWARD(BASE, int, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))
FORWARD(BASE, int, pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
FORWARD(BASE, int, pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
FORWARD(BASE, int, pthread_rwlock_tryrdlock, (pthread_rwlock_t * lock), (lock))
FORWARD(BASE, int, pthread_rwlock_trywrlock, (pthread_rwlock_t * lock), (lock))
FORWARD(BASE, int, pthread_rwlock_unlock, (pthread_rwlock_t * lock), (lock))
FORWARD(BASE, int, pthread_attr_setstacksize, (pthread_attr_t * attributes, size_t size),
        (attributes, size))
FORWARD(SINCE_2_12, int, pthread_setname_np, (pthread_t thread, const char* name), (thread, name))
FORWARD(SINCE_2_3_4, int, pthread_setaffinity_np,
        (pthread_t thread, size_t size, const cpu_set_t* cpus), (thread, size, cpus))
FORWARD(SINCE_2_3_4, int, pthread_getaffinity_np, (pthread_t thread, size_t size, cpu_set_t* cpus),
        (thread, size, cpus))

// Shared libraries.
FORWARD(BASE, void*, dlopen, (const char* path, int flags), (path, flags))
FORWARD(BASE, int, dlclose, (void* handle), (handle))
FORWARD(BASE, void*, dlsym, (void* handle, const char* name), (handle, name))
FORWARD(BASE, char*, dlerror, (void), ())
FORWARD(BASE, int, dladdr, (const void* address, Dl_info* info), (address, info))
FORWARD(SINCE_2_3_3, int, dlinfo, (void* handle, int request, void* info), (handle, request, info))

// Functions of mathematics whose newer versions only dropped the SVID error handling.
FORWARD(BASE, double, exp, (double x), (x))
FORWARD(BASE, double, log, (double x), (x))
FORWARD(BASE, double, pow, (double x, double y), (x, y))

// stat and its kin were inline functions over these before 2.33.
OLD(BASE, int, __xstat, (int version, const char* path, struct stat* result));
OLD(BASE, int, __lxstat, (int version, const char* path, struct stat* result));
OLD(BASE, int, __fxstat, (int version, int file, struct stat* result));
HIDDEN int __wrap_stat(const char* path, struct stat* result) {
  return old___xstat(STAT_VERSION, path, result);
}
HIDDEN int __wrap_lstat(const char* path, struct stat* result) {
  return old___lxstat(STAT_VERSION, path, result);
}
HIDDEN int __wrap_fstat(int file, struct stat* result) {
  return old___fxstat(STAT_VERSION, file, result);
}
// With 64-bit offsets throughout, as here, both structures are one.
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "expected one struct stat");
HIDDEN int __wrap_stat64(const char* path, struct stat* result) {
  return __wrap_stat(path, result);
}
HIDDEN int __wrap_lstat64(const char* path, struct stat* result) {
  return __wrap_lstat(path, result);
}
HIDDEN int __wrap_fstat64(int file, struct stat* result) { return __wrap_fstat(file, result); }

// Since 2.32: libstdc++ leaves out atomic operations where this is not zero.
// A process with an addon in it has threads.
HIDDEN char __libc_single_threaded = 0;

// Since 2.30: a wait against the monotonic clock, which std::condition_variable
// uses for wait_for. Waiting against the wall clock is as good as long as that
// clock is not set; so that setting it back cannot stretch a wait, no slice is
// longer than a second, and a slice's end is reported as a spurious wake-up
// (which every caller must expect).
HIDDEN int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                         clockid_t clock, const struct timespec* deadline) {
  enum { kNanosPerSecond = 1000000000 };
  struct timespec now;
  if (clock_gettime(clock, &now) != 0) return EINVAL;
  long long left_nanos = (long long)(deadline->tv_sec - now.tv_sec) * kNanosPerSecond +
                         (deadline->tv_nsec - now.tv_nsec);
  if (deadline->tv_sec - now.tv_sec > 1 || left_nanos > kNanosPerSecond) {
    left_nanos = kNanosPerSecond;
  }
  if (left_nanos < 0) left_nanos = 0;

  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += (long)(left_nanos % kNanosPerSecond);
  until.tv_sec += (time_t)(left_nanos / kNanosPerSecond) + until.tv_nsec / kNanosPerSecond;
  until.tv_nsec %= kNanosPerSecond;
  const int result = pthread_cond_timedwait(condition, mutex, &until);
  if (result != ETIMEDOUT) return result;

  clock_gettime(clock, &now);
  const int passed = now.tv_sec > deadline->tv_sec ||
                     (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
  return passed ? ETIMEDOUT : 0;
}

// Since 2.35: where the static libgcc looks up the unwind table of an address
// when an exception is thrown. dl_iterate_phdr is what it used before.
struct Search {
  ElfW(Addr) address;
  struct dl_find_object* found;
};

static int VisitObject(struct dl_phdr_info* info, size_t size, void* argument) {
  (void)size;
  struct Search* search = argument;
  const ElfW(Phdr)* table = NULL;
  const ElfW(Phdr)* hit = NULL;
  for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* header = &info->dlpi_phdr[i];
    if (header->p_type == PT_GNU_EH_FRAME) table = header;
    if (header->p_type != PT_LOAD) continue;
    const ElfW(Addr) start = info->dlpi_addr + header->p_vaddr;
    if (search->address >= start && search->address - start < header->p_memsz) hit = header;
  }
  if (hit == NULL || table == NULL) return 0;
  const ElfW(Addr) start = info->dlpi_addr + hit->p_vaddr;
  *search->found = (struct dl_find_object){
      .dlfo_map_start = (void*)start,
      .dlfo_map_end = (void*)(start + hit->p_memsz),
      .dlfo_eh_frame = (void*)(info->dlpi_addr + table->p_vaddr),
  };
  return 1;
}

HIDDEN int __wrap__dl_find_object(void* address, struct dl_find_object* result) {
  struct Search search = {.address = (ElfW(Addr))address, .found = result};
  return dl_iterate_phdr(VisitObject, &search) == 1 ? 0 : -1;
}
