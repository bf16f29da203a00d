#pragma once
// What several places do with the text a user types.

#include "core/types.hpp"

#include <cstddef>
#include <optional>
#include <string_view>

namespace droste {

// Decimal, or hexadecimal after 0x; nothing else around it.
std::optional<u64> parse_number(std::string_view text);

// Levenshtein's distance: how many letters to insert, delete or replace.
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace droste
