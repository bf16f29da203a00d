#include "frontends/headless/console_mux.hpp"

#include <algorithm>

namespace droste {

ConsoleMux::ConsoleMux(CharBackend& terminal, bool interactive, std::function<void()> on_quit)
    : terminal_(terminal)
    , interactive_(interactive)
    , on_quit_(std::move(on_quit)) {
    terminal_.set_receiver(this);
}

ConsoleMux::~ConsoleMux() {
    terminal_.set_receiver(nullptr);
}

void ConsoleMux::Side::queue(u8 byte) {
    if (waiting_.size() < kMaxQueued) {
        waiting_.push_back(byte);
    }
}

void ConsoleMux::Side::deliver() {
    while (receiver_ != nullptr && !waiting_.empty()) {
        std::array<u8, 64> bytes{};
        const std::size_t count =
            std::min({receiver_->receive_room(), waiting_.size(), bytes.size()});
        if (count == 0) {
            return;
        }
        const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
        std::copy(waiting_.begin(), end, bytes.begin());
        waiting_.erase(waiting_.begin(), end);
        receiver_->receive(std::span<const u8>(bytes).first(count));
    }
}

std::size_t ConsoleMux::receive_room() const {
    return interactive_ ? kMaxQueued : kMaxQueued - focus_->queued();
}

void ConsoleMux::receive(std::span<const u8> bytes) {
    for (const u8 byte : bytes) {
        if (escaped_) {
            escaped_ = false;
            take_escaped(byte);
        } else if (byte == kEscape) {
            escaped_ = true;
        } else {
            focus_->queue(byte);
        }
    }
    guest_.deliver();
    monitor_.deliver();
}

void ConsoleMux::take_escaped(u8 byte) {
    switch (byte) {
    case 'x': on_quit_(); break;
    case 'c': switch_focus(); break;
    case 'h':
    case '?':
        print("\r\n"
              "Ctrl-A h    this help\r\n"
              "Ctrl-A x    end the run\r\n"
              "Ctrl-A c    switch between console and monitor\r\n"
              "Ctrl-A Ctrl-A  send Ctrl-A\r\n");
        break;
    case kEscape: focus_->queue(byte); break;
    default: break;
    }
}

void ConsoleMux::print(std::string_view text) {
    terminal_.write({reinterpret_cast<const u8*>(text.data()), text.size()});
}

void ConsoleMux::switch_focus() {
    focus_ = focus_ == &guest_ ? &monitor_ : &guest_;
    print("\r\n");
    if (focus_ == &monitor_ && on_monitor_focus_) {
        on_monitor_focus_();
    }
}

}  // namespace droste
