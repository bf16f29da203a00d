#pragma once
// User and native errors (missing image, bad option) travel as Expected<T>; only frontends/ print.

#include "core/assert.hpp"

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace droste {

// One sentence for the user: names the file, option or value, and what was expected.
struct Error {
    std::string message;
    bool native = false;  // what we run on failed us (no memory, no permission), not the user
};

// A value or an Error (std::expected is not in GCC 12's library).
template <typename T>
class [[nodiscard]] Expected {
  public:
    Expected(T value) : content_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
    Expected(Error error) : content_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    explicit operator bool() const { return std::holds_alternative<T>(content_); }
    bool has_value() const { return static_cast<bool>(*this); }
    // Requires: has_value().
    T& value() & {
        DROSTE_ASSERT(has_value());
        return *std::get_if<T>(&content_);
    }
    const T& value() const& {
        DROSTE_ASSERT(has_value());
        return *std::get_if<T>(&content_);
    }
    T&& value() && {
        DROSTE_ASSERT(has_value());
        return std::move(*std::get_if<T>(&content_));
    }
    T& operator*() & { return value(); }
    T* operator->() { return &value(); }
    // Requires: !has_value().
    const Error& error() const {
        DROSTE_ASSERT(!has_value());
        return *std::get_if<Error>(&content_);
    }

  private:
    std::variant<T, Error> content_;
};

// Success, or an Error.
template <>
class [[nodiscard]] Expected<void> {
  public:
    Expected() = default;
    Expected(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    explicit operator bool() const { return !error_.has_value(); }
    bool has_value() const { return !error_.has_value(); }
    // Requires: !has_value().
    const Error& error() const {
        DROSTE_ASSERT(error_.has_value());
        return *error_;
    }

  private:
    std::optional<Error> error_;
};

}  // namespace droste
