#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "codec/base64.h"
#include "codec/json_examples.h"
#include "codec/json_predict.h"
#include "codec/json_text.h"
#include "codec/json_write.h"
#include "test/test.h"

namespace tenon::codec {
namespace {

using Outcome = PredictBody::Outcome;
using Inputs = std::vector<InputSpec>;

const Inputs kFloat = {{"x", DType::kFloat32}};

// A body in memory that ends where it does, so that a sanitizer sees who reads on.
PredictBody Decode(const std::string& body, const Inputs& inputs) {
  const std::vector<char> exact(body.begin(), body.end());
  return DecodePredict({exact.data(), exact.size()}, kDefaultSignature, &inputs);
}

std::string ErrorOf(const std::string& body, const Inputs& inputs = kFloat) {
  const PredictBody decoded = Decode(body, inputs);
  if (decoded.outcome == Outcome::kDecoded) return "decoded";
  if (decoded.outcome == Outcome::kOtherSignature) return "signature " + decoded.signature;
  return std::string(CodeName(decoded.error.code)) + ": " + decoded.error.message;
}

std::string Instance(const std::string& error, int element = 0) {
  return "INVALID_ARGUMENT: Failed to process element: " + std::to_string(element) +
         " of 'instances' list. Error: " + error;
}

Tensor Only(const std::string& body, DType dtype, const Shape& shape) {
  PredictBody decoded = Decode(body, {{"x", dtype}});
  CHECK_EQ(decoded.error.message, "");
  REQUIRE(decoded.outcome == Outcome::kDecoded && decoded.feeds.size() == 1);
  CHECK_EQ(ShapeToString(decoded.feeds[0].second.shape), ShapeToString(shape));
  return decoded.feeds[0].second;
}

template <typename T>
std::vector<T> ElementsOf(const Tensor& tensor) {
  const auto* const data = static_cast<const T*>(tensor.data);
  return std::vector<T>(data, data + tensor.byte_length / sizeof(T));
}

template <typename T>
void CheckElements(const std::string& body, DType dtype, const Shape& shape,
                   const std::vector<T>& expected) {
  const Tensor tensor = Only(body, dtype, shape);
  CHECK(reinterpret_cast<uintptr_t>(tensor.data) % 64 == 0);
  const std::vector<T> elements = ElementsOf<T>(tensor);
  REQUIRE(elements.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) CHECK_EQ(elements[i], expected[i]);
}

void CheckStrings(const std::string& body, const Shape& shape,
                  const std::vector<std::string>& expected) {
  const Tensor tensor = Only(body, DType::kString, shape);
  REQUIRE(tensor.strings->size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK_EQ(std::string((*tensor.strings)[i]), expected[i]);
  }
}

// --- Shapes ---

TEST("json: instances and inputs have the shapes of their lists") {
  CheckElements<float>(R"({"instances":[1,2.5,-3e2]})", DType::kFloat32, {3}, {1, 2.5, -300});
  CheckElements<float>(R"({"instances":[[1,2],[3,4],[5,6]]})", DType::kFloat32, {3, 2},
                       {1, 2, 3, 4, 5, 6});
  CheckElements<float>(" {\n\"instances\" :\t[ [ [ 1 ] , [ 2 ] ]\r] } ", DType::kFloat32, {1, 2, 1},
                       {1, 2});
  CheckElements<float>(R"({"inputs":5})", DType::kFloat32, {}, {5});
  CheckElements<float>(R"({"inputs":{"x":5}})", DType::kFloat32, {}, {5});
  CheckElements<float>(R"({"inputs":[[1,2,3],[4,5,6]]})", DType::kFloat32, {2, 3},
                       {1, 2, 3, 4, 5, 6});
  CheckElements<float>(R"({"inputs":{"z":[{"a":"}"}],"x":[7],"y":null}})", DType::kFloat32, {1},
                       {7});
  CheckElements<float>(R"({"instances":[{"x":1},{"x":2}]})", DType::kFloat32, {2}, {1, 2});
  CheckElements<float>(R"({"instances":[{"x":[1]}]})", DType::kFloat32, {1, 1}, {1});
  CheckElements<float>(R"({"instances":[[],[]]})", DType::kFloat32, {2, 0}, {});
  CheckElements<float>(R"({"inputs":[]})", DType::kFloat32, {0}, {});
  CheckElements<float>(R"({"inputs":[[[],[]]]})", DType::kFloat32, {1, 2, 0}, {});
}

TEST("json: lists of many lists are read one after another") {
  std::string body = R"({"inputs":[)";
  std::vector<float> expected;
  for (int i = 0; i < 1000; ++i) {
    body += i == 0 ? "[[" : i % 3 == 0 ? ",[[" : i % 3 == 1 ? " , [ [" : "\n,[[ ";
    for (int j = 0; j < 3; ++j) {
      body += (j > 0 ? "],[" : "") + std::to_string(i) + ", " + std::to_string(j) + ".25";
      expected.push_back(static_cast<float>(i));
      expected.push_back(static_cast<float>(j) + 0.25f);
    }
    body += "] ]";
  }
  CheckElements<float>(body + "]}", DType::kFloat32, {1000, 3, 2}, expected);
}

TEST("json: instances are as many as there are, of one shape") {
  for (const int count : {1, 2, 3, 257, 1000}) {
    std::string pairs;
    std::string strings;
    std::string empty;
    std::vector<float> expected;
    for (int i = 0; i < count; ++i) {
      const std::string comma = i == 0 ? "" : i % 2 == 0 ? "," : " , ";
      pairs += comma + "[[" + std::to_string(i) + "],[ 0.5]]";
      strings += comma + "[\"" + std::to_string(i) + "\"]";
      empty += comma + "[]";
      expected.push_back(static_cast<float>(i));
      expected.push_back(0.5f);
    }
    CheckElements<float>("{\"instances\":[" + pairs + "]}", DType::kFloat32, {count, 2, 1},
                         expected);
    CheckElements<float>("{\"instances\":[" + empty + "]}", DType::kFloat32, {count, 0}, {});
    const Tensor tensor = Only("{\"instances\":[" + strings + "]}", DType::kString, {count, 1});
    CHECK_EQ(std::string((*tensor.strings)[static_cast<size_t>(count) - 1]),
             std::to_string(count - 1));
  }
}

TEST("json: several inputs come by name, in any order") {
  const Inputs inputs = {{"a", DType::kFloat32}, {"b", DType::kInt32}, {"c", DType::kString}};
  const PredictBody row =
      Decode(R"({"instances":[{"b":1,"a":[2,3],"c":"x"},{"a":[4,5],"\u0063":"y","b":6}]})", inputs);
  CHECK_EQ(row.error.message, "");
  REQUIRE(row.feeds.size() == 3);
  CHECK_EQ(ShapeToString(row.feeds[0].second.shape), "[2,2]");
  CHECK_EQ(ShapeToString(row.feeds[1].second.shape), "[2]");
  CHECK(ElementsOf<float>(row.feeds[0].second) == std::vector<float>({2, 3, 4, 5}));
  CHECK(ElementsOf<int32_t>(row.feeds[1].second) == std::vector<int32_t>({1, 6}));
  CHECK_EQ(std::string((*row.feeds[2].second.strings)[1]), "y");
  const PredictBody columnar =
      Decode(R"({"inputs":{"c":["x"],"b":7,"a":[[1]]},"signature_name":""})", inputs);
  REQUIRE(columnar.feeds.size() == 3);
  CHECK(columnar.form == BodyForm::kColumnar);
  CHECK_EQ(columnar.signature, "serving_default");
  CHECK(ElementsOf<int32_t>(columnar.feeds[1].second) == std::vector<int32_t>({7}));
}

TEST("json: of several members with one name the first counts") {
  CheckElements<float>(R"({"instances":[1],"instances":["a"]})", DType::kFloat32, {1}, {1});
  CheckElements<float>(R"({"inputs":{"x":1,"x":[{}]}})", DType::kFloat32, {}, {1});
  CheckElements<float>(R"({"instances":[{"x":1,"x":"a"},{"x":2,"x":[]}]})", DType::kFloat32, {2},
                       {1, 2});
  CHECK_EQ(ErrorOf(R"({"signature_name":"a","signature_name":5,"inputs":1})"), "signature a");
}

// --- Elements ---

TEST("json: floats are read as doubles and rounded") {
  const float infinity = std::numeric_limits<float>::infinity();
  CheckElements<float>(
      R"({"inputs":[1e39,-1e39,Infinity,-Infinity,Inf,1.0e309,0.1,1e-46,-0,16777217,3.4028235677973366e38]})",
      DType::kFloat32, {11},
      {infinity, -infinity, infinity, -infinity, infinity, infinity, 0.1f, 0, -0.0f, 16777216,
       infinity});
  const Tensor nan = Only(R"({"inputs":[NaN,-NaN,-0]})", DType::kFloat32, {3});
  CHECK(std::isnan(ElementsOf<float>(nan)[0]) && std::isnan(ElementsOf<float>(nan)[1]));
  CHECK(std::signbit(ElementsOf<float>(nan)[2]));
}

TEST("json: doubles are read exactly") {
  CheckElements<double>(
      R"({"inputs":[0.1,1e308,5e-324,2.2250738585072011e-308,9007199254740993,123456789012345678901234567890,1E+2,1.5e-3,0.30000000000000004,100000000000000000000000e-5]})",
      DType::kFloat64, {10},
      {0.1, 1e308, 5e-324, 2.2250738585072011e-308, 9007199254740992.0,
       123456789012345678901234567890.0, 100, 0.0015, 0.30000000000000004,
       100000000000000000000000e-5});
}

TEST("json: numbers of any length and place are read as strtod reads them") {
  std::mt19937_64 random(1);
  std::string body = R"({"inputs":[)";
  std::vector<double> expected;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = random() % 3 == 0 ? "-" : "";
    text += std::to_string(random() >> random() % 64);
    if (random() % 2 == 0) {
      std::string fraction = std::to_string(random());
      text += "." + std::string(random() % 6, '0') + fraction.substr(random() % fraction.size());
    }
    if (random() % 4 == 0) text += "e" + std::to_string(static_cast<int>(random() % 600) - 310);
    const double number = std::strtod(text.c_str(), nullptr);
    body += (i > 0 ? "," : "") + text;
    expected.push_back(number);
  }
  body += "]}";
  CheckElements<double>(body, DType::kFloat64, {20'000}, expected);
  std::vector<float> rounded(expected.begin(), expected.end());
  CheckElements<float>(body, DType::kFloat32, {20'000}, rounded);
}

TEST("json: integers are read with all their digits") {
  CheckElements<int64_t>(
      R"({"inputs":[9223372036854775807,-9223372036854775808,0,-1,9007199254740993]})",
      DType::kInt64, {5},
      {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(), 0, -1,
       9007199254740993});
  CheckElements<uint64_t>(R"({"inputs":[18446744073709551615,0,-0]})", DType::kUInt64, {3},
                          {std::numeric_limits<uint64_t>::max(), 0, 0});
  CheckElements<int32_t>(R"({"inputs":[2147483647,-2147483648]})", DType::kInt32, {2},
                         {2147483647, -2147483647 - 1});
  CheckElements<uint32_t>(R"({"inputs":[4294967295,0]})", DType::kUInt32, {2}, {4294967295, 0});
}

TEST("json: integers of 8 and 16 bits wrap") {
  CheckElements<uint8_t>(R"({"instances":[300,-1,255]})", DType::kUInt8, {3}, {44, 255, 255});
  CheckElements<int8_t>(R"({"instances":[300,-129]})", DType::kInt8, {2}, {44, 127});
  CheckElements<int16_t>(R"({"instances":[65537,2147483647]})", DType::kInt16, {2}, {1, -1});
}

TEST("json: booleans are true and false") {
  CheckElements<bool>(R"({"inputs":[[true],[false]]})", DType::kBool, {2, 1}, {true, false});
}

TEST("json: strings are unescaped, and base64 decoded") {
  CheckStrings(
      R"({"instances":["a\u00e9\n\"\\\/\b\f\r\t","\ud83d\ude00\u0000z",{"b64":"aGVsbG8="},{ "\u0062\u00364" : "aGVsbG8" },""]})",
      {5}, {"a\u00e9\n\"\\/\b\f\r\t", std::string("\xf0\x9f\x98\x80\0z", 6), "hello", "hello", ""});
  CheckStrings("{\"inputs\":\"\xff\xfe\x7f\"}", {}, {"\xff\xfe\x7f"});
  CheckStrings(R"({"inputs":{"b64":""}})", {}, {""});
  CheckStrings(R"({"inputs":"\udc00"})", {}, {"\xed\xb0\x80"});
  CheckStrings(R"({"instances":[["a"],[{"b64":"\u0059Q=="}]]})", {2, 1}, {"a", "a"});
}

TEST("json: base64 may lack padding and have white space, and nothing else") {
  const auto decoded = [](std::string_view text) {
    std::string out(Base64DecodedMost(text.size()), '\0');
    const auto length = DecodeBase64(text, out.data());
    return length ? out.substr(0, *length) : "refused";
  };
  CHECK_EQ(decoded(""), "");
  CHECK_EQ(decoded("YQ=="), "a");
  CHECK_EQ(decoded("YQ"), "a");
  CHECK_EQ(decoded("YWI="), "ab");
  CHECK_EQ(decoded("YW Jj\nZGVm"), "abcdef");
  CHECK_EQ(decoded("+/+/"), "\xfb\xff\xbf");
  for (const char* const text :
       {"Y", "YQ=", "YQ===", "=", "YWJj=", "YQ==YQ==", "Y-==", "YWJ\xff"}) {
    CHECK_EQ(decoded(text), "refused");
  }
  std::mt19937 random(1);
  for (size_t length = 0; length < 200; ++length) {
    std::string bytes(length, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    std::string text(Base64EncodedLength(length), '\0');
    EncodeBase64(bytes, text.data());
    CHECK_EQ(decoded(text), bytes);
  }
}

// --- Errors of values ---

struct Refused {
  DType dtype;
  const char* value;
  const char* type;
};

TEST("json: what is no element of a dtype is refused with its type") {
  constexpr Refused kRefused[] = {
      {DType::kFloat32, "\"a\"", "String"},
      {DType::kFloat32, "true", "True"},
      {DType::kFloat64, "false", "False"},
      {DType::kFloat64, "null", "Null"},
      {DType::kInt32, "1.0", "Number"},
      {DType::kInt32, "2147483648", "Number"},
      {DType::kInt8, "-2147483649", "Number"},
      {DType::kUInt8, "\"1\"", "String"},
      {DType::kInt64, "9223372036854775808", "Number"},
      {DType::kUInt32, "-1", "Number"},
      {DType::kUInt32, "4294967296", "Number"},
      {DType::kUInt64, "-5", "Number"},
      {DType::kBool, "1", "Number"},
      {DType::kBool, "\"true\"", "String"},
      {DType::kString, "1", "Number"},
      {DType::kString, "null", "Null"},
      {DType::kInt16, "null", "Null"},
      {DType::kBool, "null", "Null"},
  };
  for (const auto& [dtype, value, type] : kRefused) {
    const std::string text = std::string("JSON Value: ") + value + " Type: " + type +
                             " is not of expected type: " + std::string(TensorFlowTypeName(dtype));
    const std::string body = std::string(value) + "]}";
    CHECK_EQ(ErrorOf("{\"inputs\":[" + body, {{"x", dtype}}), "INVALID_ARGUMENT: " + text);
    CHECK_EQ(ErrorOf("{\"instances\":[" + body, {{"x", dtype}}),
             Instance("INVALID_ARGUMENT: " + text));
  }
  CHECK_EQ(ErrorOf(R"({"inputs":1e3})", {{"x", DType::kInt64}}),
           "INVALID_ARGUMENT: JSON Value: 1000.0 Type: Number is not of expected type: int64");
  CHECK_EQ(ErrorOf(R"({"inputs":18446744073709551616})", {{"x", DType::kUInt64}}),
           "INVALID_ARGUMENT: JSON Value: 18446744073709552000.0 Type: Number is not of expected "
           "type: uint64");
  CHECK_EQ(ErrorOf(R"({"inputs":{"x":{"b64":"YQ=="}}})"),
           "INVALID_ARGUMENT: JSON Value: {\n    \"b64\": \"YQ==\"\n} Type: Object is not of "
           "expected type: float");
}

TEST("json: dtypes that TensorFlow Serving does not read are unimplemented") {
  for (const auto& [dtype, name] : {std::pair(DType::kFloat16, "half"),
                                    {DType::kBFloat16, "bfloat16"},
                                    {DType::kUInt16, "uint16"},
                                    {DType::kComplex64, "complex64"}}) {
    const std::string error =
        std::string("UNIMPLEMENTED: Conversion of JSON Value: 1 to type: ") + name;
    CHECK_EQ(ErrorOf(R"({"inputs":[1]})", {{"x", dtype}}), error);
    CHECK_EQ(ErrorOf(R"({"instances":[1]})", {{"x", dtype}}), Instance(error));
    CHECK_EQ(ErrorOf(R"({"inputs":[]})", {{"x", dtype}}), "decoded");
  }
}

TEST("json: strings that are no base64 are refused") {
  const Inputs inputs = {{"x", DType::kString}};
  CHECK_EQ(ErrorOf(R"({"instances":["a",{"b64":"!"}]})", inputs),
           Instance("INVALID_ARGUMENT: Unable to base64 decode", 1));
  CHECK_EQ(ErrorOf(R"({"inputs":["a",{"b":1}]})", inputs),
           "INVALID_ARGUMENT: JSON Value: {\n    \"b\": 1\n} not formatted correctly for base64 "
           "data");
  CHECK_EQ(ErrorOf(R"({"inputs":[{"b64":"YQ==","c":1}]})", inputs),
           "INVALID_ARGUMENT: JSON Value: {\n    \"b64\": \"YQ==\",\n    \"c\": 1\n} not "
           "formatted correctly for base64 data");
}

TEST("json: ragged lists are refused as TensorFlow Serving finds them") {
  const auto size = [](int size, int level, int expected) {
    return "INVALID_ARGUMENT: Encountered list at unexpected size: " + std::to_string(size) +
           " at level: " + std::to_string(level) + " expected size: " + std::to_string(expected);
  };
  CHECK_EQ(ErrorOf(R"({"inputs":[[1,2],[3]]})"), size(1, 1, 2));
  CHECK_EQ(ErrorOf(R"({"inputs":[[1,2],[3,4,5]]})"), size(3, 1, 2));
  // A list's length is looked at before its elements.
  CHECK_EQ(ErrorOf(R"({"inputs":[[1,2],[3,"a",5]]})"), size(3, 1, 2));
  CHECK_EQ(ErrorOf(R"({"inputs":[[[1],[2]],[[3],[4,5],[6]]]})"), size(3, 1, 2));
  CHECK_EQ(ErrorOf(R"({"inputs":[[[1],[2]],[[3],[4,5]]]})"), size(2, 2, 1));
  CHECK_EQ(ErrorOf(R"({"inputs":[[],[[1]]]})"), size(1, 1, 0));
  CHECK_EQ(ErrorOf(R"({"inputs":[[1],[]]})"), size(0, 1, 1));
  CHECK_EQ(ErrorOf(R"({"inputs":[1,[2]]})"),
           "INVALID_ARGUMENT: Encountered list at unexpected level: 1 expected < 1");
  CHECK_EQ(ErrorOf(R"({"inputs":[[1],2]})"),
           "INVALID_ARGUMENT: JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected "
           "at level: 2");
  CHECK_EQ(ErrorOf(R"({"instances":[[1,2],[3,4,5]]})"),
           Instance("INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3", 1));
  CHECK_EQ(ErrorOf(R"({"instances":[[1,2],[[3,4]]]})"),
           Instance("INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]", 1));
  CHECK_EQ(ErrorOf(R"({"instances":[[[1,2],[3]],[4]]})"),
           Instance("INVALID_ARGUMENT: Encountered list at unexpected size: 1 at level: 1 expected "
                    "size: 2"));
  CHECK_EQ(ErrorOf(R"({"instances":[1,[2]]})"),
           Instance("INVALID_ARGUMENT: Expecting shape [] but got: [1]", 1));
  CHECK_EQ(ErrorOf(R"({"instances":[1,[]]})"),
           Instance("INVALID_ARGUMENT: Expecting tensor size: 1 but got: 0", 1));
}

// --- Errors of bodies ---

TEST("json: bodies that are not as they should be are refused with their text") {
  const Inputs two = {{"a", DType::kFloat32}, {"b", DType::kFloat32}};
  const std::string invalid = "INVALID_ARGUMENT: ";
  CHECK_EQ(ErrorOf(R"({"inputs":{"b":1}})", two),
           invalid + "Missing named input: a in 'inputs' object.");
  CHECK_EQ(ErrorOf(R"({"inputs":[1]})", two),
           invalid +
               "inputs is a plain value/list, but expecting an object as multiple input "
               "tensors required as per tensorinfo_map");
  CHECK_EQ(ErrorOf(R"({"instances":[1]})", two),
           invalid +
               "instances is a plain list, but expecting list of objects as multiple input "
               "tensors required as per tensorinfo_map");
  CHECK_EQ(ErrorOf(R"({"instances":[{"a":1}]})", two),
           invalid +
               "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": "
               "1\n} keys must be equal to: a,b");
  CHECK_EQ(ErrorOf(R"({"instances":[{"a":1,"b":1,"z":1}]})", two),
           invalid +
               "Failed to process element: 0 key: z of 'instances' list. Error: "
               "INVALID_ARGUMENT: JSON object: does not have named input: z");
  CHECK_EQ(ErrorOf(R"({"instances":[{"a":1,"b":"q"}]})", two),
           invalid +
               "Failed to process element: 0 key: b of 'instances' list. Error: "
               "INVALID_ARGUMENT: JSON Value: \"q\" Type: String is not of expected type: "
               "float");
  CHECK_EQ(ErrorOf(R"({"instances":[{"x":1},2]})"),
           invalid + "Expecting object but got list at item 1 of input list");
  CHECK_EQ(ErrorOf(R"({"instances":[1,{"x":1}]})"),
           invalid + "Expecting value/list but got object at item 1 of input list");
  CHECK_EQ(ErrorOf(R"({"inputs":1,"instances":[2]})"),
           invalid +
               "JSON Value: {\n    \"inputs\": 1,\n    \"instances\": [2]\n} Not formatted "
               "correctly expecting only one of 'inputs' or 'instances' keys to exist ");
  CHECK_EQ(ErrorOf(R"({"a":1})"), invalid + "Missing 'inputs' or 'instances' key");
  CHECK_EQ(ErrorOf("{}"), invalid + "Missing 'inputs' or 'instances' key");
  CHECK_EQ(ErrorOf(R"({"instances":[]})"),
           invalid + "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array");
  CHECK_EQ(ErrorOf(R"({"instances":{"x":1}})"),
           invalid +
               "JSON Value: {\n    \"instances\": {\n        \"x\": 1\n    }\n} Expecting "
               "'instances' to be an list/array");
  CHECK_EQ(ErrorOf("[1, 2.50, null]"), invalid + "JSON Value: [1, 2.5, null] Is not object");
  CHECK_EQ(ErrorOf(R"({"signature_name":5,"inputs":1})"),
           invalid +
               "JSON Value: {\n    \"signature_name\": 5,\n    \"inputs\": 1\n} not "
               "formatted correctly. 'signature_name' key must be a string value.");
  CHECK_EQ(ErrorOf(R"({"inputs":1})", {}),
           invalid + "Failed to get input map for signature: DEFAULT");
}

TEST("json: another signature is told before its inputs are known") {
  CHECK_EQ(ErrorOf(R"({"signature_name":"a","inputs":"?"})"), "signature a");
  CHECK_EQ(ErrorOf(R"({"inputs":"?","signature_name":"a"})"), "signature a");
  CHECK_EQ(ErrorOf(R"({"inputs":1,"signature_name":"\u0061"})"), "signature a");
  CHECK_EQ(ErrorOf(R"({"inputs":1,"signature_name":"serving_default"})"), "decoded");
  CHECK_EQ(ErrorOf(R"({"signature_name":"serving\u005fdefault","inputs":1})"), "decoded");
  const auto only_checked = [](std::string_view body) {
    const PredictBody decoded = DecodePredict(body, "", nullptr);
    return decoded.outcome == Outcome::kOtherSignature ? decoded.signature : decoded.error.message;
  };
  CHECK_EQ(only_checked(R"({"signature_name":"a","inputs":1})"), "a");
  CHECK_EQ(only_checked(R"({"inputs":1})"), "serving_default");
  CHECK_EQ(only_checked(R"({"signature_name":"a","inputs":1)"),
           "JSON Parse error: Missing a comma or '}' after an object member. at offset: 32");
}

TEST("json: what is shown of a value in an error is bounded") {
  const std::string body = "{\"inputs\":[[1],\"" + std::string(100'000, 'a') + "\"]}";
  CHECK(ErrorOf(body).size() < 500);
  std::string many = "[0";
  for (int i = 1; i < 100'000; ++i) many += "," + std::to_string(i);
  const std::string error = ErrorOf(many + "]");
  CHECK(error.size() < 500);
  CHECK(error.starts_with("INVALID_ARGUMENT: JSON Value: [0, 1, 2, 3, "));
  std::string deep = "{\"instances\":[{\"x\":1}],\"inputs\":";
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":[";
  for (int i = 0; i < 100'000; ++i) deep += "]}";
  CHECK(ErrorOf(deep + "}").size() < 2000);
}

TEST("json: more strings than JavaScript should have objects for are refused") {
  const Inputs inputs = {{"x", DType::kString}};
  const std::string error = "RESOURCE_EXHAUSTED: The request has more than 1048576 strings";
  std::string list = "[\"\"";
  for (size_t i = 1; i < kMaxStrings; ++i) list += ",\"\"";
  CHECK_EQ(ErrorOf("{\"inputs\":" + list + "]}", inputs), "decoded");
  CHECK_EQ(ErrorOf("{\"instances\":" + list + "]}", inputs), "decoded");
  CHECK_EQ(ErrorOf("{\"inputs\":" + list + ",\"\"]}", inputs), error);
  CHECK_EQ(ErrorOf("{\"instances\":" + list + ",\"\"]}", inputs), error);
  CHECK_EQ(ErrorOf("{\"instances\":" + list + ",{\"b64\":\"\"}]}", inputs), error);
  std::string examples = "{\"examples\":[{}";
  for (size_t i = 0; i < kMaxStrings; ++i) examples += ",{}";
  CHECK_EQ(DecodeExamples(examples + "]}").error.message,
           "The request has more than 1048576 examples");
}

// --- Faults of the text ---

TEST("json: faults are told with their offset, as RapidJSON tells them") {
  const std::pair<const char*, const char*> faults[] = {
      {"", "The document is empty"},
      {" \n ", "The document is empty. at offset: 3"},
      {"]", "The document is empty. at offset: 0"},
      {"nul", "Invalid value. at offset: 3"},
      {"nulx", "Invalid value. at offset: 3"},
      {"x", "Invalid value. at offset: 0"},
      {"{", "Missing a name for object member. at offset: 1"},
      {"{\"a\"", "Missing a colon after a name of object member. at offset: 4"},
      {"{\"a\":", "Invalid value. at offset: 5"},
      {"{\"a\":1", "Missing a comma or '}' after an object member. at offset: 6"},
      {"{\"a\":1,}", "Missing a name for object member. at offset: 7"},
      {"{\"a\":1 2}", "Missing a comma or '}' after an object member. at offset: 7"},
      {"{a:1}", "Missing a name for object member. at offset: 1"},
      {"{\"a\":[1,]}", "Invalid value. at offset: 8"},
      {"{\"a\":[1 2]}", "Missing a comma or ']' after an array element. at offset: 8"},
      {"{\"a\":[1", "Missing a comma or ']' after an array element. at offset: 7"},
      {"{\"a\":[", "Invalid value. at offset: 6"},
      {"{\"a\":\"b", "Missing a closing quotation mark in string. at offset: 7"},
      {"{\"a\":\"b\n\"}", "Invalid escape character in string. at offset: 7"},
      {"{\"a\":\"b\\x\"}", "Invalid escape character in string. at offset: 7"},
      {"{\"a\":\"b\\u12g4\"}", "Incorrect hex digit after \\u escape in string. at offset: 7"},
      {"{\"a\":\"b\\ud800\"}", "The surrogate pair in string is invalid. at offset: 7"},
      {"{\"a\":\"b\\ud800\\u0041\"}", "The surrogate pair in string is invalid. at offset: 7"},
      {"{\"a\":1.}", "Miss fraction part in number. at offset: 7"},
      {"{\"a\":1e}", "Miss exponent in number. at offset: 7"},
      {"{\"a\":1e+}", "Miss exponent in number. at offset: 8"},
      {"{\"a\":-}", "Invalid value. at offset: 6"},
      {"{\"a\":01}", "Missing a comma or '}' after an object member. at offset: 6"},
      {"{\"a\":.5}", "Invalid value. at offset: 5"},
      {"{\"a\":+1}", "Invalid value. at offset: 5"},
      {"{\"a\":1e309}", "Number too big to be stored in double. at offset: 5"},
      {"{\"a\":NaX}", "Invalid value. at offset: 7"},
      {"{\"a\":Infinit}", "Invalid value. at offset: 12"},
      {"{\"instances\":[1,2,", "Invalid value. at offset: 18"},
      {"{\"instances\":[1,2 3]}", "Missing a comma or ']' after an array element. at offset: 18"},
      {"{\"inputs\":[1,2 3]}", "Missing a comma or ']' after an array element. at offset: 15"},
      {"{\"instances\":[1,Infinity-3]}",
       "Missing a comma or ']' after an array element. at offset: 24"},
      {"{\"instances\":[1,x],\"instances\":5}", "Invalid value. at offset: 16"},
      // A fault wins over what is wrong before it.
      {"{\"instances\":[\"a\"],\"z\":[1,]}", "Invalid value. at offset: 26"},
      {"\xef\xbb\xbf{", "Missing a name for object member. at offset: 4"},
  };
  for (const auto& [body, fault] : faults) {
    CHECK_EQ(ErrorOf(body), std::string("INVALID_ARGUMENT: JSON Parse error: ") + fault);
  }
  CHECK_EQ(ErrorOf(std::string("{\"a\":1\0}", 8)),
           "INVALID_ARGUMENT: JSON Parse error: Missing a comma or '}' after an object member. at "
           "offset: 6");
}

TEST("json: what follows the root is not looked at, and a byte order mark is skipped") {
  CheckElements<float>("{\"inputs\":1}x]}\"", DType::kFloat32, {}, {1});
  CheckElements<float>("\xef\xbb\xbf {\"inputs\":1}", DType::kFloat32, {}, {1});
}

TEST("json: integers longer than a double are refused where RapidJSON refuses them") {
  CHECK_EQ(ErrorOf("{\"inputs\":1" + std::string(307, '0') + "}"), "decoded");
  CHECK_EQ(ErrorOf("{\"inputs\":1" + std::string(308, '0') + "}"), "decoded");
  CHECK_EQ(ErrorOf("{\"inputs\":2" + std::string(308, '0') + "}"),
           "INVALID_ARGUMENT: JSON Parse error: Number too big to be stored in double. at offset: "
           "10");
  CHECK_EQ(ErrorOf("{\"inputs\":1" + std::string(309, '0') + "}"),
           "INVALID_ARGUMENT: JSON Parse error: Number too big to be stored in double. at offset: "
           "10");
  CheckElements<double>("{\"inputs\":0." + std::string(100'000, '3') + "}", DType::kFloat64, {},
                        {1.0 / 3});
}

TEST("json: nesting of any depth neither crashes nor recurses") {
  constexpr size_t kDepth = 500'000;
  const std::string open(kDepth, '[');
  const std::string closed(kDepth, ']');
  CHECK_EQ(ErrorOf("{\"inputs\":" + open + closed + "}"),
           "INVALID_ARGUMENT: tensor parsing error: x");
  CHECK_EQ(ErrorOf("{\"instances\":" + open + closed + "}"),
           Instance("INVALID_ARGUMENT: tensor parsing error: x"));
  CHECK_EQ(ErrorOf("{\"z\":" + open + closed + ",\"inputs\":1}"), "decoded");
  CHECK_EQ(ErrorOf("{\"inputs\":[1,[" + open + closed + "]]}"),
           "INVALID_ARGUMENT: Encountered list at unexpected level: 1 expected < 1");
  CHECK_EQ(ErrorOf(open), "INVALID_ARGUMENT: JSON Parse error: Invalid value. at offset: 500000");
  std::string objects;
  for (size_t i = 0; i < kDepth; ++i) objects += "{\"a\":";
  CHECK_EQ(ErrorOf(objects),
           "INVALID_ARGUMENT: JSON Parse error: Invalid value. at offset: 2500000");
  const std::string rank254 = std::string(254, '[') + "1" + std::string(254, ']');
  CHECK_EQ(ErrorOf("{\"inputs\":" + rank254 + "}"), "decoded");
  CHECK_EQ(ErrorOf("{\"inputs\":[" + rank254 + "]}"), "INVALID_ARGUMENT: tensor parsing error: x");
}

// Bodies that have a bit of everything.
const Inputs kSampleInputs = {
    {"a", DType::kFloat32}, {"b", DType::kInt64}, {"c", DType::kString}, {"d", DType::kBool}};
const std::string kSamples[] = {
    R"({"signature_name": "serving_default", "instances": [{"a": [1.5, -2e-3], "b": 9007199254740993, "c": "x\u00e9\ud83d\ude00\\", "d": true}, {"b": -1, "a": [NaN, 0.1234567890123456789], "d": false, "c": {"b64": "aGVsbG8="}}], "other": {"k": [null, {}]}})",
    R"({"inputs":{"a":[[[1,2],[3,4]],[[5,6],[7,8.25]]],"b":[1,2,3],"c":["a","b"],"d":[[]],"e":[{"}":"]"}]}})",
};

TEST("json: a sample with any byte changed is decoded or refused, and never read beyond its end") {
  for (const std::string& sample : kSamples) {
    REQUIRE(Decode(sample, kSampleInputs).outcome == Outcome::kDecoded);
    for (size_t i = 0; i < sample.size(); ++i) {
      for (const char byte : {'\0', ' ', '"', '\\', '{', '}', '[', ']', ',', ':', '0', '9', '-',
                              '.', 'e', 'x', '\n', '\x80', '\xff'}) {
        std::string body = sample;
        body[i] = byte;
        const PredictBody decoded = Decode(body, kSampleInputs);
        CHECK(decoded.outcome != Outcome::kRefused || !decoded.error.message.empty());
      }
    }
  }
}

TEST("json: a sample cut off, or without one byte, is refused unless nothing is missing") {
  for (const std::string& sample : kSamples) {
    for (size_t i = 0; i < sample.size(); ++i) {
      CHECK(
          ErrorOf(sample.substr(0, i), kSampleInputs).starts_with("INVALID_ARGUMENT: JSON Parse"));
      std::string body = sample;
      body.erase(i, 1);
      (void)Decode(body, kSampleInputs);
      body = sample;
      body.insert(i, 1, sample[sample.size() - 1 - i]);
      (void)Decode(body, kSampleInputs);
    }
  }
}

// --- Answers ---

template <typename T>
Tensor TensorOf(DType dtype, const Shape& shape, const std::vector<T>& elements) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.byte_length = elements.size() * sizeof(T);
  const auto memory = std::make_shared<std::vector<T>>(elements);
  tensor.data = memory->data();
  tensor.owner = memory;
  return tensor;
}

Tensor StringsOf(const Shape& shape, const std::vector<std::string>& elements) {
  Tensor tensor;
  tensor.dtype = DType::kString;
  tensor.shape = shape;
  const auto table = std::make_shared<StringTable>();
  for (const std::string& element : elements) table->Append(element);
  tensor.strings = table;
  return tensor;
}

std::string Encode(BodyForm form, const std::vector<NamedTensor>& outputs) {
  TextBuffer text;
  const auto error = EncodePredict(form, outputs, &text);
  return error ? std::string(CodeName(error->code)) + ": " + error->message
               : std::string(text.text());
}

TEST("json: one output is written alone") {
  const Tensor tensor = TensorOf<float>(DType::kFloat32, {2, 2}, {1, 2.5, 0.1f, 9e6f});
  CHECK_EQ(Encode(BodyForm::kRow, {{"y", tensor}}),
           "{\n    \"predictions\": [[1.0, 2.5], [0.1, 9e+06]\n    ]\n}");
  CHECK_EQ(Encode(BodyForm::kColumnar, {{"y", tensor}}),
           "{\n    \"outputs\": [\n        [\n            1.0,\n            2.5\n        ],\n"
           "        [\n            0.1,\n            9e+06\n        ]\n    ]\n}");
  CHECK_EQ(Encode(BodyForm::kRow, {{"y", TensorOf<int64_t>(DType::kInt64, {2}, {1, -9})}}),
           "{\n    \"predictions\": [1, -9\n    ]\n}");
  CHECK_EQ(Encode(BodyForm::kColumnar, {{"y", TensorOf<float>(DType::kFloat32, {}, {3})}}),
           "{\n    \"outputs\": 3.0\n}");
  CHECK_EQ(Encode(BodyForm::kRow, {{"y", TensorOf<float>(DType::kFloat32, {0, 2}, {})}}),
           "{\n    \"predictions\": []\n}");
  CHECK_EQ(Encode(BodyForm::kRow, {{"y", TensorOf<float>(DType::kFloat32, {2, 0}, {})}}),
           "{\n    \"predictions\": [[], []\n    ]\n}");
}

TEST("json: several outputs are written by name") {
  const std::vector<NamedTensor> outputs = {{"a\"", TensorOf<int32_t>(DType::kInt32, {2}, {1, 2})},
                                            {"b_bytes", StringsOf({2, 1}, {"x", "yz"})}};
  CHECK_EQ(Encode(BodyForm::kRow, outputs),
           "{\n    \"predictions\": [\n        {\n            \"a\\\"\": 1,\n            "
           "\"b_bytes\": [{\n                    \"b64\": \"eA==\"\n                }]\n        "
           "},\n        {\n            \"a\\\"\": 2,\n            \"b_bytes\": [{\n               "
           "     \"b64\": \"eXo=\"\n                }]\n        }\n    ]\n}");
  CHECK_EQ(Encode(BodyForm::kColumnar, outputs),
           "{\n    \"outputs\": {\n        \"a\\\"\": [\n            1,\n            2\n        "
           "],\n        \"b_bytes\": [\n            [\n                {\n                    "
           "\"b64\": \"eA==\"\n                }\n            ],\n            [\n                "
           "{\n                    \"b64\": \"eXo=\"\n                }\n            ]\n        "
           "]\n    }\n}");
}

TEST("json: elements of every dtype are written") {
  const auto row = [](const Tensor& tensor) {
    const std::string text = Encode(BodyForm::kRow, {{"y", tensor}});
    const std::string start = "{\n    \"predictions\": [";
    const std::string end = "\n    ]\n}";
    if (!text.starts_with(start)) return text;
    return text.substr(start.size(), text.size() - start.size() - end.size());
  };
  CHECK_EQ(row(TensorOf<int64_t>(DType::kInt64, {2}, {std::numeric_limits<int64_t>::min(), 7})),
           "-9223372036854775808, 7");
  CHECK_EQ(row(TensorOf<uint64_t>(DType::kUInt64, {1}, {~uint64_t{0}})), "18446744073709551615");
  CHECK_EQ(row(TensorOf<int8_t>(DType::kInt8, {2}, {-128, 127})), "-128, 127");
  CHECK_EQ(row(TensorOf<uint8_t>(DType::kUInt8, {1}, {255})), "255");
  CHECK_EQ(row(TensorOf<int16_t>(DType::kInt16, {1}, {-32768})), "-32768");
  CHECK_EQ(row(TensorOf<uint16_t>(DType::kUInt16, {1}, {65535})), "65535");
  CHECK_EQ(row(TensorOf<uint32_t>(DType::kUInt32, {1}, {4294967295})), "4294967295");
  CHECK_EQ(row(TensorOf<uint8_t>(DType::kBool, {3}, {0, 1, 2})), "false, true, true");
  CHECK_EQ(row(TensorOf<double>(DType::kFloat64, {2}, {0.1, 1.0 / 3})), "0.1, 0.33333333333333331");
  CHECK_EQ(row(TensorOf<uint16_t>(DType::kFloat16, {5}, {0x3c00, 0xc000, 0x0001, 0x7c00, 0x7e00})),
           "1.0, -2.0, 5.96046448e-08, Infinity, NaN");
  CHECK_EQ(row(TensorOf<uint16_t>(DType::kBFloat16, {2}, {0x3f80, 0xff80})), "1.0, -Infinity");
  CHECK_EQ(row(StringsOf({2}, {std::string("a\"\\/\b\f\n\r\t\x01\x1f\0", 12), "\u00e9\xff"})),
           "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001F\\u0000\", \"\u00e9\xff\"");
  CHECK_EQ(row(TensorOf<float>(DType::kComplex64, {1}, {1, 2})),
           "INVALID_ARGUMENT: Failed to write JSON value for tensor type: complex64");
}

TEST("json: outputs that are no rows are refused") {
  CHECK_EQ(Encode(BodyForm::kRow, {{"y", TensorOf<float>(DType::kFloat32, {}, {1})}}),
           "INVALID_ARGUMENT: Tensor name: y has no shape information ");
  CHECK_EQ(Encode(BodyForm::kRow, {{"y", TensorOf<float>(DType::kFloat32, {2}, {1, 2})},
                                   {"z", TensorOf<float>(DType::kFloat32, {1}, {1})}}),
           "INVALID_ARGUMENT: Tensor name: z has inconsistent batch size: 1 expecting: 2");
  CHECK_EQ(Encode(BodyForm::kRow, {}), "INVALID_ARGUMENT: Cannot convert empty tensor map to JSON");
}

TEST("json: what is written is read as it was") {
  std::mt19937_64 random(1);
  std::vector<float> elements(30'000);
  for (float& element : elements) {
    const float any = std::bit_cast<float>(static_cast<uint32_t>(random()));
    element = std::isnan(any) ? 0.5f : any;
  }
  const std::string text = Encode(
      BodyForm::kColumnar, {{"x", TensorOf<float>(DType::kFloat32, {100, 100, 3}, elements)}});
  const std::string body = "{\"inputs\"" + text.substr(text.find(':'));
  CheckElements<float>(body, DType::kFloat32, {100, 100, 3}, elements);
}

// --- Examples ---

std::string ExamplesErrorOf(std::string_view body) {
  const ExamplesBody decoded = DecodeExamples(body);
  return decoded.ok ? "decoded" : decoded.error.message;
}

TEST("json: examples are serialized, the context in front of each") {
  const ExamplesBody decoded = DecodeExamples(
      R"({"examples":[{"i":[1,-1,true],"f":1.5},{"s":["a",{"b64":"Yg=="}]},{},{"e":[]}],"context":{"c":2},"signature_name":"s"})");
  CHECK_EQ(decoded.error.message, "");
  CHECK_EQ(decoded.signature, "s");
  REQUIRE(decoded.examples.size() == 4);
  const std::string context("\x0a\x0c\x0a\x0a\x0a\x01\x63\x12\x05\x1a\x03\x0a\x01\x02", 14);
  CHECK_EQ(std::string(decoded.examples[2]), context);
  const std::string first(
      "\x0a\x26\x0a\x15\x0a\x01\x69\x12\x10\x1a\x0e\x0a\x0c\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff"
      "\x01\x01"
      "\x0a\x0d\x0a\x01\x66\x12\x08\x12\x06\x0a\x04\x00\x00\xc0\x3f",
      40);
  CHECK_EQ(std::string(decoded.examples[0]), context + first);
  const std::string second("\x0a\x0f\x0a\x0d\x0a\x01\x73\x12\x08\x0a\x06\x0a\x01\x61\x0a\x01\x62",
                           17);
  CHECK_EQ(std::string(decoded.examples[1]), context + second);
  const std::string third("\x0a\x07\x0a\x05\x0a\x01\x65\x12\x00", 9);
  CHECK_EQ(std::string(decoded.examples[3]), context + third);
}

TEST("json: bodies without good examples are refused with their text") {
  const std::pair<const char*, const char*> refused[] = {
      {R"({"examples":[1]})", "Example must be JSON object but got JSON Number"},
      {R"({"examples":[{}],"context":[]})", "Example must be JSON object but got JSON Array"},
      {R"({"examples":[{"a":null}]})", "Feature: a has element with unexpected JSON type: Null"},
      {R"({"examples":[{"a":[[1]]}]})", "Feature: a has element with unexpected JSON type: Array"},
      {R"({"examples":[{"a":{"b":1}}]})",
       "Feature: a has element with unexpected JSON type: Object"},
      {R"({"examples":[{"a":[1,"b"]}]})",
       "Unexpected element type in feature: a expecting type: int64"},
      {R"({"examples":[{"a":[1.5,1]}]})",
       "Unexpected element type in feature: a expecting type: float"},
      {R"({"examples":[{"a":["x",true]}]})",
       "Unexpected element type in feature: a expecting type: bytes"},
      {R"({"examples":[{"a":9223372036854775808}]})",
       "Feature: a has uint64_t element. Only int64_t is supported."},
      {R"({"examples":[{"a":{"b64":"?"}}]})", "Unable to base64 decode"},
      {R"({"examples":{}})",
       "JSON Value: {\n    \"examples\": {}\n} Expecting 'examples' value to be an list/array"},
      {R"({"examples":[]})",
       "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"},
      {R"({"a":1})",
       "JSON Value: {\n    \"a\": 1\n} When method is classify, key 'examples' is expected and was "
       "not found"},
      {R"({"examples":[{}],"signature_name":1})",
       "JSON Value: {\n    \"examples\": [{}],\n    \"signature_name\": 1\n} not formatted "
       "correctly. 'signature_name' key must be a string value."},
      {R"([])", "JSON Value: [] Is not object"},
      {R"({"examples":[{])", "JSON Parse error: Missing a name for object member. at offset: 14"},
  };
  for (const auto& [body, error] : refused) CHECK_EQ(ExamplesErrorOf(body), error);
}

TEST("json: a context that is repeated too often is refused") {
  std::string body = "{\"context\":{\"c\":\"" + std::string(1 << 20, 'c') + "\"},\"examples\":[{}";
  for (int i = 0; i < 100'000; ++i) body += ",{}";
  const ExamplesBody decoded = DecodeExamples(body + "]}");
  CHECK(!decoded.ok && decoded.error.code == RequestError::Code::kResourceExhausted);
}

}  // namespace
}  // namespace tenon::codec
