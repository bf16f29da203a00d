#pragma once
// Decodes and executes one instruction in whatever mode a TestMachine is in, without the engine.

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "tests/support/test_machine.hpp"

#include <catch2/catch.hpp>

#include <initializer_list>
#include <span>

namespace droste::test {

class InsnRunner {
  public:
    TestMachine machine;

    Vcpu& cpu() { return machine.cpu(); }
    CpuState& state() { return cpu().state; }
    u64& gpr(Gpr number) { return state().gpr[number]; }

    Status run(std::initializer_list<u8> bytes) { return run({bytes.begin(), bytes.size()}); }
    // As the engine: RIP advances after Next and Sync.
    Status run(std::span<const u8> bytes) {
        const DecodeMode mode{cpu().mode.code_bits,
                              !cpu().mode.protected_mode || cpu().mode.virtual8086};
        Insn insn;
        REQUIRE(decode(bytes, mode, cpu().features, insn) == DecodeResult::Ok);
        select_exec(cpu(), insn);
        cpu().leave = 0;
        const Status status = insn.exec(cpu(), insn);
        if (status == Status::Next || status == Status::Sync) {
            state().rip() += insn.length;
        }
        return status;
    }

    bool raised(Exception vector) { return cpu().fault.vector == static_cast<u8>(vector); }
    bool raised(Exception vector, u32 error_code) {
        return raised(vector) && cpu().fault.has_error_code && cpu().fault.error_code == error_code;
    }

    // 64-bit mode with pages [kData, kData + 4 pages) mapped to the same physical addresses;
    // nothing else.
    static constexpr u64 kData = 0x20'0000;
    void long_mode(unsigned cpl = 0) {
        machine.enter_long_mode(cpl);
        for (u64 page = 0; page < 4; ++page) {
            machine.map(kData + page * kPageBytes, kData + page * kPageBytes);
        }
        state().gpr[RSP] = kData + 2 * kPageBytes;
        state().rip() = kData;
    }
    // Flat 32-bit protected mode without paging; `cpl` by SS.DPL and CS.
    void protected_mode(unsigned cpl = 0, unsigned iopl = 0) {
        machine.enter_protected_mode();
        for (const SegReg reg : {CS, SS, DS, ES}) {
            state().seg[reg].rights |= cpl << 5;
        }
        state().set_rflags(rflags::kFixed1 | (u64{iopl} << 12));
        state().gpr[RSP] = kData;
        state().rip() = kData;
        mode_changed(cpu());
        update_attention(cpu());
    }
    void real_mode() {
        state().cr0 &= ~(cr0::kPe | cr0::kPg);
        for (const SegReg reg : {CS, SS, DS, ES, FS, GS}) {
            load_real_mode_segment(cpu(), reg, 0x1000);
        }
        state().seg[CS].limit = 0xFFFF;
        state().gpr[RSP] = 0x8000;
        state().rip() = 0x100;
        mode_changed(cpu());
        update_attention(cpu());
    }
    // Virtual-8086 mode without paging.
    void virtual8086_mode(unsigned iopl) {
        machine.enter_protected_mode();
        state().set_rflags(rflags::kFixed1 | rflags::kVm | (u64{iopl} << 12));
        mode_changed(cpu());
        for (const SegReg reg : {CS, SS, DS, ES, FS, GS}) {
            load_real_mode_segment(cpu(), reg, 0x1000);
            state().seg[reg].rights = 0xF3;
            state().seg[reg].limit = 0xFFFF;
            refresh_segment_checks(state().seg[reg]);
        }
        state().gpr[RSP] = 0x8000;
        state().rip() = 0x100;
        mode_changed(cpu());
        update_attention(cpu());
    }
    bool flag(u64 mask) { return (state().rflags() & mask) != 0; }
    void set_flags(u64 set) {
        state().set_rflags(state().rflags() | set);
        mode_changed(cpu());
        update_attention(cpu());
    }
};

}  // namespace droste::test
