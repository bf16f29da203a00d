// How translated code reaches memory (docs/jit/memory.md). What passes a check is plain memory that
// may be accessed so, at the address plus an addend; whatever else there is about an access, the
// interpreter does the whole instruction. An access of a window that was checked takes the addend
// from there. Others compare with their page slot, if they have one, or with the TLB's tag:
//
//   lea  t1, [address]
//   mov  t0, [jump_table];  sub t1, [t0 + slot.first]
//   cmp  t1, [t0 + slot.room];  jae refill            ... from the TLB:
//   mov  t0, [t0 + slot.addend]
//
//   lea  t1, [address]
//   mov  t0, t1;  shr t0, 12 - 3;  and t0, (entries - 1) * 8;  add t0, [data_tlb]
//   lea  t1, [t1 + bytes - 1];  and t1, -4096          an access that is not aligned
//   and  t1, -4096 | (bytes - 1)                       one that must be
//   cmp  t1, [t0 + tags];  jne interpret
//   mov  t0, [t0 + addends]
//
//   ...  [address + t0]

#include "jit/registers.hpp"

namespace droste::jit {

namespace {

constexpr i32 kEntriesMask = static_cast<i32>((kTlbEntries - 1) * 8);

// A register of an address, or kNoReg for none; `scratch` is loaded with one that has no home.
u8 address_register(Assembly& a, unsigned guest, u8 scratch) {
    return guest == kZeroSlot ? kNoReg : in_register(a, guest, scratch);
}

// An address without registers: RIP-relative, or absolute.
bool constant(const Assembly& a) {
    const Insn& insn = a.insn();
    return (insn.base == kRipSlot || insn.base == kZeroSlot) && insn.index == kZeroSlot &&
           !a.adds_base(insn.seg);
}

// Of an operand without registers.
u64 constant_offset(const Item& item) {
    const Insn& insn = *item.insn;
    const u64 offset = static_cast<u64>(insn.disp) + (insn.base == kRipSlot ? item.rip : 0);
    return insn.addrsize == 4 ? static_cast<u32>(offset) : offset;
}

// Of the operand, from where the home of RSP is if that is its base.
i32 displacement(const Assembly& a) {
    const Insn& insn = a.insn();
    return static_cast<i32>(insn.disp) + (insn.base == RSP ? a.stack_ahead() : 0);
}

// t1 := the linear address. Uses t0. Changes flags only with a segment base.
void compute_address(Assembly& a) {
    load_offset(a, a.item(), a.stack_ahead(), kT1, kT0);
    if (const Insn& insn = a.insn(); a.adds_base(insn.seg)) {
        a.emitter().rm({.opcode = 0x03, .w = a.code64()}, kT1,
                       at_rsp(layout::segment_base(insn.seg)));
    }
}

// t1 := the lowest address of a window, its registers having been stepped so far.
void compute_window(Assembly& a, const Window& window, i64 stepped) {
    const OperandAccess& by = window.by;
    const i64 settled = by.base == RSP ? a.stack_settled() : 0;
    a.emitter().lea(kT1,
                    {.base = address_register(a, by.base, kT1),
                     .index = address_register(a, by.index, kT0),
                     .scale = by.scale,
                     .disp = static_cast<i32>(window.low - settled - stepped)},
                    a.code64());
}

}  // namespace

void load_offset(Assembly& a, const Item& item, i32 stack_ahead, u8 t, u8 other) {
    const Insn& insn = *item.insn;
    if (insn.base == kRipSlot || (insn.base == kZeroSlot && insn.index == kZeroSlot)) {
        a.emitter().load_imm(t, constant_offset(item));
        return;
    }
    const i32 ahead = insn.base == RSP ? stack_ahead : 0;
    a.emitter().lea(t,
                    {.base = address_register(a, insn.base, t),
                     .index = address_register(a, insn.index, other),
                     .scale = insn.scale,
                     .disp = static_cast<i32>(insn.disp) + ahead},
                    insn.addrsize == 8);
}

u8* probe(Assembly& a, const Access& access) {
    Emitter& e = a.emitter();
    e.mov(kT0, kT1);
    e.xr({.opcode = 0xC1, .w = true}, 5, kT0);  // shr t0, 9
    e.byte(kPageShift - 3);
    e.alu_imm(4, kT0, kEntriesMask, false);
    e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(layout::kDataTlb));
    if (access.aligned) {
        const unsigned alignment = access.alignment();
        if (access.bytes > alignment) {
            e.lea(kT1, {.base = kT1, .disp = static_cast<i32>(access.bytes - alignment)});
        }
        e.alu_imm(4, kT1, static_cast<i32>(~u32{0xFFF} | (alignment - 1)));
    } else {
        if (access.bytes > 1) {
            e.lea(kT1, {.base = kT1, .disp = static_cast<i32>(access.bytes - 1)});
        }
        e.alu_imm(4, kT1, -4096);
    }
    e.rm({.opcode = 0x3B, .w = true}, kT1,
         {.base = kT0, .disp = access.write ? layout::kWriteTags : layout::kReadTags});
    u8* miss = e.jcc(cc::kNE);
    e.load(kT0, {.base = kT0, .disp = layout::kAddends});
    return miss;
}

void compute(Assembly& a, const Assembly::Address& address) {
    Emitter& e = a.emitter();
    switch (address.kind) {
    case Assembly::Address::Kind::Operand: compute_address(a); break;
    case Assembly::Address::Kind::Window:
        compute_window(a, a.window(address.window), address.disp);
        break;
    case Assembly::Address::Kind::Base:
        e.lea(kT1, {.base = address.base, .disp = address.disp}, a.code64());
        break;
    }
}

void check(Assembly& a, const Assembly::Address& address, const Access& access, bool stack) {
    Emitter& e = a.emitter();
    compute(a, address);
    const bool window = address.window != kNoWindow;
    const unsigned slot = a.slot_for(stack, access);
    const auto interpret_if = [&](u8* place) {
        if (window) {
            a.interpret_window_if(place, a.window(address.window));
        } else {
            a.interpret_if(place);
        }
    };
    if (slot == Assembly::kNoSlot) {
        interpret_if(probe(a, access));
        return;
    }
    u8* miss = nullptr;
    if (slot < kStackSlots) {
        e.rm({.opcode = 0x2B, .w = true}, kT1, at_rsp(layout::slot(slot)));
        e.load(kT0, at_rsp(layout::slot(slot) + 8));
        e.alu_imm(7, kT1, static_cast<i32>(kPageBytes - access.bytes));
        miss = e.jcc(cc::kA);
    } else {
        constexpr i32 kSlots = JumpTable::kSlotsAt;
        e.load(kT0, at_rsp(layout::kJumpTable));
        e.rm({.opcode = 0x2B, .w = true}, kT1,
             {.base = kT0, .disp = kSlots + PageSlots::first_of(slot)});
        e.rm({.opcode = 0x3B, .w = true}, kT1,
             {.base = kT0, .disp = kSlots + PageSlots::room_of(slot)});
        miss = e.jcc(cc::kAE);
        e.load(kT0, {.base = kT0, .disp = kSlots + PageSlots::addend_of(slot)});
    }
    if (access.aligned) {
        e.xr({.opcode = 0xF7}, 0, kT1);  // test
        e.dword(access.alignment() - 1);
        interpret_if(e.jcc(cc::kNE));
    }
    a.refill_if(miss, slot, address, access);
}

namespace {

// An access of a window, `disp` bytes from the registers' sum (for RSP: from its home); the addend
// is in t0. No flags are changed.
Mem in_window(Assembly& a, const Window& window, i64 disp) {
    Emitter& e = a.emitter();
    const OperandAccess& by = window.by;
    Mem mem{.disp = static_cast<i32>(disp)};
    if (in_memory(by.base)) {
        e.load(kT1, slot(by.base));
        e.lea(kT0, {.base = kT0, .index = kT1});
        mem.base = kT0;
    } else if (by.index == kZeroSlot) {
        mem.base = native(by.base);
        mem.index = kT0;
        return mem;
    } else {
        e.lea(kT0, {.base = native(by.base), .index = kT0});
        mem.base = kT0;
    }
    if (in_memory(by.index)) {
        e.load(kT1, slot(by.index));
        e.lea(kT0, {.base = kT0, .index = kT1, .scale = by.scale});
    } else if (by.index != kZeroSlot) {
        mem.index = native(by.index);
        mem.scale = by.scale;
    }
    return mem;
}

// The same; the first access of a window checks it.
Mem check_window(Assembly& a, Window& window, i64 disp) {
    Emitter& e = a.emitter();
    const Mem kept = at_rsp(layout::window(window.place));
    if (window.checked) {
        e.load(kT0, kept);
        return in_window(a, window, disp);
    }
    a.clobber_status();
    window.checked = true;
    window.checked_at = a.index();
    check(a,
          {.kind = Assembly::Address::Kind::Window,
           .window = a.number_of(window),
           .disp = static_cast<i32>(a.stepped())},
          whole(window), window.by.base == RSP);
    e.store(kept, kT0);
    return in_window(a, window, disp);
}

}  // namespace

// Its entry is known, and whether it is aligned.
Mem check_constant(Assembly& a, const Access& access) {
    Emitter& e = a.emitter();
    const u64 address = constant_offset(a.item());
    const auto entry = static_cast<i32>(DataTlb::index(address) * 8);
    u64 wanted = address & kPageMask;
    const bool crosses = ((address + access.bytes - 1) & kPageMask) != wanted;
    if (crosses || (access.aligned && address % access.bytes != 0)) {
        wanted = kNoTag - 1;  // never a tag
    }
    e.load(kT0, at_rsp(layout::kDataTlb));
    e.load_imm(kT1, wanted);
    e.rm({.opcode = 0x3B, .w = true}, kT1,
         {.base = kT0, .disp = entry + (access.write ? layout::kWriteTags : layout::kReadTags)});
    a.interpret_if(e.jcc(cc::kNE));
    e.load(kT0, {.base = kT0, .disp = layout::kAddends + entry});
    if (fits32(address)) {
        return {.base = kT0, .disp = static_cast<i32>(address)};
    }
    e.load_imm(kT1, address);
    e.lea(kT0, {.base = kT0, .index = kT1});
    return {.base = kT0};
}

bool can_address(const Insn& insn) {
    if (insn.addrsize == 2) {
        return false;
    }
    if (insn.base == kRipSlot || insn.base == kZeroSlot) {
        // moffs has displacements of 64 bits
        return insn.index == kZeroSlot || fits32(static_cast<u64>(insn.disp));
    }
    return fits32(static_cast<u64>(insn.disp));
}

Mem check_operand(Assembly& a, const Access& access) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (Window* window = a.next_window(); window != nullptr) {
        return a.code64() ? check_window(a, *window, displacement(a))
                          : check_window32(a, *window, displacement(a));
    }
    a.clobber_status();
    if (constant(a)) {
        return check_constant(a, access);
    }
    if (!a.code64()) {
        return check_operand32(a, access);
    }
    check(a, {}, access, insn.base == RSP);
    // The address once more, with the addend.
    if (insn.addrsize == 8 && insn.seg < FS && insn.base != kRipSlot && !in_memory(insn.base) &&
        !in_memory(insn.index)) {
        const u8 base = insn.base == kZeroSlot ? kNoReg : native(insn.base);
        if (insn.index == kZeroSlot) {
            return {.base = base, .index = kT0, .disp = displacement(a)};
        }
        if (base != kNoReg) {
            e.rr({.opcode = 0x03, .w = true}, kT0, base);  // add t0, base
        }
        return {
            .base = kT0, .index = native(insn.index), .scale = insn.scale, .disp = displacement(a)};
    }
    if (insn.addrsize == 8 && insn.base != kRipSlot) {
        if (insn.index != kZeroSlot) {
            e.lea(kT0,
                  {.base = kT0, .index = in_register(a, insn.index, kT1), .scale = insn.scale});
        }
        if (in_memory(insn.base)) {
            e.rm({.opcode = 0x03, .w = true}, kT0, slot(insn.base));
        } else if (insn.base != kZeroSlot) {
            e.rr({.opcode = 0x03, .w = true}, kT0, native(insn.base));
        }
        if (insn.seg >= FS) {
            e.rm({.opcode = 0x03, .w = true}, kT0, at_rsp(layout::segment_base(insn.seg)));
        }
        return {.base = kT0, .disp = displacement(a)};
    }
    // Truncated, or relative to RIP in a segment: by way of the stack of scratch words.
    e.store(at_rsp(layout::kScratch), kT0);
    compute_address(a);
    e.rm({.opcode = 0x03, .w = true}, kT1, at_rsp(layout::kScratch));
    e.mov(kT0, kT1);
    return {.base = kT0};
}

Mem check_stack(Assembly& a, i32 disp, const Access& access) {
    const i32 from_home = disp + a.stack_ahead();
    if (Window* window = a.next_window(); window != nullptr) {
        return a.code64() ? check_window(a, *window, from_home)
                          : check_window32(a, *window, from_home);
    }
    return check_base(a, kHome[RSP], from_home, access);
}

Mem check_base(Assembly& a, u8 base, i32 disp, const Access& access) {
    a.clobber_status();
    if (!a.code64()) {
        return check_base32(a, base, disp, access);
    }
    check(a, {.kind = Assembly::Address::Kind::Base, .base = base, .disp = disp}, access,
          base == kHome[RSP]);
    return {.base = base, .index = kT0, .disp = disp};
}

}  // namespace droste::jit
