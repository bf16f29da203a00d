#include "frontends/debugger/symbols.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

namespace droste {

namespace {

// Without a size and a next symbol, a name reaches this far.
constexpr u64 kReach = u64{1} << 20;

// --- ELF: Tool Interface Standard (TIS) Executable and Linking Format, chapter 1, "Symbol Table".
// ---

constexpr u32 kShtSymtab = 2, kShtDynsym = 11;
constexpr u8 kSttNotype = 0, kSttFunc = 2, kSttGnuIfunc = 10;
constexpr u16 kShnUndef = 0, kShnLoReserve = 0xFF00;

// Bounds-checked little-endian reads; once one failed, all yield 0 and ok() is false.
class Reader {
  public:
    explicit Reader(std::span<const u8> file) : file_(file) {}
    u64 number(u64 offset, unsigned bytes) {
        if (offset > file_.size() || bytes > file_.size() - offset) {
            ok_ = false;
            return 0;
        }
        u64 value = 0;
        std::memcpy(&value, file_.data() + offset, bytes);
        return value;
    }
    std::span<const u8> part(u64 offset, u64 bytes) {
        if (offset > file_.size() || bytes > file_.size() - offset) {
            ok_ = false;
            return {};
        }
        return file_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes));
    }
    bool ok() const { return ok_; }

  private:
    std::span<const u8> file_;
    bool ok_ = true;
};

struct Section {
    u32 type;
    u32 link;
    u64 offset, bytes, entry_bytes;
};

Section read_section(Reader& in, u64 at, bool is_64) {
    return is_64 ? Section{static_cast<u32>(in.number(at + 4, 4)),
                           static_cast<u32>(in.number(at + 40, 4)), in.number(at + 24, 8),
                           in.number(at + 32, 8), in.number(at + 56, 8)}
                 : Section{static_cast<u32>(in.number(at + 4, 4)),
                           static_cast<u32>(in.number(at + 24, 4)), in.number(at + 16, 4),
                           in.number(at + 20, 4), in.number(at + 36, 4)};
}

}  // namespace

Expected<SymbolTable> SymbolTable::parse(std::span<const u8> file, const std::string& path) {
    constexpr std::array<u8, 4> kMagic = {0x7F, 'E', 'L', 'F'};
    const bool elf =
        file.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), file.begin());
    auto table = elf ? parse_elf(file, path) : parse_map(file, path);
    if (!table) {
        return table;
    }
    if (table.value().symbols_.empty()) {
        return Error{fmt::format("symbols '{}': there are no symbols of code in it{}", path,
                                 elf ? " (stripped?)" : "")};
    }
    table.value().sort();
    return table;
}

Expected<SymbolTable> SymbolTable::parse_elf(std::span<const u8> file, const std::string& path) {
    Reader in(file);
    const auto broken = [&] {
        return Error{fmt::format("symbols '{}': the ELF file is truncated or damaged", path)};
    };
    const bool is_64 = in.number(4, 1) == 2;
    if (in.number(5, 1) != 1) {
        return Error{fmt::format("symbols '{}': not a little-endian ELF file", path)};
    }
    const u64 sections_at = in.number(is_64 ? 40 : 32, is_64 ? 8 : 4);
    const u64 section_bytes = in.number(is_64 ? 58 : 46, 2);
    const u64 section_count = in.number(is_64 ? 60 : 48, 2);
    if (!in.ok()) {
        return broken();
    }
    std::vector<Section> sections;
    for (u64 i = 0; i < section_count; ++i) {
        sections.push_back(read_section(in, sections_at + i * section_bytes, is_64));
        if (!in.ok()) {
            return broken();
        }
    }
    // The full table if there is one, else what dynamic linking needs.
    const auto of_type = [&](u32 type) {
        return std::find_if(sections.begin(), sections.end(),
                            [type](const Section& s) { return s.type == type; });
    };
    auto section = of_type(kShtSymtab);
    section = section == sections.end() ? of_type(kShtDynsym) : section;
    SymbolTable table;
    if (section == sections.end()) {
        return table;
    }
    const u64 least = is_64 ? 24 : 16;
    if (section->link >= sections.size() || section->entry_bytes < least) {
        return broken();
    }
    const Section& names = sections[section->link];
    const auto strings = in.part(names.offset, names.bytes);
    (void)in.part(section->offset, section->bytes);
    for (u64 i = 0; in.ok() && i < section->bytes / section->entry_bytes; ++i) {
        const u64 at = section->offset + i * section->entry_bytes;
        const u64 name = in.number(at, 4);
        const u64 value = in.number(at + (is_64 ? 8 : 4), is_64 ? 8 : 4);
        const u64 bytes = in.number(at + (is_64 ? 16 : 8), is_64 ? 8 : 4);
        const auto type = static_cast<u8>(in.number(at + (is_64 ? 4 : 12), 1) & 0xF);
        const auto home = static_cast<u16>(in.number(at + (is_64 ? 6 : 14), 2));
        const bool code = type == kSttFunc || type == kSttGnuIfunc || type == kSttNotype;
        if (code && home != kShnUndef && home < kShnLoReserve) {
            if (name < strings.size() && strings[name] != 0) {
                table.symbols_.push_back({value, bytes, name});
            }
        }
    }
    if (!in.ok()) {
        return broken();
    }
    table.names_.assign(strings.begin(), strings.end());
    return table;
}

Expected<SymbolTable> SymbolTable::parse_map(std::span<const u8> file, const std::string& path) {
    SymbolTable table;
    std::string_view rest(reinterpret_cast<const char*>(file.data()), file.size());
    for (unsigned number = 1; !rest.empty(); ++number) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.empty()) {
            continue;
        }
        u64 address = 0;
        const auto [stopped, failure] =
            std::from_chars(line.data(), line.data() + line.size(), address, 16);
        const auto digits = static_cast<std::size_t>(stopped - line.data());
        const bool shaped = failure == std::errc{} && line.size() > digits + 3 &&
                            line[digits] == ' ' && line[digits + 2] == ' ';
        // A module's symbols are followed by a tab and its name.
        const std::string_view name =
            shaped ? line.substr(digits + 3, line.find('\t') - (digits + 3)) : "";
        if (!shaped || name.empty() || name.find(' ') != std::string_view::npos) {
            std::string shown(line.substr(0, 60));
            std::replace_if(
                shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
            return Error{
                fmt::format("symbols '{}': line {}: expected an ELF file, or lines ADDRESS "
                            "TYPE NAME as in System.map, found '{}'",
                            path, number, shown)};
        }
        if (std::string_view("tTwW").find(line[digits + 1]) != std::string_view::npos) {
            const char* start = reinterpret_cast<const char*>(file.data());
            table.symbols_.push_back({address, 0, static_cast<u64>(name.data() - start)});
        }
    }
    table.names_.assign(file.begin(), file.end());
    return table;
}

void SymbolTable::sort() {
    std::stable_sort(symbols_.begin(), symbols_.end(), [](const Symbol& a, const Symbol& b) {
        // Of several names for one address the one with a size comes last and is found.
        return a.address != b.address ? a.address < b.address : a.bytes < b.bytes;
    });
}

std::string_view SymbolTable::name_of(const Symbol& symbol) const {
    const auto tail = std::span<const u8>(names_).subspan(symbol.name_at);
    const auto shown = tail.first(std::min(tail.size(), kMostNameBytes));
    const auto end = std::find_if(shown.begin(), shown.end(), [](u8 c) { return c <= ' '; });
    return {reinterpret_cast<const char*>(shown.data()),
            static_cast<std::size_t>(end - shown.begin())};
}

std::string SymbolTable::describe(u64 address) const {
    const auto after =
        std::upper_bound(symbols_.begin(), symbols_.end(), address,
                         [](u64 wanted, const Symbol& symbol) { return wanted < symbol.address; });
    if (after == symbols_.begin()) {
        return {};
    }
    const Symbol& symbol = *(after - 1);
    const u64 distance = address - symbol.address;
    const u64 reach = symbol.bytes != 0 ? symbol.bytes : kReach;
    if (distance >= reach) {
        return {};
    }
    const std::string_view name = name_of(symbol);
    return distance == 0 ? std::string(name) : fmt::format("{}+{:#x}", name, distance);
}

void Symbols::add(unsigned level, SymbolTable table, u64 offset) {
    tables_.emplace(level, Placed{std::move(table), offset});
}

std::string Symbols::describe(unsigned level, u64 address) const {
    const auto [first, last] = tables_.equal_range(level);
    for (auto it = first; it != last; ++it) {
        if (std::string text = it->second.table.describe(address - it->second.offset);
            !text.empty()) {
            return text;
        }
    }
    return {};
}

}  // namespace droste
