#pragma once
// What VMREAD and VMWRITE need of a field, found by its encoding without a search: one byte of a
// table that is indexed by the encoding says which row. The rows are made for one processor: fields
// that it does not have, or that VMWRITE may not write, are known as such.
//
// Encodings with bit 0 set (the upper half of a 64-bit field, "access type") are not found here;
// software in 64-bit mode has no use for them.

#include "core/types.hpp"
#include "cpu/vmx/vmcs/vmcs.hpp"
#include "cpu/x86/seams/intercept.hpp"

#include <array>

namespace droste {

class VmxCapabilities;

class FieldAccessTable {
  public:
    explicit FieldAccessTable(const VmxCapabilities& caps);

    // VmcsFieldMap
    const u8* numbers() const { return kRowNumbers.data(); }
    const VmcsFieldPlace* places() const { return places_.data(); }
    // Of root operation, as the VMREAD and the VMWRITE bitmap: open are the fields there are.
    const VmcsView::Bitmap& closed_to_reads() const { return read_closed_; }
    const VmcsView::Bitmap& closed_to_writes() const { return write_closed_; }

  private:
    using RowNumbers = std::array<u8, VmcsFieldMap::kLastEncoding / 2 + 1>;
    static consteval RowNumbers row_numbers();
    static const RowNumbers kRowNumbers;  // 0: no field

    std::array<VmcsFieldPlace, kVmcsFieldCount + 1> places_{};  // [0]: no field
    VmcsView::Bitmap read_closed_, write_closed_;
};

}  // namespace droste
