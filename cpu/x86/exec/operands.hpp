#pragma once
// Where a handler's E operand lies, as a template parameter, and the tables that pick an
// instantiation.
//
// A handler is a struct with `template <typename T, Place P> static Status exec(Vcpu&, const
// Insn&)`. The operand's width and place are known when an instruction is decoded, so select picks
// the instantiation then, and the code that runs a million times has neither switch. Of the three
// places, Flat is what nearly every memory operand of 64-bit code is: 64-bit address size, a
// segment with base 0, no LOCK, so the address is one sum without segment checks. It is chosen by
// the mode at decode time; a block decoded in 64-bit mode is never run in another (the mode is part
// of the block's key).
//
// A Flat access is the TLB hit and nothing else: on a miss it answers Status::Fault without a
// fault, and the handler starts over as its own Memory instantiation by a tail call (give_up). That
// keeps slow paths, and the registers they would make the compiler save, out of the code that runs.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <bit>

namespace droste {

enum class Place : u8 { Register = 0, Flat = 1, Memory = 2 };

inline bool flat_address(const Vcpu& cpu, const Insn& insn) {
    return cpu.mode.long_mode64 && insn.addrsize == 8 && insn.seg < FS;
}

inline Place place_of(const Vcpu& cpu, const Insn& insn) {
    if (!insn.mem()) {
        return Place::Register;
    }
    return flat_address(cpu, insn) && !insn.lock() ? Place::Flat : Place::Memory;
}

inline LinearAddr flat_linear(const Vcpu& cpu, const Insn& insn) {
    return cpu.state.gpr[insn.base] + (cpu.state.gpr[insn.index] << insn.scale) +
           static_cast<u64>(insn.disp);
}

template <typename T, Place P>
inline Status load_operand(Vcpu& cpu, const Insn& insn, T& out) {
    if constexpr (P == Place::Register) {
        out = read_gpr<T>(cpu, insn.rm);
        return Status::Next;
    } else if constexpr (P == Place::Flat) {
        const LinearAddr linear = flat_linear(cpu, insn);
        const DataTlb& tlb = *cpu.mode.data_tlb;
        if (!tlb.hits_read(linear, sizeof(T))) [[unlikely]] {
            return Status::Fault;
        }
        std::memcpy(&out, tlb.native(linear), sizeof(T));
        return Status::Next;
    } else {
        return load(cpu, insn, out);
    }
}

template <typename T, Place P>
inline Status store_operand(Vcpu& cpu, const Insn& insn, T value) {
    if constexpr (P == Place::Register) {
        write_gpr<T>(cpu, insn.rm, value);
        return Status::Next;
    } else if constexpr (P == Place::Flat) {
        const LinearAddr linear = flat_linear(cpu, insn);
        const DataTlb& tlb = *cpu.mode.data_tlb;
        if (!tlb.hits_write(linear, sizeof(T))) [[unlikely]] {
            return Status::Fault;
        }
        std::memcpy(tlb.native(linear), &value, sizeof(T));
        return Status::Next;
    } else {
        return store(cpu, insn, value);
    }
}

// Read-modify-write; see modify_memory() for what `compute` may do.
template <typename T, Place P, typename Compute>
inline Status modify_operand(Vcpu& cpu, const Insn& insn, Compute&& compute) {
    if constexpr (P == Place::Register) {
        write_gpr<T>(cpu, insn.rm, compute(read_gpr<T>(cpu, insn.rm)));
        return Status::Next;
    } else if constexpr (P == Place::Flat) {
        const LinearAddr linear = flat_linear(cpu, insn);
        const DataTlb& tlb = *cpu.mode.data_tlb;
        if (!tlb.hits_write(linear, sizeof(T))) [[unlikely]] {
            return Status::Fault;
        }
        void* cell = tlb.native(linear);
        T value;
        std::memcpy(&value, cell, sizeof(T));
        value = compute(value);
        std::memcpy(cell, &value, sizeof(T));
        return Status::Next;
    } else {
        return modify_memory<T>(cpu, insn, compute);
    }
}

// What a handler returns when an access above did not succeed.
template <typename Handler, typename T, Place P>
inline Status give_up(Vcpu& cpu, const Insn& insn, Status status) {
    if constexpr (P == Place::Flat) {
        return Handler::template exec<T, Place::Memory>(cpu, insn);
    } else {
        return status;
    }
}

// A general-purpose register whose width is the address size or another run-time number of bytes
// (2, 4, 8).
inline u64 size_mask(unsigned bytes) {
    return ~u64{0} >> (64 - 8 * bytes);
}
inline void write_gpr_masked(Vcpu& cpu, unsigned number, unsigned bytes, u64 value) {
    if (bytes == 2) {
        write_gpr<u16>(cpu, number, static_cast<u16>(value));
    } else {
        cpu.state.gpr[number] = value & size_mask(bytes);
    }
}

// --- the stack in 64-bit mode -------------------------------------------------------------------
// SS has no base or limit and RSP is used whole. As with Flat operands, only the TLB hit is inline.

Status push_slow64(Vcpu& cpu, u64 value);  // exec_move_stack.cpp

inline Status push64(Vcpu& cpu, u64 value) {
    const LinearAddr linear = cpu.state.gpr[RSP] - sizeof(u64);
    const DataTlb& tlb = *cpu.mode.data_tlb;
    if (!tlb.hits_write(linear, sizeof(u64))) [[unlikely]] {
        return push_slow64(cpu, value);
    }
    std::memcpy(tlb.native(linear), &value, sizeof(u64));
    cpu.state.gpr[RSP] = linear;
    return Status::Next;
}

// Reads the quadword at RSP without moving it; false on a miss.
inline bool peek64(Vcpu& cpu, u64& value) {
    const LinearAddr linear = cpu.state.gpr[RSP];
    const DataTlb& tlb = *cpu.mode.data_tlb;
    if (!tlb.hits_read(linear, sizeof(u64))) [[unlikely]] {
        return false;
    }
    std::memcpy(&value, tlb.native(linear), sizeof(u64));
    return true;
}

// --- tables of instantiations -------------------------------------------------------------------

// 1, 2, 4, 8 bytes -> 0..3.
inline unsigned width_index(unsigned bytes) {
    return static_cast<unsigned>(std::countr_zero(bytes)) & 3;
}

template <typename Handler>
inline ExecFn by_width_and_place(const Vcpu& cpu, const Insn& insn, unsigned width) {
    static constexpr std::array<std::array<ExecFn, 3>, 4> kTable = {{
        {&Handler::template exec<u8, Place::Register>, &Handler::template exec<u8, Place::Flat>,
         &Handler::template exec<u8, Place::Memory>},
        {&Handler::template exec<u16, Place::Register>, &Handler::template exec<u16, Place::Flat>,
         &Handler::template exec<u16, Place::Memory>},
        {&Handler::template exec<u32, Place::Register>, &Handler::template exec<u32, Place::Flat>,
         &Handler::template exec<u32, Place::Memory>},
        {&Handler::template exec<u64, Place::Register>, &Handler::template exec<u64, Place::Flat>,
         &Handler::template exec<u64, Place::Memory>},
    }};
    return kTable[width_index(width)][static_cast<std::size_t>(place_of(cpu, insn))];
}

// The same for instructions that have no byte form.
template <typename Handler>
inline ExecFn by_word_width_and_place(const Vcpu& cpu, const Insn& insn, unsigned width) {
    static constexpr std::array<std::array<ExecFn, 3>, 3> kTable = {{
        {&Handler::template exec<u16, Place::Register>, &Handler::template exec<u16, Place::Flat>,
         &Handler::template exec<u16, Place::Memory>},
        {&Handler::template exec<u32, Place::Register>, &Handler::template exec<u32, Place::Flat>,
         &Handler::template exec<u32, Place::Memory>},
        {&Handler::template exec<u64, Place::Register>, &Handler::template exec<u64, Place::Flat>,
         &Handler::template exec<u64, Place::Memory>},
    }};
    return kTable[(width_index(width) + 2) % 3][static_cast<std::size_t>(place_of(cpu, insn))];
}

// By place, where the width follows from something else.
template <typename Handler, typename T>
inline ExecFn by_place(const Vcpu& cpu, const Insn& insn) {
    static constexpr std::array<ExecFn, 3> kTable = {
        &Handler::template exec<T, Place::Register>,
        &Handler::template exec<T, Place::Flat>,
        &Handler::template exec<T, Place::Memory>,
    };
    return kTable[static_cast<std::size_t>(place_of(cpu, insn))];
}

// By width alone, for handlers `template <typename T> static Status exec(...)` that test insn.mem()
// themselves.
template <typename Handler>
inline ExecFn by_width(unsigned width) {
    static constexpr std::array<ExecFn, 4> kTable = {
        &Handler::template exec<u8>,
        &Handler::template exec<u16>,
        &Handler::template exec<u32>,
        &Handler::template exec<u64>,
    };
    return kTable[width_index(width)];
}
template <typename Handler>
inline ExecFn by_word_width(unsigned width) {
    static constexpr std::array<ExecFn, 3> kTable = {
        &Handler::template exec<u16>,
        &Handler::template exec<u32>,
        &Handler::template exec<u64>,
    };
    return kTable[(width_index(width) + 2) % 3];
}

// A row's select function for a handler that is the same whatever the operands.
template <ExecFn Fn>
inline ExecFn always(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return Fn;
}

// An operand form that the decoder should not have produced for this Op.
Status exec_undefined(Vcpu& cpu, const Insn& insn);

}  // namespace droste
