#pragma once

#include <functional>
#include <sstream>
#include <string>
#include <vector>

// A test runner of a page: enough for unit tests that must build with nothing
// but a compiler. `tenon_tests --list` names the tests, `tenon_tests <name>`
// runs one, `tenon_tests` all; the exit code counts the failed ones.

namespace tenon::test {

struct Case {
  std::string name;
  std::function<void()> body;
};

std::vector<Case>& Cases();
bool Register(std::string name, std::function<void()> body);

// Notes a failed check of the running test; the test goes on.
void Fail(const char* file, int line, const std::string& what);

// Thrown by CHECK_OK and REQUIRE, where the rest of the test would make no sense.
struct Stop {};

template <typename A, typename B>
void CheckEqual(const A& actual, const B& expected, const char* text, const char* file, int line) {
  if (actual == expected) return;
  std::ostringstream message;
  message << text << ": expected " << expected << ", received " << actual;
  Fail(file, line, message.str());
}

}  // namespace tenon::test

#define TENON_TEST_CONCAT_(a, b) a##b
#define TENON_TEST_CONCAT(a, b) TENON_TEST_CONCAT_(a, b)

// TEST("shape: an overflowing product has no element count") { … }
#define TEST(name) TENON_TEST_AT(name, __LINE__)
#define TENON_TEST_AT(name, line)                                           \
  static void TENON_TEST_CONCAT(TestBody, line)();                          \
  [[maybe_unused]] static const bool TENON_TEST_CONCAT(registered_, line) = \
      ::tenon::test::Register(name, TENON_TEST_CONCAT(TestBody, line));     \
  static void TENON_TEST_CONCAT(TestBody, line)()

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) ::tenon::test::Fail(__FILE__, __LINE__, "CHECK(" #condition ")"); \
  } while (false)

#define CHECK_EQ(actual, expected) \
  ::tenon::test::CheckEqual(actual, expected, #actual, __FILE__, __LINE__)

#define REQUIRE(condition)                                                \
  do {                                                                    \
    if (!(condition)) {                                                   \
      ::tenon::test::Fail(__FILE__, __LINE__, "REQUIRE(" #condition ")"); \
      throw ::tenon::test::Stop{};                                        \
    }                                                                     \
  } while (false)

// For a Status or a Result: stops the test with the status's message unless ok.
#define CHECK_OK(expression)                                                            \
  do {                                                                                  \
    const auto& tenon_checked_ = (expression);                                          \
    if (!tenon_checked_.ok()) {                                                         \
      ::tenon::test::Fail(__FILE__, __LINE__,                                           \
                          #expression ": " + ::tenon::test::MessageOf(tenon_checked_)); \
      throw ::tenon::test::Stop{};                                                      \
    }                                                                                   \
  } while (false)

namespace tenon::test {

template <typename T>
std::string MessageOf(const T& checked) {
  if constexpr (requires { checked.message(); }) {
    return checked.message();
  } else {
    return checked.status().message();
  }
}

}  // namespace tenon::test
