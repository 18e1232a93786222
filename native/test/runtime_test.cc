#if defined(__linux__)
#include <pthread.h>
#endif

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "platform/aligned_memory.h"
#include "runtime/completion_queue.h"
#include "runtime/executor.h"
#include "runtime/histogram.h"
#include "runtime/memory_registry.h"
#include "runtime/model_host.h"
#include "test/gate.h"
#include "test/test.h"

namespace tenon {
namespace {

// A session whose runs do what the test says.
class FakeSession : public Session {
 public:
  explicit FakeSession(std::function<Status(const RunRequest&)> run, std::atomic<bool>* gone)
      : run_(std::move(run)), gone_(gone) {
    info_.signatures.resize(1);
  }
  ~FakeSession() override {
    if (gone_ != nullptr) *gone_ = true;
  }
  const ModelInfo& info() const override { return info_; }
  Result<std::vector<Value>> Run(const RunRequest& request) override {
    const Status status = run_(request);
    if (!status.ok()) return status;
    return std::vector<Value>{};
  }
  Result<std::unique_ptr<BoundRun>> Bind(const RunRequest&) override {
    return Status(StatusCode::kUnsupported, "nothing to bind");
  }

 private:
  ModelInfo info_;
  std::function<Status(const RunRequest&)> run_;
  std::atomic<bool>* gone_;
};

std::shared_ptr<ModelHost> HostOf(std::function<Status(const RunRequest&)> run,
                                  HostOptions options = {}, std::atomic<bool>* gone = nullptr) {
  return ModelHost::Create(std::make_shared<FakeSession>(std::move(run), gone), options);
}

}  // namespace

TEST("executor: tasks of one lane run in order, higher priorities first") {
  Gate gate;
  std::vector<int> order;
  {
    Executor executor(1, 16);
    CHECK_OK(executor.Submit([&] { gate.Pass(); }));
    gate.AwaitHeld();
    CHECK_OK(executor.Submit([&] { order.push_back(1); }));
    CHECK_OK(executor.Submit([&] { order.push_back(2); }));
    CHECK_OK(executor.Submit([&] { order.push_back(3); }, 5));
    Gate last;
    CHECK_OK(executor.Submit([&] { last.Pass(); }, -1));
    gate.Open();
    last.AwaitHeld();
    last.Open();
  }
  CHECK((order == std::vector<int>{3, 1, 2}));
}

TEST("executor: a full queue refuses at once and takes again when there is room") {
  Gate gate;
  Executor executor(1, 1);
  CHECK_OK(executor.Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  const auto waiting = executor.Submit([] {});
  CHECK_OK(waiting);
  CHECK(executor.Submit([] {}).status().code() == StatusCode::kQueueFull);
  CHECK(executor.Remove(waiting.value()));
  CHECK_OK(executor.Submit([] {}));
  gate.Open();
}

TEST("executor: a removed task never runs and is destroyed") {
  Gate gate;
  auto held = std::make_shared<int>(0);
  bool ran = false;
  {
    Executor executor(1, 4);
    CHECK_OK(executor.Submit([&] { gate.Pass(); }));
    gate.AwaitHeld();
    const auto ticket = executor.Submit([held, &ran] { ran = true; });
    CHECK_OK(ticket);
    CHECK(executor.Remove(ticket.value()));
    CHECK(!executor.Remove(ticket.value()));
    CHECK_EQ(held.use_count(), 1);
    gate.Open();
  }
  CHECK(!ran);
}

#if defined(__GLIBC__)
TEST("executor: a lane whose thread does not start is an error, and the next may start") {
  Executor executor(1, 4);
  pthread_attr_t usual;
  pthread_attr_t huge;
  CHECK_EQ(pthread_getattr_default_np(&usual), 0);
  CHECK_EQ(pthread_getattr_default_np(&huge), 0);
  // No address space has room for such a stack.
  CHECK_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 52), 0);
  CHECK_EQ(pthread_setattr_default_np(&huge), 0);
  auto held = std::make_shared<int>(0);
  const auto refused = executor.Submit([held] {});
  CHECK_EQ(pthread_setattr_default_np(&usual), 0);
  CHECK(refused.status().code() == StatusCode::kOutOfMemory);
  CHECK(refused.status().message().find("thread") != std::string::npos);
  CHECK_EQ(held.use_count(), 1);
  CHECK_EQ(executor.load().waiting, size_t{0});
  Gate gate;
  CHECK_OK(executor.Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  gate.Open();
}
#endif

TEST("executor: lanes run side by side") {
  Gate gate;
  std::atomic<int> ran{0};
  Executor executor(2, 4);
  CHECK_OK(executor.Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  Gate second;
  CHECK_OK(executor.Submit([&] {
    ++ran;
    second.Pass();
  }));
  second.AwaitHeld();
  CHECK_EQ(ran.load(), 1);
  CHECK_EQ(executor.load().running, size_t{2});
  CHECK_EQ(executor.load().lanes, size_t{2});
  second.Open();
  gate.Open();
}

TEST("executor: nothing is taken after the end") {
  Executor executor(1, 4);
  executor.Shutdown();
  CHECK(executor.Submit([] {}).status().code() == StatusCode::kModelClosed);
}

TEST("executor: many threads may submit at once") {
  std::atomic<int> ran{0};
  {
    Executor executor(3, 100000);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) {
          if (!executor.Submit([&] { ++ran; }).ok()) --ran;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    while (executor.load().waiting + executor.load().running > 0) std::this_thread::yield();
  }
  CHECK_EQ(ran.load(), 4000);
}

TEST("completions: one wake-up for all that wait, none after the end") {
  int wakes = 0;
  CompletionQueue queue([&] { ++wakes; });
  queue.Push([] {});
  queue.Push([] {});
  CHECK_EQ(wakes, 1);
  CHECK_EQ(queue.Drain().size(), size_t{2});
  queue.Push([] {});
  CHECK_EQ(wakes, 2);
  queue.Close();
  queue.Push([] {});
  CHECK_EQ(wakes, 2);
  CHECK_EQ(queue.Drain().size(), size_t{0});
}

TEST("histogram: a quantile is at most an eighth too large") {
  Histogram histogram;
  for (uint64_t i = 1; i <= 1000; ++i) histogram.Add(i * 1000);
  const auto summary = histogram.Summarize();
  CHECK_EQ(summary.count, uint64_t{1000});
  CHECK(summary.p50_micros >= 500 && summary.p50_micros <= 500 * 1.125 + 1);
  CHECK(summary.p99_micros >= 990 && summary.p99_micros <= 1000);
  CHECK_EQ(summary.max_micros, 1000.0);
  CHECK(summary.mean_micros > 500 && summary.mean_micros < 501);
}

TEST("histogram: the smallest and the largest durations have a bucket") {
  Histogram histogram;
  histogram.Add(0);
  histogram.Add(7);
  histogram.Add(~uint64_t{0} >> 1);
  CHECK_EQ(histogram.Summarize().count, uint64_t{3});
  CHECK_EQ(Histogram().Summarize().p99_micros, 0.0);
}

TEST("memory registry: memory is found and held until it is removed") {
  MemoryRegistry& registry = MemoryRegistry::Get();
  const auto before = registry.totals();
  auto memory = AllocateAligned(64);
  const std::weak_ptr<void> watched = memory;
  void* const data = memory.get();
  const auto number = registry.Add(data, 64, std::move(memory));
  CHECK(registry.Find(data) == watched.lock());
  CHECK_EQ(registry.totals().count, before.count + 1);
  CHECK_EQ(registry.totals().byte_length, before.byte_length + 64);
  registry.Remove(data, number);
  CHECK(registry.Find(data) == nullptr);
  CHECK(watched.expired());
  CHECK_EQ(registry.totals().count, before.count);
  CHECK_EQ(registry.totals().byte_length, before.byte_length);
}

TEST("memory registry: a release drops its share at once, and what a run holds stays") {
  MemoryRegistry& registry = MemoryRegistry::Get();
  const auto before = registry.totals();
  auto memory = AllocateAligned(64);
  const std::weak_ptr<void> watched = memory;
  void* const data = memory.get();
  registry.Add(data, 64, std::move(memory));
  auto run = registry.Find(data);
  registry.Release(data);
  CHECK(registry.Find(data) == nullptr);
  CHECK_EQ(registry.totals().byte_length, before.byte_length);
  CHECK(!watched.expired());
  run.reset();
  CHECK(watched.expired());
  registry.Release(data);
  CHECK_EQ(registry.totals().count, before.count);
}

TEST("memory registry: a late removal leaves other memory at the same place alone") {
  MemoryRegistry& registry = MemoryRegistry::Get();
  int place = 0;
  const auto owner = [&] { return std::shared_ptr<void>(&place, [](void*) {}); };
  const auto first = registry.Add(&place, 4, owner());
  registry.Release(&place);
  const auto second = registry.Add(&place, 8, owner());
  registry.Remove(&place, first);
  CHECK(registry.Find(&place) != nullptr);
  // Of two buffers over one memory, each has its own end.
  const auto third = registry.Add(&place, 8, owner());
  registry.Release(&place);
  registry.Remove(&place, second);
  CHECK(registry.Find(&place) != nullptr);
  registry.Remove(&place, third);
  CHECK(registry.Find(&place) == nullptr);
}

TEST("model host: short runs may happen inline once one was measured, failures teach nothing") {
  bool fail = true;
  const auto host =
      HostOf([&](const RunRequest&) { return fail ? Status(StatusCode::kRun, "no") : Status(); });
  RunRequest request;
  CHECK(!host->RunsInline(0));
  CHECK(!host->Run(request).ok());
  CHECK(!host->RunsInline(0));
  fail = false;
  // A preempted run may look long; several short ones are believed.
  for (int i = 0; i < 50; ++i) CHECK(host->Run(request).ok());
  CHECK(host->RunsInline(0));
  CHECK(!host->RunsInline(1));
  CHECK_EQ(host->stats().runs.load(), uint64_t{51});
  CHECK_EQ(host->stats().failed.load(), uint64_t{1});
}

TEST("model host: one long run sends its signature to the lanes") {
  const auto host = HostOf([](const RunRequest&) { return Status(); });
  for (int i = 0; i < 50; ++i) host->NoteRun(0, 2'000, {});
  CHECK(host->RunsInline(0));
  host->NoteRun(0, 5'000'000, {});
  CHECK(!host->RunsInline(0));
}

TEST("model host: a run that comes alone may take as long as waking a lane") {
  const auto host = HostOf([](const RunRequest&) { return Status(); });
  CHECK(!host->RunsInlineAlone(0));
  host->NoteRun(0, 50'000, {});
  CHECK(!host->RunsInline(0));
  CHECK(host->RunsInlineAlone(0));
  CHECK(!host->RunsInlineAlone(1));
  Gate gate;
  CHECK_OK(host->executor().Submit([&] { gate.Pass(); }));
  gate.AwaitHeld();
  CHECK(!host->RunsInlineAlone(0));
  gate.Open();
  while (host->executor().load().running > 0) std::this_thread::yield();
  CHECK(host->RunsInlineAlone(0));
  for (int i = 0; i < 50; ++i) host->NoteRun(0, 100'000, {});
  CHECK(!host->RunsInlineAlone(0));
}

TEST("model host: one run that is late keeps its signature off the thread for a few runs only") {
  const auto host = HostOf([](const RunRequest&) { return Status(); });
  for (int i = 0; i < 50; ++i) host->NoteRun(0, 50'000, {});
  host->NoteRun(0, 1'000'000'000, {});
  CHECK(!host->RunsInlineAlone(0));
  for (int i = 0; i < 10; ++i) host->NoteRun(0, 50'000, {});
  CHECK(host->RunsInlineAlone(0));
}

TEST("model host: nothing longer is inline where a lane stays awake") {
  const auto host =
      HostOf([](const RunRequest&) { return Status(); }, {.spin = std::chrono::microseconds(50)});
  host->NoteRun(0, 50'000, {});
  host->NoteBatch(0, 4, 50'000);
  CHECK(!host->RunsInlineAlone(0));
  CHECK(!host->RunsInlineAlone(0, 4, 4));
}

TEST("model host: a batch may take what its runs' hand-offs do, to a limit, by its size") {
  const auto host = HostOf([](const RunRequest&) { return Status(); });
  CHECK(!host->RunsInlineAlone(0, 4, 4));
  host->NoteBatch(0, 4, 100'000);
  CHECK(host->RunsInlineAlone(0, 4, 4));
  CHECK(host->RunsInlineAlone(0, 4, 7));
  // Of two runs it would be long, and of the next size nothing is known.
  CHECK(!host->RunsInlineAlone(0, 2, 4));
  CHECK(!host->RunsInlineAlone(0, 8, 8));
  CHECK(!host->RunsInlineAlone(1, 4, 4));
  host->NoteBatch(0, 64, 190'000);
  CHECK(host->RunsInlineAlone(0, 64, 64));
  host->NoteBatch(0, 1024, 300'000);
  CHECK(!host->RunsInlineAlone(0, 1024, 1024));
  // One that takes much longer than it used to is believed at once.
  host->NoteBatch(0, 64, 5'000'000);
  CHECK(!host->RunsInlineAlone(0, 64, 64));
}

TEST("model host: a run with options of its own teaches nothing") {
  const auto host = HostOf([](const RunRequest&) { return Status(); });
  host->NoteRun(0, 1'000, {});
  CHECK(host->RunsInline(0));
  host->NoteRun(0, 1'000'000'000, {}, /*is_usual=*/false);
  CHECK(host->RunsInline(0));
  CHECK_EQ(host->stats().run_time.Summarize().count, uint64_t{2});
}

TEST("model host: never inline where it is not allowed") {
  const auto host = HostOf([](const RunRequest&) { return Status(); },
                           {.lanes = 1, .max_queue = 1, .allow_inline = false});
  host->NoteRun(0, 1'000, {});
  host->NoteBatch(0, 4, 1'000);
  CHECK(!host->RunsInline(0));
  CHECK(!host->RunsInlineAlone(0));
  CHECK(!host->RunsInlineAlone(0, 4, 4));
}

TEST("model host: the last share may be dropped on the host's own lane") {
  std::atomic<bool> gone{false};
  Gate gate;
  auto host =
      HostOf([](const RunRequest&) { return Status(); }, {.lanes = 1, .max_queue = 1}, &gone);
  ModelHost* const raw = host.get();
  CHECK_OK(raw->executor().Submit([share = host, &gate]() mutable {
    gate.Pass();
    share.reset();
  }));
  gate.AwaitHeld();
  host.reset();
  CHECK(!gone);
  gate.Open();
  while (!gone) std::this_thread::yield();
}

}  // namespace tenon
