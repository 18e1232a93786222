#include "engines/tensorflow/run_place.h"
#include "test/test.h"

namespace tenon::tensorflow {
namespace {

constexpr int64_t kShort = RunPlace::kMaxNanos / 10;
constexpr int64_t kLong = RunPlace::kMaxNanos + 1;

TEST("tensorflow: runs are long until one was short") {
  RunPlace place;
  CHECK(!place.here());
  place.Note(false, kLong);
  CHECK(!place.here());
  place.Note(false, kShort);
  CHECK(place.here());
  place.Note(true, kShort);
  CHECK(place.here());
}

TEST("tensorflow: a run that is slower on the caller's thread goes back to the pool") {
  for (const int64_t slower : {kShort + 1, kLong}) {
    RunPlace place;
    place.Note(false, kShort);
    place.Note(true, slower);
    CHECK(!place.here());
  }
}

// Runs by the pool until the caller's thread is tried again.
int RunsUntilTrial(RunPlace* place) {
  int runs = 0;
  for (; !place->here(); ++runs) place->Note(false, kShort);
  return runs;
}

TEST("tensorflow: a graph whose branches gain by the pool is tried ever more seldom") {
  RunPlace place;
  CHECK_EQ(RunsUntilTrial(&place), 1);
  int previous = 1;
  for (int trial = 0; trial < 20; ++trial) {
    place.Note(true, 3 * kShort);
    const int runs = RunsUntilTrial(&place);
    CHECK(runs > previous || runs == static_cast<int>(RunPlace::kMaxPause) + 1);
    previous = runs;
  }
  CHECK_EQ(previous, static_cast<int>(RunPlace::kMaxPause) + 1);
}

TEST("tensorflow: one good run makes up for interrupted ones") {
  RunPlace place;
  RunsUntilTrial(&place);
  for (int interrupted = 0; interrupted < 5; ++interrupted) {
    place.Note(true, kLong);
    RunsUntilTrial(&place);
  }
  place.Note(true, kShort / 2);
  place.Note(true, kLong);
  CHECK_EQ(RunsUntilTrial(&place), 2);
}

TEST("tensorflow: runs of the pool that grow long leave no trial behind") {
  RunPlace place;
  RunsUntilTrial(&place);
  place.Note(true, kLong);
  for (int run = 0; run < 10; ++run) place.Note(false, kLong);
  CHECK(!place.here());
}

}  // namespace
}  // namespace tenon::tensorflow
