#pragma once
// Native thunks: a few instructions of generated code that load an instruction's operands into
// fixed native registers, execute the very instruction on the native unit, and store the results.
// Arithmetic is exact because nothing is modelled.
//
// A thunk belongs to a normalized encoding (ThunkKey): register numbers are no part of it, they
// become pointers when it is called. One cache serves the vCPUs of a machine; it only grows,
// bounded by the number of encodings (immediates included), and never moves a Thunk, so decoded
// instructions keep plain pointers to them.
//
// Memory operands are copied to or from a native buffer by the caller, with the TLB checks any
// access has; the thunk sees the buffer. So no thunk ever faults on memory, and a #PF leaves the
// guest as it was.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/fpu/executable_memory.hpp"
#include "cpu/x86/fpu/simd_fault.hpp"
#include "cpu/x86/fpu/x87_native.hpp"
#include "cpu/x86/state/cpu_state.hpp"

#include <array>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace droste {

// What makes two vector instructions the same but for register numbers and addresses.
struct ThunkKey {
    u8 prefix = 0;  // mandatory prefix in VEX.pp's encoding: 0 none, 1 66, 2 F3, 3 F2
    OpcodeMap map = OpcodeMap::Map0F;
    u8 opcode = 0;
    u8 extension = 0;  // ModRM.reg where no operand G uses it
    u8 immediate = 0;
    u8 classes = 0;  // Insn::classes
    Form form = Form::None;
    bool w = false, l = false, vex = false, mem = false;
    bool has_immediate = false;
    bool immediate_is_register = false;  // in bits 7:4 (VBLENDVPS ...)

    static ThunkKey of(const Insn& insn);
    u64 packed() const;
};

struct Thunk {
    // g, e, b, i4: the registers of the operands the form has; e may be a memory operand's buffer.
    using Entry = u64 (*)(void* g, void* e, const void* b, const void* i4, CpuState* state);

    static constexpr u8 kUsesMxcsr = 1U << 0;    // reads and writes MXCSR; may return kException
    static constexpr u8 kWritesFlags = 1U << 1;  // returns RFLAGS
    static constexpr u8 kUsesMmx = 1U << 2;      // switches the x87 unit to MMX operation
    static constexpr u8 kWritesMmx = 1U << 3;    // ... and the first operand is an MMX register

    // In the returned value: an unmasked SIMD floating-point exception; nothing but MXCSR's flags
    // was changed.
    static constexpr u64 kException = u64{1} << 63;

    Entry entry = nullptr;
    u8 traits = 0;
    u8 blocked_by = 0;    // Vcpu::kFpu* bits that make it fault
    u8 undefined_by = 0;  // those of them that mean #UD; the rest mean #NM
    // Register n of operand G (E) lies at the CpuState + g_offset + (n << g_shift). B and the is4
    // operand are always vectors.
    u8 g_shift = 0, e_shift = 0;
    u16 g_offset = 0, e_offset = 0;
    u8 immediate = 0;  // of the instruction, ThunkKey::immediate

    void* g(CpuState& state, unsigned n) const {
        return reinterpret_cast<u8*>(&state) + g_offset + (n << g_shift);
    }
    void* e(CpuState& state, unsigned n) const {
        return reinterpret_cast<u8*>(&state) + e_offset + (n << e_shift);
    }
};

class ThunkCache {
  public:
    // An Error if the native machine gives no executable memory.
    // `avx`: it may be used.
    static Expected<std::shared_ptr<ThunkCache>> create(bool avx);
    ThunkCache(ExecutableMemory memory, bool avx);

    // The thunk of a vector or MMX instruction, made now if it is the first of its kind.
    const Thunk* vector_thunk(const Insn& insn);
    // An x87 instruction that computes.
    const X87Operation* x87_operation(const Insn& insn, const X87Spec& spec);

    // How many instructions a vCPU has executed whose result the manual leaves open within a bound, so
    // that processors differ in it (docs/x86/fpu.md). Each vCPU has its own counter.
    u64& vendor_results(u32 vcpu_index) { return vendor_results_[vcpu_index]; }

    std::size_t thunk_count() const { return thunks_.size(); }

  private:
    static constexpr std::size_t kMaxVcpus = 256;
    std::array<u64, kMaxVcpus> vendor_results_{};
    std::mutex mutex_;  // taken when an instruction is decoded, never when one is executed
    ExecutableMemory memory_;
    SimdFaultRange fault_range_;
    std::unordered_map<u64, const Thunk*> by_key_;
    std::unordered_map<u32, const X87Operation*> x87_by_key_;
    std::deque<Thunk> thunks_;
    std::deque<X87Operation> x87_operations_;
};

}  // namespace droste
