#include "frontends/headless/text_watcher.hpp"

namespace droste {

// Knuth-Morris-Pratt: no byte is looked at twice, and nothing of the output has to be kept.
TextMatcher::TextMatcher(std::string text) : text_(std::move(text)), fallback_(text_.size() + 1) {
    std::size_t length = 0;
    for (std::size_t i = 1; i < text_.size(); ++i) {
        while (length != 0 && text_[i] != text_[length]) {
            length = fallback_[length];
        }
        length += text_[i] == text_[length] ? 1U : 0U;
        fallback_[i + 1] = length;
    }
}

bool TextMatcher::feed(u8 byte) {
    if (text_.empty()) {
        return false;
    }
    const char c = static_cast<char>(byte);
    if (matched_ == text_.size()) {
        matched_ = fallback_[matched_];
    }
    while (matched_ != 0 && text_[matched_] != c) {
        matched_ = fallback_[matched_];
    }
    matched_ += text_[matched_] == c ? 1U : 0U;
    return matched_ == text_.size();
}

void TextWatcher::write(std::span<const u8> bytes) {
    // After the match, everything up to its end has been printed and nothing else.
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (matcher_.feed(bytes[i]) && !matched_) {
            matched_ = true;
            next_.write(bytes.first(i + 1));
            on_match_();
            return;
        }
    }
    if (!matched_) {
        next_.write(bytes);
    }
}

}  // namespace droste
