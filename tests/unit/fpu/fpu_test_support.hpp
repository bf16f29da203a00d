#pragma once
// A guest that executes single instructions given as bytes, for the tests of x87, MMX, SSE and AVX.

#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/fpu/x87.hpp"
#include "tests/support/test_machine.hpp"

#include <cstring>
#include <initializer_list>
#include <span>

namespace droste::test {

class FpuGuest {
  public:
    static constexpr u64 kData = 0x40'0000;      // mapped, writable, two pages
    static constexpr u64 kReadOnly = 0x60'0000;  // mapped, not writable
    static constexpr u64 kUnmapped = 0x70'0000;

    explicit FpuGuest(unsigned cpl = 3, const CpuFeatures& features = all_features())
        : machine_(features) {
        machine_.enter_long_mode(cpl);
        machine_.map(kData, kData);
        machine_.map(kData + kPageBytes, kData + kPageBytes);
        machine_.map(kReadOnly, kReadOnly, false);
        x87_initialize(state().x87);  // RESET leaves all exceptions unmasked and no register empty
        state().gpr[RDI] = kData;
    }
    // As after a reset, with the FPU and the SSE unit enabled.
    void enter_real_mode() {
        reset_power_on(cpu());
        state().cr0 = cr0::kEt | cr0::kNe;
        state().cr4 = cr4::kOsfxsr;
        cpu().tlb.activate(cpu());
        refresh();
    }
    // After a change of CR0, CR4 or XCR0.
    void refresh() { mode_changed(cpu()); }

    TestMachine& machine() { return machine_; }
    Vcpu& cpu() { return machine_.cpu(); }
    CpuState& state() { return cpu().state; }

    // Decodes and executes one instruction of the present mode; RIP stays.
    Status run(std::span<const u8> bytes) {
        Insn insn;
        const DecodeMode mode{cpu().mode.code_bits,
                              !cpu().mode.protected_mode || cpu().mode.virtual8086};
        DROSTE_ASSERT(decode(bytes, mode, cpu().features, insn) == DecodeResult::Ok);
        DROSTE_ASSERT(insn.length == bytes.size());
        select_exec(cpu(), insn);
        return insn.exec(cpu(), insn);
    }
    Status run(std::initializer_list<u8> bytes) { return run({bytes.begin(), bytes.size()}); }
    // The exception `bytes` raises, or -1.
    int fault(std::span<const u8> bytes) {
        return run(bytes) == Status::Fault ? static_cast<int>(cpu().fault.vector) : -1;
    }
    int fault(std::initializer_list<u8> bytes) { return fault({bytes.begin(), bytes.size()}); }

    template <typename T>
    void set_xmm(unsigned number, std::initializer_list<T> elements) {
        std::memcpy(state().ymm[number].bytes.data(), elements.begin(),
                    elements.size() * sizeof(T));
    }
    template <typename T>
    T xmm(unsigned number, unsigned element = 0) {
        T value;
        std::memcpy(&value, state().ymm[number].bytes.data() + element * sizeof(T), sizeof(T));
        return value;
    }
    template <typename T>
    void poke(u64 address, T value) {
        machine_.poke_value(address, value);
    }
    template <typename T>
    T peek(u64 address) {
        return machine_.peek_value<T>(address);
    }

  private:
    TestMachine machine_;
};

constexpr int kNone = -1, kUd = 6, kNm = 7, kGp = 13, kPf = 14, kMf = 16, kXm = 19;

}  // namespace droste::test
