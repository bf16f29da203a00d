#pragma once
// A backend in front of another that looks for a text in what the guest prints (--until).

#include "core/char_backend.hpp"

#include <functional>
#include <string>
#include <vector>

namespace droste {

// Finds one text in a stream of bytes.
class TextMatcher {
  public:
    explicit TextMatcher(std::string text);
    // Did the text end with this byte?
    bool feed(u8 byte);

  private:
    std::string text_;
    std::vector<std::size_t>
        fallback_;  // longest proper prefix that is a suffix, by matched length
    std::size_t matched_ = 0;
};

class TextWatcher final : public CharBackend {
  public:
    TextWatcher(CharBackend& next, const std::string& text, std::function<void()> on_match)
        : next_(next)
        , matcher_(text)
        , on_match_(std::move(on_match)) {}

    void write(std::span<const u8> bytes) override;
    void set_receiver(CharReceiver* receiver) override { next_.set_receiver(receiver); }
    void receiver_ready() override { next_.receiver_ready(); }

  private:
    CharBackend& next_;
    TextMatcher matcher_;
    std::function<void()> on_match_;
    bool matched_ = false;
};

}  // namespace droste
