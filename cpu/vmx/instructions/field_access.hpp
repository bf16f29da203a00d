#pragma once
// What VMREAD and VMWRITE need of a field, found by its encoding without a search: one byte of a
// table that is indexed by the encoding says which row. The rows are made for one processor: fields
// that it does not have, or that VMWRITE may not write, are known as such.
//
// Encodings with bit 0 set (the upper half of a 64-bit field, "access type") are not found here;
// software in 64-bit mode has no use for them.

#include "core/types.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"

#include <array>
#include <cstring>

namespace droste {

class VmxCapabilities;

struct FieldAccess {
    u64 mask = 0;   // of the field's width; 0: there is no such field
    u32 stale = 0;  // what a write of another value makes so: stale_by_writing()
    u16 offset = 0;
    bool writable = false;

    u64 read(const Vmcs& vmcs) const {
        u64 value = 0;
        std::memcpy(&value, reinterpret_cast<const u8*>(&vmcs) + offset, sizeof(value));
        return value & mask;
    }
    // Whether the field changed. Requires: writable.
    bool write(Vmcs& vmcs, u64 value) const {
        u8* at = reinterpret_cast<u8*>(&vmcs) + offset;
        u64 before = 0;
        std::memcpy(&before, at, sizeof(before));
        const u64 changed = (before ^ value) & mask;
        const u64 after = before ^ changed;
        std::memcpy(at, &after, sizeof(after));
        return changed != 0;
    }
};

class FieldAccessTable {
  public:
    explicit FieldAccessTable(const VmxCapabilities& caps);

    const FieldAccess& find(u64 encoding) const {
        return rows_[encoding <= kLastEncoding && encoding % 2 == 0 ? kRowNumbers[encoding / 2]
                                                                    : 0];
    }

  private:
    static constexpr u64 kLastEncoding = 0x6C7E;
    using RowNumbers = std::array<u8, kLastEncoding / 2 + 1>;
    static consteval RowNumbers row_numbers();
    static const RowNumbers kRowNumbers;  // 0: no field

    std::array<FieldAccess, kVmcsFieldCount + 1> rows_{};  // [0]: no field
};

}  // namespace droste
