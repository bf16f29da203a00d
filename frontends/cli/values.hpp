#pragma once
// The small languages of option values: sizes, numbers, key=value lists, dates, and finding what a
// misspelled name was meant to be.

#include "core/error.hpp"
#include "core/text.hpp"
#include "core/types.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste::cli {

// A size in bytes: a number and K, M, G or T; without one it is in MiB.
std::optional<u64> parse_size(std::string_view text);
// Seconds with decimals, as nanoseconds.
std::optional<u64> parse_seconds(std::string_view text);
// YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, as seconds since 1970.
std::optional<i64> parse_datetime(std::string_view text);

struct Property {
    std::string key;
    std::string value;
};
// "a=1,b=2"; an element without '=' has an empty key. ",," stands for a comma, as in QEMU.
std::vector<Property> parse_properties(std::string_view text);

// The first property of a list as the name of a file, which may have a '=' in it.
std::string file_name(const Property& property);

// The name in `known` with the least edits to `name`; empty if none is near.
std::string_view nearest(std::string_view name, std::span<const std::string_view> known);
// ", did you mean 'x'?" or nothing.
std::string suggestion(std::string_view name, std::span<const std::string_view> known);

}  // namespace droste::cli
