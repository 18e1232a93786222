#include <string>

#include "engines/tensorflow/run_options.h"
#include "test/tensorflow_support.h"
#include "test/test.h"

// What TensorFlow is told of one run, and what a traced run told, without TensorFlow.

namespace tenon::tensorflow {
namespace {

using test::BytesField;
using test::NumberField;

std::string Node(const std::string& name, const std::string& label, int64_t start_nanos) {
  return BytesField(1, name) + NumberField(2, start_nanos / 1000) + NumberField(5, 2) +
         BytesField(8, label) + NumberField(10, 7) + NumberField(13, start_nanos) +
         NumberField(16, 1500);
}

std::string Metadata(const std::string& device, const std::string& nodes,
                     const std::string& rest = {}) {
  return BytesField(1, BytesField(1, BytesField(1, device) + nodes + rest));
}

// JSON written with single quotes.
bool Has(const std::string& json, std::string part) {
  std::replace(part.begin(), part.end(), '\'', '"');
  return json.find(part) != std::string::npos;
}

}  // namespace

TEST("tensorflow run options: what is asked for is encoded, and nothing else") {
  RunOptions options;
  CHECK_EQ(EncodeRunOptions(options), std::string());
  options.timeout_ms = 300;
  CHECK_EQ(EncodeRunOptions(options), NumberField(2, 300));
  options.trace_path = "x";
  CHECK_EQ(EncodeRunOptions(options), NumberField(1, 1) + NumberField(2, 300));
  options.trace_hardware = true;
  CHECK_EQ(EncodeRunOptions(options), NumberField(1, 3) + NumberField(2, 300));
}

TEST("tensorflow trace: times are counted from the first step of all devices, in microseconds") {
  constexpr int64_t kStart = 1'700'000'000'000'000'001;
  const std::string json =
      ChromeTrace(Metadata("cpu", BytesField(2, Node("a", "a = Add(x, y)", kStart + 2250))) +
                  Metadata("gpu", BytesField(2, Node("b", "b", kStart)),
                           BytesField(3, NumberField(1, 7) + BytesField(2, "stream"))));
  CHECK(Has(json, "{'name':'process_name','ph':'M','pid':1,'tid':0,'args':{'name':'cpu'}}"));
  CHECK(Has(json,
            "{'name':'Add','ph':'X','pid':1,'tid':7,'cat':'Op','ts':2.250,'dur':1.500,"
            "'args':{'node':'a','label':'a = Add(x, y)'}}"));
  CHECK(Has(json, "{'name':'thread_name','ph':'M','pid':2,'tid':7,'args':{'name':'stream'}}"));
  CHECK(Has(json, "{'name':'b','ph':'X','pid':2,'tid':7,'cat':'Op','ts':0.000,'dur':1.500"));
}

TEST("tensorflow trace: a library that has no nanoseconds gives its microseconds") {
  const std::string node = BytesField(1, "a") + NumberField(2, 41) + NumberField(5, 3);
  const std::string later = BytesField(1, "b") + NumberField(2, 42) + NumberField(5, 0);
  const std::string json = ChromeTrace(Metadata("cpu", BytesField(2, node) + BytesField(2, later)));
  CHECK(Has(json, "'ts':0.000,'dur':3.000"));
  CHECK(Has(json, "'ts':1.000,'dur':0.000"));
}

TEST("tensorflow trace: names are written so that JSON can hold them") {
  const std::string json =
      ChromeTrace(Metadata("a\"b\\c\n", BytesField(2, Node("n", "n = Op(\x01)", 1))));
  CHECK(Has(json, "'a\\'b\\\\c\\u000a'"));
  CHECK(Has(json, "'n = Op(\\u0001)'"));
}

TEST("tensorflow trace: bytes that are cut anywhere give what could be read of them") {
  const std::string whole = Metadata("cpu", BytesField(2, Node("a", "a = Add()", 5)));
  for (size_t length = 0; length <= whole.size(); ++length) {
    const std::string json = ChromeTrace(whole.substr(0, length));
    CHECK(json.starts_with("{\"traceEvents\":["));
    CHECK(json.ends_with("]}\n"));
  }
  CHECK(Has(ChromeTrace(whole + "\xff\xff"), "'Add'"));
}

}  // namespace tenon::tensorflow
