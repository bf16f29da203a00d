#pragma once
// Names for addresses of guest code, from ELF files or System.map (--symbols LEVEL:FILE). Only code
// has names here: they are looked up by RIP.
//
// The names stay in one copy of the file's text and a symbol says where its own begins: in an ELF
// file any number of symbols may share the same bytes, and a copy for each could be as large as the
// square of the file.

#include "core/error.hpp"
#include "core/types.hpp"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droste {

class SymbolTable {
  public:
    // `path` is for messages. An ELF file, or lines of "ADDRESS TYPE NAME".
    static Expected<SymbolTable> parse(std::span<const u8> file, const std::string& path);

    // "name" or "name+0x12"; empty if nothing is there.
    std::string describe(u64 address) const;
    std::size_t size() const { return symbols_.size(); }

    static constexpr std::size_t kMostNameBytes = 1024;  // what is behind is not shown

  private:
    struct Symbol {
        u64 address = 0;
        u64 bytes = 0;  // 0: up to the next one
        u64 name_at = 0;
    };
    static Expected<SymbolTable> parse_elf(std::span<const u8> file, const std::string& path);
    static Expected<SymbolTable> parse_map(std::span<const u8> file, const std::string& path);
    void sort();
    std::string_view name_of(const Symbol& symbol) const;

    std::vector<Symbol> symbols_;  // by address
    std::vector<u8> names_;        // each ends with a byte up to ' '
};

// Tables by level of nesting; a level may have several (kernel, modules, firmware).
class Symbols {
  public:
    // `offset` is added to the file's addresses: where it was loaded.
    void add(unsigned level, SymbolTable table, u64 offset);
    bool empty() const { return tables_.empty(); }
    std::string describe(unsigned level, u64 address) const;

  private:
    struct Placed {
        SymbolTable table;
        u64 offset = 0;
    };
    std::multimap<unsigned, Placed> tables_;
};

}  // namespace droste
