#include "frontends/cli/values.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace droste::cli {

namespace {

std::optional<u64> parse_digits(std::string_view text, int base) {
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

// Days since 1970-01-01 of a day of the proleptic Gregorian calendar.
i64 days_from_civil(i64 year, unsigned month, unsigned day) {
    year -= month <= 2 ? 1 : 0;
    const i64 era = (year >= 0 ? year : year - 399) / 400;
    const auto year_of_era = static_cast<unsigned>(year - era * 400);
    const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    const unsigned day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + static_cast<i64>(day_of_era) - 719'468;
}

}  // namespace

std::optional<u64> parse_size(std::string_view text) {
    struct Suffix {
        char letter;
        unsigned shift;
    };
    constexpr Suffix kSuffixes[] = {{'K', 10}, {'M', 20}, {'G', 30}, {'T', 40}};
    unsigned shift = 20;
    if (!text.empty()) {
        const char last = static_cast<char>(text.back() & ~0x20);  // upper case of a letter
        for (const Suffix& suffix : kSuffixes) {
            if (last == suffix.letter) {
                shift = suffix.shift;
                text.remove_suffix(1);
                break;
            }
        }
    }
    const auto number = parse_number(text);
    if (!number || *number > (~u64{0} >> shift)) {
        return std::nullopt;
    }
    return *number << shift;
}

std::optional<u64> parse_seconds(std::string_view text) {
    const std::size_t point = text.find('.');
    const auto whole = parse_digits(text.substr(0, point), 10);
    constexpr u64 kMaxSeconds = 1'000'000'000;
    if (!whole || *whole > kMaxSeconds) {
        return std::nullopt;
    }
    u64 nanoseconds = *whole * 1'000'000'000;
    if (point != std::string_view::npos) {
        const std::string_view decimals = text.substr(point + 1);
        const auto fraction = parse_digits(decimals, 10);
        if (!fraction || decimals.size() > 9) {
            return std::nullopt;
        }
        u64 unit = 1'000'000'000;
        for (std::size_t i = 0; i < decimals.size(); ++i) {
            unit /= 10;
        }
        nanoseconds += *fraction * unit;
    }
    return nanoseconds;
}

std::optional<i64> parse_datetime(std::string_view text) {
    const auto number = [&](std::size_t at, std::size_t count) {
        return parse_digits(text.substr(at, count), 10);
    };
    if ((text.size() != 10 && text.size() != 19) || text[4] != '-' || text[7] != '-') {
        return std::nullopt;
    }
    const auto year = number(0, 4);
    const auto month = number(5, 2);
    const auto day = number(8, 2);
    if (!year || !month || !day || *year < 1900 || *month < 1 || *month > 12 || *day < 1 ||
        *day > 31) {
        return std::nullopt;
    }
    i64 seconds = days_from_civil(static_cast<i64>(*year), static_cast<unsigned>(*month),
                                  static_cast<unsigned>(*day)) *
                  86'400;
    if (text.size() == 19) {
        const auto hour = number(11, 2);
        const auto minute = number(14, 2);
        const auto second = number(17, 2);
        if (text[10] != 'T' || text[13] != ':' || text[16] != ':' || !hour || !minute || !second ||
            *hour > 23 || *minute > 59 || *second > 59) {
            return std::nullopt;
        }
        seconds += static_cast<i64>(*hour * 3600 + *minute * 60 + *second);
    }
    return seconds;
}

std::vector<Property> parse_properties(std::string_view text) {
    std::vector<Property> properties;
    std::string element;
    const auto finish = [&] {
        const std::size_t equals = element.find('=');
        if (equals == std::string::npos) {
            properties.push_back({"", element});
        } else {
            properties.push_back({element.substr(0, equals), element.substr(equals + 1)});
        }
        element.clear();
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            element.push_back(text[i]);
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            element.push_back(',');
            ++i;
        } else {
            finish();
        }
    }
    finish();
    return properties;
}

std::string file_name(const Property& property) {
    return property.key.empty() ? property.value
                                : fmt::format("{}={}", property.key, property.value);
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> known) {
    std::string_view best;
    // More than a third of the letters wrong is no misspelling.
    std::size_t best_distance = std::max<std::size_t>(1, name.size() / 3) + 1;
    for (const std::string_view candidate : known) {
        const std::size_t distance = edit_distance(name, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

std::string suggestion(std::string_view name, std::span<const std::string_view> known) {
    const std::string_view near = nearest(name, known);
    return near.empty() ? "" : fmt::format(", did you mean '{}'?", near);
}

}  // namespace droste::cli
