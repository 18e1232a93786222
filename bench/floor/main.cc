// What the engines cost by themselves: the C calls, over the same engine layer
// as the addon, driven over stdin and stdout so that the harness can put its
// blocks between those of others.
//
// A line is a command, its words separated by tabs; each gets one line back.
//   onnx <library> <intra-op threads> <spin: 0|1> <open dimensions: 1,2> <model>   → ok
//   tensorflow <library> <intra-op threads> <inter-op threads> <folder> <input> <output>
//                                                                                  → ok
//   open dimensions <1,2>                                                          → ok
//   run <mode> <calls> <callers>                                                   → nanoseconds
// or "error" and a text. The end of stdin ends it.

#include <atomic>
#include <chrono>
#include <exception>
#include <iostream>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "model.h"

namespace tenon::bench {
namespace {

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<int64_t> Sizes(const std::string& text) {
  std::vector<int64_t> sizes;
  for (const std::string& size : Split(text, ',')) sizes.push_back(std::stoll(size));
  return sizes;
}

class Floor {
 public:
  std::string Answer(const std::vector<std::string>& words) {
    if (words.size() == 6 && words[0] == "onnx") {
      model_ = LoadOnnx(
          {words[1], std::stoi(words[2]), words[3] == "1", Sizes(words[4]), words[5]});
      return "ok";
    }
    if (words.size() == 7 && words[0] == "tensorflow") {
      model_ = LoadTensorFlow(
          {words[1], std::stoi(words[2]), std::stoi(words[3]), words[4], words[5], words[6]});
      return "ok";
    }
    if (words.size() == 2 && words[0] == "open dimensions" && model_ != nullptr) {
      const std::vector<int64_t> sizes = Sizes(words[1]);
      if (sizes != open_dimensions_) {
        calls_.clear();
        model_->SetOpenDimensions(sizes);
        open_dimensions_ = sizes;
      }
      return "ok";
    }
    if (words.size() == 4 && words[0] == "run" && model_ != nullptr) {
      return std::to_string(Run(words[1], std::stoll(words[2]), std::stoul(words[3])));
    }
    throw std::runtime_error("expected a command");
  }

 private:
  // `calls` calls, shared by `callers` threads; nanoseconds from first to last.
  int64_t Run(const std::string& mode, int64_t calls, size_t callers) {
    Prepare(mode, callers);
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    };
    if (callers == 1) {
      const auto start = Clock::now();
      for (int64_t i = 0; i < calls; ++i) calls_[0]->Run();
      return since(start);
    }
    std::atomic<int64_t> left = calls;
    std::mutex mutex;
    std::exception_ptr failure;
    std::vector<std::thread> threads;
    const auto start = Clock::now();
    for (size_t caller = 0; caller < callers; ++caller) {
      threads.emplace_back([&, caller] {
        try {
          while (left.fetch_sub(1) > 0) calls_[caller]->Run();
        } catch (...) {
          std::lock_guard<std::mutex> lock(mutex);
          failure = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const int64_t nanoseconds = since(start);
    if (failure != nullptr) std::rethrow_exception(failure);
    return nanoseconds;
  }

  void Prepare(const std::string& mode, size_t callers) {
    if (mode != mode_) calls_.clear();
    mode_ = mode;
    while (calls_.size() < callers) {
      auto call = model_->Prepare(mode);
      if (call == nullptr) throw std::runtime_error("expected a mode of the engine");
      calls_.push_back(std::move(call));
    }
  }

  // Calls point into the model, so they come after it and go first.
  std::unique_ptr<Model> model_;
  std::vector<int64_t> open_dimensions_;  // by command, after the model's load
  std::string mode_;
  std::vector<std::unique_ptr<Call>> calls_;
};

}  // namespace
}  // namespace tenon::bench

int main() {
  tenon::bench::Floor floor;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << floor.Answer(tenon::bench::Split(line, '\t')) << std::endl;
    } catch (const std::exception& error) {
      std::string text = error.what();
      for (char& c : text) {
        if (c == '\n') c = ' ';
      }
      std::cout << "error " << text << std::endl;
    }
  }
}
