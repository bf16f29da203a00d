// Accesses of 32-bit code (docs/jit/modes.md). Offsets and linear addresses are 32 bits wide, and the
// sum of a register and a displacement wraps, which native 64-bit addressing does not do. So an
// address is computed by a 32-bit LEA, checked as any other (memory.cpp), and computed once more to
// be added to the addend: what is accessed is always [t0].
//
// Of a window that was checked the native address of its lowest byte is kept, not the addend:
// nothing of it wraps, for it lies in one page.
//
// CS, SS, DS and ES are nearly always flat, and whether they are is part of the translation's key.
// An access in another segment compares with its limit first. FS and GS are not in the key: kernels
// load them at each entry, and a jump table is one key's.

#include "cpu/x86/mmu/mem_access.hpp"
#include "jit/registers.hpp"

namespace droste::jit {

namespace {

// Changes flags. Uses t0 and t1.
void check_segment(Assembly& a, const Access& access) {
    Emitter& e = a.emitter();
    const unsigned seg = a.insn().seg;
    e.xm({.opcode = 0xF6}, 0, at_rsp(layout::segment_checks(seg)));  // test byte
    e.byte(access.write ? kSegWriteUp : kSegReadUp);
    a.interpret_if(e.jcc(cc::kE));
    load_offset(a, a.item(), a.stack_ahead(), kT1, kT0);
    if (access.bytes > 1) {
        e.lea(kT1, {.base = kT1, .disp = static_cast<i32>(access.bytes - 1)});
    }
    e.load32(kT0, at_rsp(layout::segment_limit(seg)));
    e.rr({.opcode = 0x3B, .w = true}, kT1, kT0);  // cmp
    a.interpret_if(e.jcc(cc::kA));
}

// The addend is in t0.
Mem at_address(Assembly& a, const Assembly::Address& address) {
    compute(a, address);
    a.emitter().lea(kT0, {.base = kT0, .index = kT1});
    return {.base = kT0};
}

}  // namespace

Mem check_operand32(Assembly& a, const Access& access) {
    if (a.checks_segment(a.insn().seg, access.write)) {
        check_segment(a, access);
    }
    check(a, {}, access, a.insn().base == RSP);
    return at_address(a, {});
}

Mem check_base32(Assembly& a, u8 base, i32 disp, const Access& access) {
    const Assembly::Address address{
        .kind = Assembly::Address::Kind::Base, .base = base, .disp = disp};
    check(a, address, access, base == kHome[RSP]);
    return at_address(a, address);
}

Mem check_window32(Assembly& a, Window& window, i64 disp) {
    Emitter& e = a.emitter();
    const Mem kept = at_rsp(layout::window(window.place));
    const i64 from_first = disp + (window.by.base == RSP ? a.stack_settled() : 0);
    const Mem mem{.base = kT0, .disp = static_cast<i32>(from_first - window.low)};
    if (window.checked) {
        e.load(kT0, kept);
        return mem;
    }
    a.clobber_status();
    window.checked = true;
    window.checked_at = a.index();
    const Assembly::Address address{.kind = Assembly::Address::Kind::Window,
                                    .window = a.number_of(window)};
    check(a, address, whole(window), window.by.base == RSP);
    (void)at_address(a, address);
    e.store(kept, kT0);
    return mem;
}

}  // namespace droste::jit
