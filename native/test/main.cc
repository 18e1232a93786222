#include <cstdio>
#include <exception>
#include <string>

#include "test/test.h"

namespace tenon::test {
namespace {

int failures_of_running_test = 0;

}  // namespace

std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

bool Register(std::string name, std::function<void()> body) {
  Cases().push_back({std::move(name), std::move(body)});
  return true;
}

void Fail(const char* file, int line, const std::string& what) {
  ++failures_of_running_test;
  std::fprintf(stderr, "  %s:%d: %s\n", file, line, what.c_str());
}

}  // namespace tenon::test

int main(int argc, char** argv) {
  using namespace tenon::test;
  const std::string wanted = argc > 1 ? argv[1] : "";
  if (wanted == "--list") {
    for (const Case& test : Cases()) std::printf("%s\n", test.name.c_str());
    return 0;
  }
  int ran = 0;
  int failed = 0;
  for (const Case& test : Cases()) {
    if (!wanted.empty() && wanted != test.name) continue;
    failures_of_running_test = 0;
    try {
      test.body();
    } catch (const Stop&) {
    } catch (const std::exception& error) {
      Fail(__FILE__, __LINE__, std::string("unexpected exception: ") + error.what());
    }
    ++ran;
    if (failures_of_running_test > 0) ++failed;
    std::printf("%s %s\n", failures_of_running_test > 0 ? "FAILED" : "ok", test.name.c_str());
  }
  if (ran == 0) {
    std::fprintf(stderr, "no test is named \"%s\"\n", wanted.c_str());
    return 1;
  }
  return failed > 255 ? 255 : failed;
}
