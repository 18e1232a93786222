#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace tenon {

// Whose turn it is among those that have something to do: stride scheduling over
// the time they have used. Each has a virtual time that advances by what it uses
// divided by its weight, and the one that is furthest behind goes next, so that
// over any while each gets time in proportion to its weight, whatever single
// turns take. Who comes back after a pause starts at the present: nobody saves up
// turns. Every operation is at most O(log n).
//
// What a turn takes is known only when it ends. It is charged when it begins with
// what the last ones took, or else one with many turns at once would be thought to
// have used nothing yet, and put right at its end.
//
// Not thread-safe.
class FairShare {
 public:
  class Member {
   public:
    explicit Member(double weight) : weight_(weight) {}
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

   private:
    friend class FairShare;
    static constexpr size_t kNowhere = std::numeric_limits<size_t>::max();

    const double weight_;
    double time_ = 0;      // virtual
    double expected_ = 0;  // nanoseconds of a turn; 0 before the first has ended
    uint64_t order_ = 0;   // breaks ties: first come, first served
    size_t place_ = kNowhere;
  };

  // It has something to do from now on.
  void Add(Member* member) {
    member->time_ = std::max(member->time_, now_);
    member->order_ = ++last_order_;
    member->place_ = heap_.size();
    heap_.push_back(member);
    Up(member->place_);
  }

  // It has nothing to do any more.
  void Remove(Member* member) {
    const size_t place = member->place_;
    member->place_ = Member::kNowhere;
    Member* const last = heap_.back();
    heap_.pop_back();
    if (last == member) return;
    Put(last, place);
    Up(place);
    Down(last->place_);
  }

  // Null where nobody has something to do.
  Member* Next() const { return heap_.empty() ? nullptr : heap_.front(); }

  // A turn of `member` begins; gives what was charged for it.
  double Begin(Member* member) {
    now_ = std::max(now_, member->time_);
    const double charged = member->expected_ > 0 ? member->expected_ : expected_;
    Charge(member, charged);
    return charged;
  }

  // A turn for which `charged` was charged has ended after `nanoseconds`.
  void End(Member* member, double charged, double nanoseconds) {
    Charge(member, nanoseconds - charged);
    member->expected_ = Smoothed(member->expected_, nanoseconds);
    expected_ = Smoothed(expected_, nanoseconds);
  }

 private:
  static double Smoothed(double before, double now) {
    return before > 0 ? before + (now - before) / 4 : std::max(now, 1.0);
  }

  static bool Before(const Member* one, const Member* other) {
    if (one->time_ != other->time_) return one->time_ < other->time_;
    return one->order_ < other->order_;
  }

  void Charge(Member* member, double nanoseconds) {
    member->time_ += nanoseconds / member->weight_;
    if (member->place_ == Member::kNowhere) return;
    Up(member->place_);
    Down(member->place_);
  }

  void Put(Member* member, size_t place) {
    heap_[place] = member;
    member->place_ = place;
  }
  void Up(size_t place) {
    Member* const member = heap_[place];
    while (place > 0 && Before(member, heap_[(place - 1) / 2])) {
      Put(heap_[(place - 1) / 2], place);
      place = (place - 1) / 2;
    }
    Put(member, place);
  }
  void Down(size_t place) {
    Member* const member = heap_[place];
    for (;;) {
      size_t child = 2 * place + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && Before(heap_[child + 1], heap_[child])) ++child;
      if (!Before(heap_[child], member)) break;
      Put(heap_[child], place);
      place = child;
    }
    Put(member, place);
  }

  std::vector<Member*> heap_;
  double now_ = 0;       // the virtual time of the last turn's beginning
  double expected_ = 0;  // of anybody's turn
  uint64_t last_order_ = 0;
};

}  // namespace tenon
