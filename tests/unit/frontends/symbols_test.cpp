// Names of code: System.map, ELF of both classes, and files that are neither. And the disassembly
// beside them.

#include "frontends/debugger/disassembler.hpp"
#include "frontends/debugger/symbols.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <cstring>
#include <string_view>

namespace droste {
namespace {

std::span<const u8> bytes_of(std::string_view text) {
    return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

void put(std::vector<u8>& file, std::size_t at, u64 value, unsigned bytes) {
    file.resize(std::max(file.size(), at + bytes));
    std::memcpy(file.data() + at, &value, bytes);
}

// A 64-bit ELF file with one symbol table: {name offset, type, section, value, size} rows.
struct ElfSymbol {
    u32 name;
    u8 type;
    u16 section;
    u64 value, bytes;
};
std::vector<u8> make_elf(const std::vector<ElfSymbol>& symbols, std::string_view names) {
    constexpr std::size_t kSections = 64, kSymbols = 256;
    std::vector<u8> file = {0x7F, 'E', 'L', 'F', 2, 1, 1};
    const std::size_t names_at = kSymbols + symbols.size() * 24;
    put(file, 40, kSections, 8);
    put(file, 58, 64, 2);
    put(file, 60, 3, 2);
    const auto section = [&](std::size_t number, u32 type, u64 offset, u64 bytes, u32 link,
                             u64 entry) {
        const std::size_t at = kSections + number * 64;
        put(file, at + 4, type, 4);
        put(file, at + 24, offset, 8);
        put(file, at + 32, bytes, 8);
        put(file, at + 40, link, 4);
        put(file, at + 56, entry, 8);
    };
    section(1, 2, kSymbols, symbols.size() * 24, 2, 24);
    section(2, 3, names_at, names.size(), 0, 0);
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        const std::size_t at = kSymbols + i * 24;
        put(file, at, symbols[i].name, 4);
        put(file, at + 4, symbols[i].type, 1);
        put(file, at + 6, symbols[i].section, 2);
        put(file, at + 8, symbols[i].value, 8);
        put(file, at + 16, symbols[i].bytes, 8);
    }
    put(file, names_at + names.size(), 0, 1);
    std::memcpy(file.data() + names_at, names.data(), names.size());
    return file;
}

SymbolTable table_of(std::span<const u8> file) {
    auto table = SymbolTable::parse(file, "f");
    INFO((table ? "" : table.error().message));
    REQUIRE(table);
    return std::move(table).value();
}

TEST_CASE("Symbols: System.map names code, with modules and without data") {
    const SymbolTable table =
        table_of(bytes_of("ffffffff81000000 T _text\nffffffff81000040 t inner\n"
                          "ffffffff81000080 D data\nffffffffc0000000 t f\t[kvm]\n"));
    CHECK(table.size() == 3);
    CHECK(table.describe(0xFFFF'FFFF'8100'0000) == "_text");
    CHECK(table.describe(0xFFFF'FFFF'8100'0041) == "inner+0x1");
    CHECK(table.describe(0xFFFF'FFFF'C000'0010) == "f+0x10");
    CHECK(table.describe(0x1000).empty());
    CHECK(table.describe(~u64{0}).empty());
}

TEST_CASE("Symbols: ELF functions end where they end, labels reach to the next") {
    using namespace std::string_view_literals;
    const auto file = make_elf({{1, 2, 1, 0x1000, 0x10},
                                {6, 0, 1, 0x2000, 0},
                                {12, 1, 1, 0x3000, 8},
                                {17, 2, 0, 0x4000, 8}},
                               "\0func\0label\0data\0none\0"sv);
    const SymbolTable table = table_of(file);
    CHECK(table.size() == 2);
    CHECK(table.describe(0x100F) == "func+0xf");
    CHECK(table.describe(0x1010).empty());
    CHECK(table.describe(0x2345) == "label+0x345");
}

TEST_CASE("Symbols: no ELF file, however cut or changed, does harm") {
    using namespace std::string_view_literals;
    const auto file =
        make_elf({{1, 2, 1, 0x1000, 0x10}, {6, 2, 1, 0x2000, 0}}, "\0func\0label\0"sv);
    for (std::size_t size = 0; size < file.size(); ++size) {
        (void)SymbolTable::parse(std::span<const u8>(file).first(size), "f");
    }
    for (std::size_t at = 4; at < file.size(); ++at) {
        for (const u8 value : {u8{0}, u8{0xFF}, u8{0x80}}) {
            std::vector<u8> changed = file;
            changed[at] = value;
            (void)SymbolTable::parse(changed, "f");
        }
    }
    SUCCEED();
}

TEST_CASE("Symbols: any number of them share the bytes of one long name") {
    // A copy for each would be 50,000 times 1 MB.
    std::vector<ElfSymbol> symbols;
    for (u64 i = 0; i < 50'000; ++i) {
        symbols.push_back({1, 2, 1, 0x1000 * i, 0x10});
    }
    std::string names(1'000'000, 'n');
    names.front() = '\0';
    names.back() = '\0';
    const SymbolTable table = table_of(make_elf(symbols, names));
    CHECK(table.size() == 50'000);
    CHECK(table.describe(0x1000 * 49'999) == std::string(SymbolTable::kMostNameBytes, 'n'));
}

TEST_CASE("Symbols: a level has its own names, moved by the offset") {
    Symbols symbols;
    symbols.add(2, table_of(bytes_of("1000 T a\n")), 0x10'0000);
    symbols.add(2, table_of(bytes_of("1000 T b\n")), 0);
    CHECK(symbols.describe(2, 0x10'1004) == "a+0x4");
    CHECK(symbols.describe(2, 0x1004) == "b+0x4");
    CHECK(symbols.describe(3, 0x1004).empty());
}

TEST_CASE("Disassembly: by the width of the code; what is no instruction shows its bytes") {
    Disassembler disassembler;
    CHECK(disassembler.text(std::array<u8, 3>{0x0F, 0x22, 0xD8}, 64, 0) == "mov cr3, rax");
    CHECK(disassembler.text(std::array<u8, 3>{0x0F, 0x22, 0xD8}, 32, 0) == "mov cr3, eax");
    CHECK(disassembler.text(std::array<u8, 2>{0xEB, 0xFE}, 16, 0x7C00) == "jmp 0x7c00");
    CHECK(disassembler.text(std::array<u8, 2>{0x06, 0x90}, 64, 0) == "bytes 06 90");
    CHECK(disassembler.text({}, 64, 0).empty());
}

}  // namespace
}  // namespace droste
