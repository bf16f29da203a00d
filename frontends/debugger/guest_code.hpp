#pragma once
// Instructions of a running guest, fetched as a debugger does: through its paging (and EPT),
// without faults, exits, accessed flags or reads of devices.

#include "core/types.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

struct CodeBytes {
    std::array<u8, 15> bytes{};
    std::size_t count = 0;  // fewer when what follows is not mapped or not memory
};

// At `rip` of the code segment and address space that are current now.
CodeBytes fetch_code(Vcpu& cpu, u64 rip);

}  // namespace droste
