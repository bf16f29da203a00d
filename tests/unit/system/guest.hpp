#pragma once
// A vCPU with small descriptor tables in memory, and single instructions executed on it as the
// engine does.
//
//   1000 GDT   2000 IDT   3000 TSS   3800 LDT   4000 second TSS   5000 code   6000 + 16 * vector:
//   handlers 8000 ring-0 stack top   9000 ring-3 stack top   A000 ring-1 stack top

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/system/boundary.hpp"
#include "cpu/x86/system/control_regs.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/deliver.hpp"
#include "cpu/x86/system/segment.hpp"
#include "tests/support/test_machine.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <ostream>
#include <vector>

namespace droste::test {

// What an instruction came to: `vector` -1 = no fault.
struct Raised {
    int vector = -1;
    u32 error = 0;
    bool operator==(const Raised&) const = default;
};
inline std::ostream& operator<<(std::ostream& out, const Raised& r) {
    return r.vector < 0 ? out << "no fault"
                        : out << "#" << r.vector << "(" << std::hex << r.error << std::dec << ")";
}
inline constexpr Raised kNoFault{};
constexpr Raised fault(Exception vector, u32 error = 0) {
    return {static_cast<int>(vector), error};
}

// Access bytes and flag nibbles of descriptors.
namespace access {
inline constexpr u8 kCode = 0x9B, kData = 0x93, kDpl1 = 0x20, kDpl3 = 0x60, kConforming = 0x04,
                    kPresent = 0x80;
inline constexpr u8 kExecuteOnly = 0x99, kReadOnly = 0x91, kExpandDown = 0x97;
inline constexpr u8 kLdt = 0x82, kTss32 = 0x89, kTss32Busy = 0x8B, kTss16 = 0x81, kTss16Busy = 0x83;
inline constexpr u8 kCallGate32 = 0x8C, kCallGate16 = 0x84, kTaskGate = 0x85, kInterruptGate = 0x8E,
                    kTrapGate = 0x8F, kInterruptGate16 = 0x86, kTrapGate16 = 0x87;
}  // namespace access
inline constexpr u8 kFlags32 = 0xC, kFlags16 = 0x0, kFlags64 = 0xA, kFlags32Bytes = 0x4;

constexpr u64 descriptor(u32 base, u32 limit20, u8 access_byte, u8 flags) {
    return (limit20 & 0xFFFFU) | (u64{base & 0xFFFFFFU} << 16) | (u64{access_byte} << 40) |
           (u64{(limit20 >> 16) & 0xFU} << 48) | (u64{flags} << 52) | (u64{base >> 24} << 56);
}
constexpr u64 flat(u8 access_byte, u8 flags = kFlags32) {
    return descriptor(0, 0xFFFFF, access_byte, flags);
}
constexpr u64 gate(u16 selector, u32 offset, u8 access_byte, u8 count = 0) {
    return (offset & 0xFFFFU) | (u64{selector} << 16) | (u64{count} << 32) |
           (u64{access_byte} << 40) | (u64{offset >> 16} << 48);
}

class Guest {
  public:
    static constexpr u64 kGdt = 0x1000, kIdt = 0x2000, kTss = 0x3000, kLdt = 0x3800, kTss2 = 0x4000,
                         kCode = 0x5000, kHandlers = 0x6000, kStack0 = 0x8000, kStack3 = 0x9000,
                         kStack1 = 0xA000;
    static constexpr u16 kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x1B, kData3 = 0x23, kTr = 0x28,
                         kCode16 = 0x38, kConforming0 = 0x40, kLdtr = 0x48, kFree = 0x50,
                         kFree2 = 0x58, kTr2 = 0x60, kCode1 = 0x69, kData1 = 0x71, kCode64 = 0x78;

    Guest() {
        CpuState& s = cpu().state;
        s.gdtr = {kGdt, 0xFF};
        s.idtr = {kIdt, 0x7FF};
        set_descriptor(kCode0, flat(access::kCode));
        set_descriptor(kData0, flat(access::kData));
        set_descriptor(kCode3, flat(access::kCode | access::kDpl3));
        set_descriptor(kData3, flat(access::kData | access::kDpl3));
        set_descriptor(kCode16, descriptor(0, 0xFFFF, access::kCode, kFlags16));
        set_descriptor(kConforming0, flat(access::kCode | access::kConforming));
        set_descriptor(kLdtr, descriptor(kLdt, 0x3F, access::kLdt, 0));
        set_descriptor(kCode1, flat(access::kCode | access::kDpl1));
        set_descriptor(kData1, flat(access::kData | access::kDpl1));
        set_descriptor(kTr, descriptor(kTss, 0xFF, access::kTss32, 0));
        set_descriptor(kTr2, descriptor(kTss2, 0xFF, access::kTss32, 0));
        set_descriptor(kCode64, flat(access::kCode, kFlags64));
    }

    // 32-bit protected mode at ring 0 or 3, with a TSS whose ring-0 and ring-1 stacks are set.
    void protected_mode(unsigned cpl = 0) {
        machine_.enter_protected_mode();
        CpuState& s = cpu().state;
        machine_.poke_value<u32>(kTss + 4, kStack0);
        machine_.poke_value<u32>(kTss + 8, kData0);
        machine_.poke_value<u32>(kTss + 12, kStack1);
        machine_.poke_value<u32>(kTss + 16, kData1);
        set_descriptor(kTr, descriptor(kTss, 0xFF, access::kTss32Busy, 0));
        s.tr = {};
        s.tr.selector = kTr;
        s.tr.rights = access::kTss32Busy;
        s.tr.base = kTss;
        s.tr.limit = 0xFF;
        s.ldtr = {};
        s.ldtr.rights = segment_rights::kUnusable;
        if (cpl == 0) {
            load(CS, kCode0);
            for (const SegReg reg : {SS, DS, ES, FS, GS}) {
                load(reg, kData0);
            }
            s.gpr[RSP] = kStack0;
        } else {
            load(CS, kCode3);
            for (const SegReg reg : {SS, DS, ES, FS, GS}) {
                load(reg, kData3);
            }
            s.gpr[RSP] = kStack3;
        }
        s.rip() = kCode;
        mode_changed(cpu());
        update_attention(cpu());
    }

    void real_mode() {
        reset_power_on(cpu());
        CpuState& s = cpu().state;
        for (unsigned reg = 0; reg < kSegRegCount; ++reg) {
            load_real_mode_segment(cpu(), static_cast<SegReg>(reg), 0);
        }
        s.rip() = kCode;
        s.gpr[RSP] = kStack0;
        s.gdtr = {kGdt, 0xFF};
        mode_changed(cpu());
    }

    // Virtual-8086 mode inside protected mode: all segments 0, IOPL as given.
    void v86_mode(unsigned iopl) {
        protected_mode(3);
        CpuState& s = cpu().state;
        s.set_rflags(rflags::kVm | (u64{iopl} << 12) | rflags::kIf);
        mode_changed(cpu());
        for (unsigned reg = 0; reg < kSegRegCount; ++reg) {
            load_real_mode_segment(cpu(), static_cast<SegReg>(reg), 0);
        }
        mode_changed(cpu());
        update_attention(cpu());
    }

    // 64-bit mode; linear = physical for the first MiB, user-accessible, and a 64-bit TSS.
    void long_mode(unsigned cpl = 0) {
        machine_.enter_long_mode(cpl);
        for (u64 page = 0; page < 0x10'0000; page += kPageBytes) {
            machine_.map(page, page);
        }
        CpuState& s = cpu().state;
        s.gdtr = {kGdt, 0xFF};
        s.idtr = {kIdt, 0xFFF};
        set_descriptor(kCode0, flat(access::kCode, kFlags64));
        set_descriptor(kCode3, flat(access::kCode | access::kDpl3, kFlags64));
        set_descriptor(kTr, descriptor(kTss, 0x67, access::kTss32Busy, 0));
        set_descriptor(kTr + 8, 0);
        machine_.poke_value<u64>(kTss + 4, kStack0);
        s.tr = {};
        s.tr.selector = kTr;
        s.tr.rights = access::kTss32Busy;
        s.tr.base = kTss;
        s.tr.limit = 0x67;
        load(CS, cpl == 0 ? kCode0 : kCode3);
        for (const SegReg reg : {SS, DS, ES, FS, GS}) {
            load(reg, cpl == 0 ? kData0 : kData3);
        }
        s.gpr[RSP] = cpl == 0 ? kStack0 : kStack3;
        s.rip() = kCode;
        mode_changed(cpu());
        update_attention(cpu());
    }

    TestMachine& machine() { return machine_; }
    Vcpu& cpu() { return machine_.cpu(); }
    CpuState& state() { return cpu().state; }
    u64& reg(Gpr r) { return state().gpr[r]; }
    u64 rip() { return state().rip(); }
    Segment& seg(SegReg r) { return state().seg[r]; }
    u64 flags() { return state().rflags(); }

    void set_descriptor(u16 selector, u64 value) {
        machine_.poke_value(kGdt + (selector & ~7U), value);
    }
    u64 get_descriptor(u16 selector) { return machine_.peek_value<u64>(kGdt + (selector & ~7U)); }
    u8 access_byte(u16 selector) { return machine_.peek_value<u8>(kGdt + (selector & ~7U) + 5); }
    void set_gate(u8 vector, u64 value) { machine_.poke_value(kIdt + vector * 8U, value); }
    void set_gate64(u8 vector, u16 selector, u64 offset, u8 access_byte, u8 ist = 0) {
        machine_.poke_value(kIdt + vector * 16U,
                            gate(selector, static_cast<u32>(offset), access_byte, ist));
        machine_.poke_value(kIdt + vector * 16U + 8, offset >> 32);
    }
    // A present interrupt gate to ring 0 for each vector, entry point 6000h + 16 * vector.
    void set_all_gates() {
        for (unsigned vector = 0; vector < 64; ++vector) {
            const u32 entry = static_cast<u32>(kHandlers) + 16 * vector;
            if (cpu().mode.long_mode64 || (state().efer & efer::kLma) != 0) {
                set_gate64(static_cast<u8>(vector), kCode0, entry, access::kInterruptGate);
            } else {
                set_gate(static_cast<u8>(vector), gate(kCode0, entry, access::kInterruptGate));
            }
        }
    }
    static u64 handler(Exception vector) { return kHandlers + 16 * static_cast<u64>(vector); }
    static u64 handler(unsigned vector) { return kHandlers + u64{16} * vector; }

    // Loads a hidden part as a legal load would, without checks.
    void load(SegReg r, u16 selector) {
        Segment s;
        const Descriptor d{get_descriptor(selector), 0};
        s.selector = selector;
        s.rights = d.rights();
        s.limit = d.limit();
        s.base = static_cast<u32>(d.base());
        set_segment(cpu(), r, s);
        mode_changed(cpu());
    }

    // Executes one instruction; a fault is returned, not delivered.
    Raised exec(std::initializer_list<u8> bytes) {
        Status status = Status::Next;
        return exec_status(bytes, status);
    }
    Raised exec_status(std::initializer_list<u8> bytes, Status& status) {
        const Insn insn = decoded(bytes);
        cpu().fault = {};
        status = insn.exec(cpu(), insn);
        if (status == Status::Fault) {
            return {cpu().fault.vector, cpu().fault.error_code};
        }
        if (status == Status::Next || status == Status::Sync) {
            state().rip() += insn.length;
        }
        return kNoFault;
    }
    // Executes one instruction as the engine's step mode does: breakpoints, traps and deliveries
    // included.
    void step(std::initializer_list<u8> bytes) {
        if (code_breakpoint_hit(cpu())) {
            return;
        }
        const bool trap_flag = (flags() & rflags::kTf) != 0;
        const Insn insn = decoded(bytes);
        const Status status = insn.exec(cpu(), insn);
        if (status == Status::Fault) {
            deliver_fault(cpu());
            return;
        }
        if (status == Status::Next || status == Status::Sync) {
            state().rip() += insn.length;
        }
        after_instruction_in_step_mode(cpu(), trap_flag,
                                       status == Status::Branch || status == Status::Switched);
        (void)service_boundary(cpu());
    }
    // Delivers an event the way the engine would.
    void raise_and_deliver(Exception vector, u32 error = 0, bool has_error = true) {
        cpu().fault = {};
        cpu().fault.vector = static_cast<u8>(vector);
        cpu().fault.has_error_code = has_error;
        cpu().fault.error_code = error;
        deliver_fault(cpu());
    }
    void interrupt(u8 vector) {
        Event event;
        event.type = EventType::ExternalInterrupt;
        event.vector = vector;
        deliver(cpu(), event);
    }
    // The stack as it lies in memory, from SS.base + RSP upwards.
    template <typename T>
    T stack(unsigned slot) {
        return machine_.peek_value<T>(seg(SS).base + (reg(RSP) & cpu().mode.stack_mask) +
                                      slot * sizeof(T));
    }
    template <typename T>
    void push(T value) {
        reg(RSP) -= sizeof(T);
        machine_.poke_value<T>(seg(SS).base + (reg(RSP) & cpu().mode.stack_mask), value);
    }

  private:
    Insn decoded(std::initializer_list<u8> bytes) {
        cpu().leave = 0;
        Insn insn;
        const DecodeMode mode{cpu().mode.code_bits,
                              !cpu().mode.protected_mode || cpu().mode.virtual8086};
        REQUIRE(decode({bytes.begin(), bytes.size()}, mode, cpu().features, insn) ==
                DecodeResult::Ok);
        REQUIRE(insn.length == bytes.size());
        select_exec(cpu(), insn);
        return insn;
    }

    TestMachine machine_;
};

}  // namespace droste::test
