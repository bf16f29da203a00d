#pragma once
// How instructions reach memory: effective address -> segment check -> TLB tag compare -> native
// load or store.
//
// The inline part is the hit path; everything else (miss, page crossing, MMIO, alignment check,
// watchpoint, page that holds code, non-canonical address) goes through mem_slow.cpp. All functions
// follow compute-then-commit: on Status::Fault nothing was written and cpu.fault is set (or
// fault_is_vm_exit). "System" accesses (descriptor tables, TSS, IDT) are supervisor accesses
// whatever the CPL.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/vcpu.hpp"

#include <cstring>
#include <type_traits>

namespace droste {

// Bits of Segment::checks (derived by refresh_segment_checks).
// readable, expand-up, usable: in bounds iff last byte <= limit
inline constexpr u16 kSegReadUp = 1U << 0;
inline constexpr u16 kSegWriteUp = 1U << 1;  // writable likewise

// Slow paths; `bytes` 1..64. `seg` picks #SS or #GP for non-canonical addresses.
Status load_slow(Vcpu& cpu, LinearAddr linear, void* out, unsigned bytes, SegReg seg);
Status store_slow(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes, SegReg seg);
Status load_system_slow(Vcpu& cpu, LinearAddr linear, void* out, unsigned bytes);
Status store_system_slow(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes);
// Faults exactly as a write of `bytes` would, without writing.
Status probe_store(Vcpu& cpu, LinearAddr linear, unsigned bytes, SegReg seg);
Status probe_load(Vcpu& cpu, LinearAddr linear, unsigned bytes, SegReg seg);
// Shadow-stack accesses by user or supervisor (cet.hpp); `bytes` 4 or 8. The probe is of a write.
Status load_shadow_stack(Vcpu& cpu, LinearAddr linear, void* out, unsigned bytes, bool user);
Status
store_shadow_stack(Vcpu& cpu, LinearAddr linear, const void* data, unsigned bytes, bool user);
Status probe_shadow_stack(Vcpu& cpu, LinearAddr linear, unsigned bytes, bool user);
// Legacy-mode segment checks that the fast test below could not pass: limit, type, null,
// expand-down.
Status segment_access_slow(
    Vcpu& cpu, SegReg seg, u64 offset, unsigned bytes, bool write, LinearAddr& linear);

// A native pointer for `bytes` at `linear` if they lie in one RAM page and a write (or read) there
// needs nothing special; else nullptr (no fault raised, nothing filled). Bulk string operations use
// it after one probe.
u8* native_pointer_if_plain(Vcpu& cpu, LinearAddr linear, bool write);

template <typename T>
inline Status load_linear(Vcpu& cpu, LinearAddr linear, T& out, SegReg seg = DS) {
    static_assert(std::is_trivially_copyable_v<T>);
    const DataTlb& tlb = *cpu.mode.data_tlb;
    if (tlb.hits_read(linear, sizeof(T))) [[likely]] {
        std::memcpy(&out, tlb.native(linear), sizeof(T));
        return Status::Next;
    }
    return load_slow(cpu, linear, &out, sizeof(T), seg);
}

template <typename T>
inline Status store_linear(Vcpu& cpu, LinearAddr linear, const T& value, SegReg seg = DS) {
    static_assert(std::is_trivially_copyable_v<T>);
    const DataTlb& tlb = *cpu.mode.data_tlb;
    if (tlb.hits_write(linear, sizeof(T))) [[likely]] {
        std::memcpy(tlb.native(linear), &value, sizeof(T));
        return Status::Next;
    }
    return store_slow(cpu, linear, &value, sizeof(T), seg);
}

template <typename T>
inline Status load_system(Vcpu& cpu, LinearAddr linear, T& out) {
    return load_system_slow(cpu, linear, &out, sizeof(T));
}
template <typename T>
inline Status store_system(Vcpu& cpu, LinearAddr linear, const T& value) {
    return store_system_slow(cpu, linear, &value, sizeof(T));
}

// Offset of the memory operand within its segment, truncated to the address size.
inline u64 effective_offset(const Vcpu& cpu, const Insn& insn) {
    const u64 offset = cpu.state.gpr[insn.base] + (cpu.state.gpr[insn.index] << insn.scale) +
                       static_cast<u64>(insn.disp);
    if (insn.addrsize == 8) [[likely]] {
        return offset;
    }
    return insn.addrsize == 4 ? static_cast<u32>(offset) : static_cast<u16>(offset);
}

// Segment checks for an access of `bytes` at seg:offset, yielding the linear address.
inline Status
linear_address(Vcpu& cpu, SegReg seg, u64 offset, unsigned bytes, bool write, LinearAddr& linear) {
    if (cpu.mode.long_mode64) [[likely]] {
        linear = seg >= FS ? offset + cpu.state.seg[seg].base : offset;
        return Status::Next;  // canonicality: a non-canonical page never has a tag, the slow path
                              // decides
    }
    const Segment& s = cpu.state.seg[seg];
    if ((s.checks & (write ? kSegWriteUp : kSegReadUp)) != 0 && offset + bytes - 1 <= s.limit)
        [[likely]] {
        linear = static_cast<u32>(s.base + offset);
        return Status::Next;
    }
    return segment_access_slow(cpu, seg, offset, bytes, write, linear);
}

// The memory operand of `insn`.
template <typename T>
inline Status load(Vcpu& cpu, const Insn& insn, T& out) {
    LinearAddr linear = 0;
    const auto seg = static_cast<SegReg>(insn.seg);
    if (const Status status =
            linear_address(cpu, seg, effective_offset(cpu, insn), sizeof(T), false, linear);
        status != Status::Next) [[unlikely]] {
        return status;
    }
    return load_linear(cpu, linear, out, seg);
}
template <typename T>
inline Status store(Vcpu& cpu, const Insn& insn, const T& value) {
    LinearAddr linear = 0;
    const auto seg = static_cast<SegReg>(insn.seg);
    if (const Status status =
            linear_address(cpu, seg, effective_offset(cpu, insn), sizeof(T), true, linear);
        status != Status::Next) [[unlikely]] {
        return status;
    }
    return store_linear(cpu, linear, value, seg);
}

// --- registers ----------------------------------------------------------------------------------

// Byte registers AH CH DH BH are numbers 20..23.
template <typename T>
inline T read_gpr(const Vcpu& cpu, unsigned number) {
    if constexpr (sizeof(T) == 1) {
        return number < 16 ? static_cast<T>(cpu.state.gpr[number])
                           : static_cast<T>(cpu.state.gpr[number - 20] >> 8);
    } else {
        return static_cast<T>(cpu.state.gpr[number]);
    }
}
// 32-bit writes zero bits 63:32; 8- and 16-bit writes keep the rest.
template <typename T>
inline void write_gpr(Vcpu& cpu, unsigned number, T value) {
    if constexpr (sizeof(T) >= 4) {
        cpu.state.gpr[number] = static_cast<std::make_unsigned_t<T>>(value);
    } else if constexpr (sizeof(T) == 2) {
        u64& slot = cpu.state.gpr[number];
        slot = (slot & ~u64{0xFFFF}) | static_cast<u16>(value);
    } else if (number < 16) {
        u64& slot = cpu.state.gpr[number];
        slot = (slot & ~u64{0xFF}) | static_cast<u8>(value);
    } else {
        u64& slot = cpu.state.gpr[number - 20];
        slot = (slot & ~u64{0xFF00}) | (static_cast<u64>(static_cast<u8>(value)) << 8);
    }
}
// By run-time width in bytes (1, 2, 4, 8), for instructions that are not hot.
u64 read_gpr_sized(const Vcpu& cpu, unsigned number, unsigned bytes);
void write_gpr_sized(Vcpu& cpu, unsigned number, unsigned bytes, u64 value);

// E: register or memory.
template <typename T>
inline Status read_e(Vcpu& cpu, const Insn& insn, T& out) {
    if (insn.mem()) {
        return load(cpu, insn, out);
    }
    out = read_gpr<T>(cpu, insn.rm);
    return Status::Next;
}
template <typename T>
inline Status write_e(Vcpu& cpu, const Insn& insn, T value) {
    if (insn.mem()) {
        return store(cpu, insn, value);
    }
    write_gpr<T>(cpu, insn.rm, value);
    return Status::Next;
}

// Read-modify-write of E. `compute(old)` returns the new value and may write locals it captured; it
// runs once per attempt (a LOCKed RAM access is a compare-exchange loop), so it must not change
// guest state. The caller commits flags after Status::Next. A faulting write faults before
// compute() matters. `locked`: the access is a locked one (LOCK prefix, or XCHG with memory).
template <typename T, typename Compute>
inline Status
modify_linear(Vcpu& cpu, LinearAddr linear, SegReg seg, bool locked, Compute&& compute) {
    const DataTlb& tlb = *cpu.mode.data_tlb;
    if (tlb.hits_write(linear, sizeof(T))) [[likely]] {
        void* native = tlb.native(linear);
        T old;
        std::memcpy(&old, native, sizeof(T));
        if (locked && linear % sizeof(T) == 0) {
            T* cell = static_cast<T*>(native);
            T desired = compute(old);
            while (!__atomic_compare_exchange(cell, &old, &desired, false, __ATOMIC_SEQ_CST,
                                              __ATOMIC_SEQ_CST)) {
                desired = compute(old);
            }
            return Status::Next;
        }
        if (locked) [[unlikely]] {
            stop_other_vcpus(cpu);
            std::memcpy(&old, native, sizeof(T));
        }
        const T desired = compute(old);
        std::memcpy(native, &desired, sizeof(T));
        return Status::Next;
    }
    if (locked) {
        stop_other_vcpus(cpu);
    }
    T old;
    if (const Status status = probe_store(cpu, linear, sizeof(T), seg); status != Status::Next) {
        return status;
    }
    if (const Status status = load_slow(cpu, linear, &old, sizeof(T), seg);
        status != Status::Next) {
        return status;
    }
    const T desired = compute(old);
    return store_slow(cpu, linear, &desired, sizeof(T), seg);
}
template <typename T, typename Compute>
inline Status modify_memory(Vcpu& cpu, const Insn& insn, Compute&& compute) {
    LinearAddr linear = 0;
    const auto seg = static_cast<SegReg>(insn.seg);
    if (const Status status =
            linear_address(cpu, seg, effective_offset(cpu, insn), sizeof(T), true, linear);
        status != Status::Next) [[unlikely]] {
        return status;
    }
    return modify_linear<T>(cpu, linear, seg, insn.lock(), compute);
}
template <typename T, typename Compute>
inline Status modify_e(Vcpu& cpu, const Insn& insn, Compute&& compute) {
    if (insn.mem()) {
        return modify_memory<T>(cpu, insn, compute);
    }
    write_gpr<T>(cpu, insn.rm, compute(read_gpr<T>(cpu, insn.rm)));
    return Status::Next;
}

// --- stack --------------------------------------------------------------------------------------

// Implicit stack pointer arithmetic by SS.B / 64-bit mode; bits outside the mask are kept.
inline u64 stack_offset(const Vcpu& cpu, u64 rsp) {
    return rsp & cpu.mode.stack_mask;
}
inline u64 with_stack_offset(const Vcpu& cpu, u64 rsp, u64 offset) {
    return (rsp & ~cpu.mode.stack_mask) | (offset & cpu.mode.stack_mask);
}

// Pushes T (2, 4 or 8 bytes); RSP changes only if the store succeeded.
template <typename T>
inline Status push(Vcpu& cpu, T value) {
    const u64 rsp = cpu.state.gpr[RSP];
    const u64 offset = stack_offset(cpu, rsp - sizeof(T));
    LinearAddr linear = 0;
    if (const Status status = linear_address(cpu, SS, offset, sizeof(T), true, linear);
        status != Status::Next) [[unlikely]] {
        return status;
    }
    if (const Status status = store_linear(cpu, linear, value, SS); status != Status::Next)
        [[unlikely]] {
        return status;
    }
    cpu.state.gpr[RSP] = with_stack_offset(cpu, rsp, offset);
    return Status::Next;
}
// Reads the T at SS:(E/R)SP + displacement without moving RSP.
template <typename T>
inline Status peek(Vcpu& cpu, T& out, u64 displacement = 0) {
    LinearAddr linear = 0;
    const u64 offset = stack_offset(cpu, cpu.state.gpr[RSP] + displacement);
    if (const Status status = linear_address(cpu, SS, offset, sizeof(T), false, linear);
        status != Status::Next) [[unlikely]] {
        return status;
    }
    return load_linear(cpu, linear, out, SS);
}
// Adds `bytes` to RSP as a pop does.
inline void release_stack(Vcpu& cpu, u64 bytes) {
    const u64 rsp = cpu.state.gpr[RSP];
    cpu.state.gpr[RSP] = with_stack_offset(cpu, rsp, rsp + bytes);
}

}  // namespace droste
