#include "core/event_queue.hpp"

#include <algorithm>
#include <utility>

namespace droste {

Timer::Timer(EventQueue& queue, std::function<void(u64)> callback)
    : queue_(queue)
    , callback_(std::move(callback)) {}

Timer::~Timer() {
    disarm();
}

void Timer::arm(u64 deadline_ns) {
    if (deadline_ns >= kEndOfTime) {
        disarm();
        return;
    }
    const bool was_armed = armed();
    deadline_ns_ = deadline_ns;
    sequence_ = queue_.next_sequence_++;
    if (!was_armed) {
        queue_.add(*this);
    } else {
        queue_.refresh();
    }
}

void Timer::disarm() {
    if (armed()) {
        deadline_ns_ = kNever;
        queue_.remove(*this);
    }
}

void EventQueue::add(Timer& timer) {
    timers_.push_back(&timer);
    refresh();
}

void EventQueue::remove(Timer& timer) {
    timers_.erase(std::remove(timers_.begin(), timers_.end(), &timer), timers_.end());
    refresh();
}

void EventQueue::refresh() {
    u64 earliest = kNever;
    for (const Timer* timer : timers_) {
        earliest = std::min(earliest, timer->deadline_ns_);
    }
    const bool closer = earliest < next_deadline_ns_;
    next_deadline_ns_ = earliest;
    if (closer && on_earlier_) {
        on_earlier_();
    }
}

void EventQueue::run_due() {
    for (unsigned fired = 0; fired < kMostAtOnce && next_deadline_ns_ <= now_ns(); ++fired) {
        Timer* first = nullptr;
        for (Timer* timer : timers_) {
            if (first == nullptr || timer->deadline_ns_ < first->deadline_ns_ ||
                (timer->deadline_ns_ == first->deadline_ns_ &&
                 timer->sequence_ < first->sequence_)) {
                first = timer;
            }
        }
        const u64 deadline = first->deadline_ns_;
        first->disarm();
        first->callback_(deadline);
    }
}

}  // namespace droste
