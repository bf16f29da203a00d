#pragma once
// Just enough ACPI Machine Language to write small tables at run time. ACPI Specification, "ACPI
// Machine Language (AML) Specification".

#include "core/types.hpp"

#include <span>
#include <string_view>
#include <vector>

namespace droste {

class AmlBuilder {
  public:
    // `path`: 4-character segments, optionally with a leading backslash: "\\_SB_", "_UID".
    void name(std::string_view path, u64 value);
    void name(std::string_view path, std::string_view text);
    void begin_scope(std::string_view path) { begin({0x10}, path); }
    void begin_device(std::string_view path) { begin({0x5B, 0x82}, path); }
    void end();

    // Requires: every begin has its end.
    std::span<const u8> bytes() const { return bytes_; }

  private:
    void begin(std::initializer_list<u8> opcode, std::string_view path);
    void append(std::string_view text) { bytes_.insert(bytes_.end(), text.begin(), text.end()); }

    std::vector<u8> bytes_;
    std::vector<std::size_t> open_;  // where each open package's length belongs
};

}  // namespace droste
