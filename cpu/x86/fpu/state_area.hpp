#pragma once
// Memory images larger than any operand: x87 environments, FXSAVE and XSAVE areas.
//
// The whole range passes the segment check as one access. Before a store every page is probed, so
// that a fault leaves memory as it was.

#include "cpu/x86/mmu/mem_access.hpp"

#include <span>

namespace droste {

// The linear address of the memory operand, checked as `bytes` long.
inline Status
area_address(Vcpu& cpu, const Insn& insn, unsigned bytes, bool write, LinearAddr& linear) {
    return linear_address(cpu, static_cast<SegReg>(insn.seg), effective_offset(cpu, insn), bytes,
                          write, linear);
}

// `piece`: bytes moved at a time (2, 4, 8 or 64), which is what alignment checking sees.
Status load_area(Vcpu& cpu, LinearAddr linear, std::span<u8> out, SegReg seg, unsigned piece);
Status probe_area(Vcpu& cpu, LinearAddr linear, std::size_t bytes, SegReg seg);
// Requires: probe_area() of the same range returned Next.
Status
store_area(Vcpu& cpu, LinearAddr linear, std::span<const u8> data, SegReg seg, unsigned piece);

}  // namespace droste
