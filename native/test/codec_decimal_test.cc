#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "codec/decimal.h"
#include "codec/powers.h"
#include "codec/wide.h"
#include "test/test.h"

namespace tenon::codec {
namespace {

template <typename Float>
std::string Written(Float number) {
  char text[kMaxDecimalLength];
  return std::string(text, WriteDecimal(text, number));
}

// The rule as it is told, by printf and strtod.
template <typename Float>
std::string Expected(Float number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  constexpr bool kSingle = sizeof(Float) == sizeof(float);
  char text[64];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(number));
  const Float back = kSingle ? static_cast<Float>(std::strtof(text, nullptr))
                             : static_cast<Float>(std::strtod(text, nullptr));
  if (back != number) {
    std::snprintf(text, sizeof text, "%.*g", kSingle ? 9 : 17, static_cast<double>(number));
  }
  std::string result = text;
  return result.find_first_of(".e") == std::string::npos ? result + ".0" : result;
}

// Parts of a text without sign.
double Read(const std::string& text) {
  const size_t e = text.find('e');
  const std::string mantissa = text.substr(0, e);
  const size_t point = mantissa.find('.');
  const std::string integer = mantissa.substr(0, point);
  const std::string fraction = point == std::string::npos ? "" : mantissa.substr(point + 1);
  const int64_t exponent = e == std::string::npos ? 0 : std::stoll(text.substr(e + 1));
  return NearestDoubleExactly(integer, fraction, exponent);
}

void CheckRead(const std::string& text) {
  const double expected = std::strtod(text.c_str(), nullptr);
  const double read = Read(text);
  if (std::bit_cast<uint64_t>(read) == std::bit_cast<uint64_t>(expected)) return;
  CHECK_EQ(text + " " + Written(read), text + " " + Written(expected));
}

TEST("decimal: multiplication without wide registers gives the same") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t a = random() >> random() % 64;
    const uint64_t b = random() >> random() % 64;
    const Wide expected = Multiply(a, b);
    const Wide product = MultiplyPortably(a, b);
    CHECK(product.high == expected.high && product.low == expected.low);
  }
}

TEST("decimal: powers of ten are what a long double knows of them") {
  for (int q = kMinPower; q <= kMaxPower; ++q) {
    const long double power =
        std::ldexp(static_cast<long double>(Power(q).high), PowerExponent(q) + 64);
    const long double expected = std::pow(10.0L, static_cast<long double>(q));
    CHECK(std::abs(power / expected - 1) < 1e-17L);
    CHECK(Power(q).high >> 63 == 1);
  }
  CHECK(Power(0).high == uint64_t{1} << 63 && Power(0).low == 0);
  CHECK(Power(3).high == uint64_t{1000} << 54);
}

TEST("decimal: floats are written as printf and the rule say, of every sort") {
  CHECK_EQ(Written(9000000.0f), "9e+06");
  CHECK_EQ(Written(0.1234567f), "0.123456702");
  CHECK_EQ(Written(0.2f), "0.2");
  CHECK_EQ(Written(1.0f), "1.0");
  CHECK_EQ(Written(-0.0f), "-0.0");
  CHECK_EQ(Written(16777216.0f), "16777216.0");
  CHECK_EQ(Written(0.00003f), "3e-05");
  CHECK_EQ(Written(0.1), "0.1");
  CHECK_EQ(Written(1.0 / 3), "0.33333333333333331");
  CHECK_EQ(Written(1e22), "1e+22");
  CHECK_EQ(Written(std::numeric_limits<float>::quiet_NaN()), "NaN");
  CHECK_EQ(Written(-std::numeric_limits<double>::infinity()), "-Infinity");
  CHECK_EQ(Written(std::numeric_limits<double>::infinity()), "Infinity");
  CHECK_EQ(Written(std::numeric_limits<double>::denorm_min()), "4.94066e-324");
}

TEST("decimal: floats of any bits are written as printf and the rule say") {
  std::mt19937_64 random(2);
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t bits = random();
    const auto any = std::bit_cast<float>(static_cast<uint32_t>(bits));
    const auto integer = static_cast<float>(bits % 100'000'000);
    const float hundredths = static_cast<float>(bits % 1'000'000) / 100;
    const float fraction =
        std::ldexp(static_cast<float>(bits >> 40), -static_cast<int>(bits % 150));
    for (const float number : {any, integer, hundredths, fraction}) {
      CHECK_EQ(Written(number), Expected(number));
    }
  }
}

TEST("decimal: doubles of any bits are written as printf and the rule say") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t bits = random();
    const auto any = std::bit_cast<double>(bits);
    const auto integer = static_cast<double>(bits % 100'000'000'000);
    const double hundredths = static_cast<double>(bits % 10'000'000) / 100;
    const double fraction =
        std::ldexp(static_cast<double>(bits >> 11), -static_cast<int>(bits % 1074));
    for (const double number : {any, integer, hundredths, fraction}) {
      CHECK_EQ(Written(number), Expected(number));
    }
  }
}

TEST("decimal: neighbours of powers of two and ten are written as printf and the rule say") {
  const auto check = [](auto number) {
    using Float = decltype(number);
    for (const Float other : {number, std::nextafter(number, Float{0}),
                              std::nextafter(number, std::numeric_limits<Float>::infinity())}) {
      CHECK_EQ(Written(other), Expected(other));
    }
  };
  for (int exponent = -1074; exponent < 1024; ++exponent) check(std::ldexp(1.0, exponent));
  for (int exponent = -149; exponent < 128; ++exponent) check(std::ldexp(1.0f, exponent));
  for (int exponent = -323; exponent <= 308; ++exponent) {
    check(std::strtod(("1e" + std::to_string(exponent)).c_str(), nullptr));
  }
  for (int exponent = -45; exponent <= 38; ++exponent) {
    check(std::strtof(("1e" + std::to_string(exponent)).c_str(), nullptr));
  }
}

TEST("decimal: digits are read as strtod reads them") {
  std::mt19937_64 random(4);
  for (int i = 0; i < 50'000; ++i) {
    const double number = std::fabs(std::bit_cast<double>(random()));
    if (!std::isfinite(number)) continue;
    char text[64];
    for (const int digits : {4, 15, 16, 17, 18, 19, 20, 30}) {
      std::snprintf(text, sizeof text, "%.*e", digits - 1, number);
      CheckRead(text);
    }
    CheckRead(std::to_string(random()) + "e" +
              std::to_string(static_cast<int>(random() % 700) - 360));
    CheckRead(std::to_string(random() % 1000) + "." + std::to_string(random()));
  }
}

// The middle between two doubles in all its digits, and what lies next to it.
TEST("decimal: what lies around the middle of two doubles is read as strtod reads it") {
  std::mt19937_64 random(5);
  for (int i = 0; i < 2000; ++i) {
    const double number = std::fabs(std::bit_cast<double>(random()));
    const double above = std::nextafter(number, std::numeric_limits<double>::infinity());
    if (!std::isfinite(above)) continue;
    char text[1400];
    const long double middle = (static_cast<long double>(number) + above) / 2;
    std::snprintf(text, sizeof text, "%.1200Le", middle);
    const std::string all = text;
    const size_t e = all.find('e');
    const std::string exponent = all.substr(e);
    std::string digits = all.substr(0, e);
    digits.resize(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.push_back('0');
    CheckRead(digits + exponent);
    CheckRead(digits + "0000000000000000001" + exponent);
    CheckRead(digits + std::string(900, '0') + "1" + exponent);
    if (digits.back() > '0') {
      --digits.back();
      CheckRead(digits + "9999999999999999999" + exponent);
    }
  }
}

TEST("decimal: the limits of doubles are read as strtod reads them") {
  for (const char* const text : {"0",
                                 "0.000",
                                 "1e309",
                                 "1e-400",
                                 "2.4703282292062327208e-324",
                                 "2.4703282292062327209e-324",
                                 "4.9406564584124654e-324",
                                 "1.7976931348623157e308",
                                 "1.7976931348623158e308",
                                 "1.7976931348623159e308",
                                 "2.2250738585072011e-308",
                                 "2.2250738585072014e-308",
                                 "9007199254740993",
                                 "90071992547409930e-1",
                                 "9007199254740993e0",
                                 "0.00000000000000000000000000000000000000000000001e46",
                                 "123456789012345678901234567890e-20",
                                 "1e99999999",
                                 "1e-99999999",
                                 "0e99999999",
                                 "6929495644600919.5",
                                 "3.2378839133029012895883524125015321748630094236714e-319"}) {
    CheckRead(text);
  }
  CheckRead("1" + std::string(400, '0') + "e-400");
  CheckRead("0." + std::string(400, '0') + "1e401");
  CheckRead(std::string(5000, '7') + "e-4700");
}

}  // namespace
}  // namespace tenon::codec
