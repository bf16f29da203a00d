#pragma once
// What FPU, MMX, SSE and AVX instructions have in common: may they execute now, and how they reach
// memory.

#include "cpu/x86/fpu/x87.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <cstring>

namespace droste {

// Bits of Vcpu::fpu_blocked that make an instruction undefined. CR0.TS (any: #NM) comes after them.
// SDM Vol. 2A, "Instruction Exception Specification".
namespace undefined_by {
inline constexpr u8 kX87 = 0;  // CR0.EM means #NM for the x87
inline constexpr u8 kMmx = Vcpu::kFpuEm;
inline constexpr u8 kSse = Vcpu::kFpuEm | Vcpu::kFpuNoOsfxsr;
inline constexpr u8 kAvx = Vcpu::kFpuNoOsxsave | Vcpu::kFpuNoAvxState;
}  // namespace undefined_by

// Next, or #UD or #NM.
inline Status require_unit(Vcpu& cpu, u8 undefined) {
    if ((cpu.mode.fpu_blocked & (undefined | Vcpu::kFpuTs)) == 0) [[likely]] {
        return Status::Next;
    }
    return raise(cpu, (cpu.mode.fpu_blocked & undefined) != 0 ? Exception::UD : Exception::NM);
}
inline Status require_x87(Vcpu& cpu) {
    return (cpu.mode.fpu_blocked & (Vcpu::kFpuEm | Vcpu::kFpuTs)) == 0 ? Status::Next
                                                                       : raise(cpu, Exception::NM);
}
inline Status require_mmx(Vcpu& cpu) {
    const Status status = require_unit(cpu, undefined_by::kMmx);
    return status == Status::Next ? x87_check_pending(cpu) : status;
}
inline Status require_vector(Vcpu& cpu, const Insn& insn) {
    return require_unit(cpu, insn.vex() ? undefined_by::kAvx : undefined_by::kSse);
}

// An MMX instruction makes all x87 registers valid and MM0 the top. SDM Vol. 1, "Effect of MMX, x87
// FPU, FXSAVE, and FXRSTOR Instructions on the x87 FPU Tag Word".
inline void enter_mmx(X87State& fpu) {
    fpu.status = static_cast<u16>(fpu.status & ~x87::kTopMask);
    fpu.tag_valid = 0xFF;
}
inline void write_mmx(X87State& fpu, unsigned number, u64 value) {
    fpu.st[number & 7].significand = value;
    fpu.st[number & 7].sign_exponent = 0xFFFF;
}

// The linear address of a vector memory operand, misaligned -> #GP(0) where the instruction demands
// alignment.
inline Status
vector_address(Vcpu& cpu, const Insn& insn, unsigned bytes, bool write, LinearAddr& linear) {
    const Status status = linear_address(cpu, static_cast<SegReg>(insn.seg),
                                         effective_offset(cpu, insn), bytes, write, linear);
    if (status == Status::Next && (insn.flags & kInsnAligned) != 0 && (linear & (bytes - 1)) != 0)
        [[unlikely]] {
        return raise(cpu, Exception::GP, 0);
    }
    return status;
}
template <unsigned Bytes>
inline Status load_vector(Vcpu& cpu, const Insn& insn, std::array<u8, Bytes>& out) {
    LinearAddr linear = 0;
    const Status status = vector_address(cpu, insn, Bytes, false, linear);
    return status == Status::Next ? load_linear(cpu, linear, out, static_cast<SegReg>(insn.seg))
                                  : status;
}
template <unsigned Bytes>
inline Status store_vector(Vcpu& cpu, const Insn& insn, const std::array<u8, Bytes>& value) {
    LinearAddr linear = 0;
    const Status status = vector_address(cpu, insn, Bytes, true, linear);
    return status == Status::Next ? store_linear(cpu, linear, value, static_cast<SegReg>(insn.seg))
                                  : status;
}

// Ten bytes from the x87 go to memory as Intel's processors store them: eight, then two. If the two
// fault the eight are there, which is the one thing an instruction of ours leaves behind that faults.
inline Status store_tbyte(Vcpu& cpu, const Insn& insn, const u8* bytes) {
    const auto seg = static_cast<SegReg>(insn.seg);
    const u64 offset = effective_offset(cpu, insn);
    std::array<u8, 8> first;
    std::array<u8, 2> second;
    std::memcpy(first.data(), bytes, first.size());
    std::memcpy(second.data(), bytes + first.size(), second.size());
    LinearAddr linear = 0;
    if (const Status status = linear_address(cpu, seg, offset, 10, true, linear);
        status != Status::Next) [[unlikely]] {
        return status;
    }
    if (const Status status = store_linear(cpu, linear, first, seg); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    linear += first.size();
    return store_linear(cpu, cpu.mode.long_mode64 ? linear : static_cast<u32>(linear), second, seg);
}

// Accesses of single elements by instructions that never raise #AC.
template <typename T>
inline Status load_any_alignment(Vcpu& cpu, LinearAddr linear, T& out, SegReg seg) {
    if (!cpu.mode.alignment_checked) [[likely]] {
        return load_linear(cpu, linear, out, seg);
    }
    std::array<u8, sizeof(T)> bytes;
    for (unsigned i = 0; i < sizeof(T); ++i) {
        if (const Status status = load_linear(cpu, linear + i, bytes[i], seg);
            status != Status::Next) {
            return status;
        }
    }
    std::memcpy(&out, bytes.data(), sizeof(T));
    return Status::Next;
}
template <typename T>
inline Status probe_any_alignment(Vcpu& cpu, LinearAddr linear, SegReg seg) {
    if (!cpu.mode.alignment_checked) [[likely]] {
        return probe_store(cpu, linear, sizeof(T), seg);
    }
    const Status status = probe_store(cpu, linear, 1, seg);
    return status == Status::Next ? probe_store(cpu, linear + sizeof(T) - 1, 1, seg) : status;
}
// After probe_any_alignment() succeeded.
template <typename T>
inline Status store_any_alignment(Vcpu& cpu, LinearAddr linear, const T& value, SegReg seg) {
    if (!cpu.mode.alignment_checked) [[likely]] {
        return store_linear(cpu, linear, value, seg);
    }
    std::array<u8, sizeof(T)> bytes;
    std::memcpy(bytes.data(), &value, sizeof(T));
    for (unsigned i = 0; i < sizeof(T); ++i) {
        if (const Status status = store_linear(cpu, linear + i, bytes[i], seg);
            status != Status::Next) {
            return status;
        }
    }
    return Status::Next;
}

}  // namespace droste
