#include "frontends/debugger/guest_code.hpp"

#include "core/guest_memory.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <algorithm>

namespace droste {

CodeBytes fetch_code(Vcpu& cpu, u64 rip) {
    CodeBytes code;
    while (code.count < code.bytes.size()) {
        const u64 offset = rip + code.count;
        const LinearAddr linear =
            cpu.mode.long_mode64 ? offset : static_cast<u32>(cpu.state.seg[CS].base + offset);
        PhysAddr physical = 0;
        if (!is_canonical(cpu, linear) || !translate_for_debug(cpu, linear, physical)) {
            break;
        }
        const std::size_t on_page = kPageBytes - linear % kPageBytes;
        const std::size_t count = std::min(on_page, code.bytes.size() - code.count);
        if (!cpu.memory.read(physical, std::span<u8>(code.bytes).subspan(code.count, count))) {
            break;
        }
        code.count += count;
    }
    return code;
}

}  // namespace droste
