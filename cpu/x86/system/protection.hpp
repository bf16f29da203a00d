#pragma once
// What segment loads, far transfers, task switches and event delivery have in common: selectors,
// descriptor checks, and stacks that are written to before they become the current one.
//
// Everything here follows compute-then-commit. A far transfer reads and checks descriptors into
// local Descriptor/Segment values, pushes through a PendingStack (bytes below the new stack pointer
// belong to nobody, so a transfer that faults half-way has changed nothing), and assigns registers
// at the very end.

#include "core/bits.hpp"
#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// Types of system descriptors. SDM Vol. 3A, Table "System-Segment and Gate-Descriptor Types".
namespace system_type {
inline constexpr unsigned kTss16Available = 1, kLdt = 2, kTss16Busy = 3, kCallGate16 = 4,
                          kTaskGate = 5, kInterruptGate16 = 6, kTrapGate16 = 7, kTss32Available = 9,
                          kTss32Busy = 11, kCallGate32 = 12, kInterruptGate32 = 14,
                          kTrapGate32 = 15;
inline constexpr unsigned kBusyBit = 2;
}  // namespace system_type

inline bool ia32e_mode(const Vcpu& cpu) {
    return (cpu.state.efer & efer::kLma) != 0;
}
// Where a system structure lies. The bases of GDT, LDT, IDT and TSS have 64 bits in IA-32e mode, in
// compatibility mode too: CS.L bounds what a program can name, not where the processor looks.
// SDM Vol. 3A, "System Descriptor Types", "Task Management in 64-bit Mode".
inline LinearAddr system_linear(const Vcpu& cpu, u64 linear) {
    return ia32e_mode(cpu) ? linear : static_cast<u32>(linear);
}

// --- selectors ----------------------------------------------------------------------------------

constexpr unsigned rpl_of(u16 selector) {
    return selector & 3U;
}
constexpr bool null_selector(u16 selector) {
    return (selector & ~3U) == 0;
}
constexpr bool names_ldt(u16 selector) {
    return (selector & 4U) != 0;
}
constexpr u16 with_rpl(u16 selector, unsigned rpl) {
    return static_cast<u16>((selector & ~3U) | rpl);
}
// The error code for a fault about `selector`: EXT (bit 0) is set by the delivery code.
constexpr u32 selector_error(u16 selector) {
    return selector & 0xFFFCU;
}

// --- descriptors --------------------------------------------------------------------------------

// A call, interrupt, trap or task gate as fields. SDM Vol. 3A, "Call Gates", "IDT Descriptors".
struct Gate {
    Descriptor descriptor;

    u16 selector() const { return static_cast<u16>(descriptor.raw >> 16); }
    u64 offset16() const { return descriptor.raw & 0xFFFF; }
    u64 offset32() const {
        return (descriptor.raw & 0xFFFF) | ((descriptor.raw >> 32) & 0xFFFF0000);
    }
    u64 offset64() const { return offset32() | (descriptor.raw_high << 32); }
    unsigned parameter_count() const { return static_cast<unsigned>(descriptor.raw >> 32) & 0x1F; }
    unsigned ist() const { return static_cast<unsigned>(descriptor.raw >> 32) & 7; }
};

// A code segment's L and D/B bits.
inline bool is_64bit_code(const Descriptor& d) {
    return test_bit(d.raw, 53);
}
inline bool is_32bit_default(const Descriptor& d) {
    return test_bit(d.raw, 54);
}
inline bool is_code(const Descriptor& d) {
    return !d.system() && (d.type() & segment_rights::kTypeCode) != 0;
}
inline bool is_conforming(const Descriptor& d) {
    return (d.type() & segment_rights::kTypeConforming) != 0;
}
inline bool is_writable_data(const Descriptor& d) {
    return !d.system() &&
           (d.type() & (segment_rights::kTypeCode | segment_rights::kTypeWritable)) ==
               segment_rights::kTypeWritable;
}
inline bool is_data_or_readable_code(const Descriptor& d) {
    return !d.system() && ((d.type() & segment_rights::kTypeCode) == 0 ||
                           (d.type() & segment_rights::kTypeReadable) != 0);
}
inline bool is_data_or_nonconforming_code(const Segment& s) {
    return (s.type() & segment_rights::kTypeCode) == 0 ||
           (s.type() & segment_rights::kTypeConforming) == 0;
}
// TSS descriptor types that may be switched to / are current. In IA-32e mode only the 64-bit TSS (9
// / 11) exists.
bool is_available_tss(const Vcpu& cpu, const Descriptor& d);
bool is_busy_tss(const Vcpu& cpu, const Descriptor& d);

// read_descriptor() for LAR, LSL, VERR and VERW: a selector beyond its table is `found` = false and
// no fault.
Status find_descriptor(Vcpu& cpu, u16 selector, Descriptor& out, bool& found);
// Linear address of the descriptor `selector` names. Requires: read_descriptor() accepted it.
LinearAddr descriptor_address(const Vcpu& cpu, u16 selector);
// Sets the accessed bit in memory and in `d`, if it is clear.
Status set_accessed(Vcpu& cpu, u16 selector, Descriptor& d);
// Sets or clears the busy bit of a TSS descriptor in memory.
Status set_tss_busy(Vcpu& cpu, u16 selector, bool busy);

// The register image of a loaded code, data or stack descriptor, of a system descriptor (LDT, TSS),
// of a null selector.
Segment segment_from(u16 selector, const Descriptor& d);
Segment system_segment_from(u16 selector, const Descriptor& d);
Segment null_segment(u16 selector, unsigned dpl = 0);
// Flat segments that SYSCALL, SYSENTER and their returns load without reading a descriptor.
enum class FlatCode : u8 { Bits32, Bits64 };
Segment flat_code_segment(u16 selector, unsigned dpl, FlatCode size);
Segment flat_stack_segment(u16 selector, unsigned dpl);
// What a load in real-address or virtual-8086 mode makes of `old`.
Segment real_mode_segment(const Segment& old, u16 selector, bool virtual8086);

// --- shared checks ------------------------------------------------------------------------------

// Checks and reads a stack segment for privilege level `cpl`: limit, RPL, DPL, writable ->
// `vector`(selector); not present
// -> #SS(selector). The caller has dealt with null selectors. Marks it accessed.
Status load_stack_descriptor(Vcpu& cpu, u16 selector, unsigned cpl, Exception vector, Segment& out);
// DS, ES, FS, GS: limit, type, privilege against `cpl` -> `vector`(selector); not present ->
// #NP(selector). Null is allowed.
Status load_data_descriptor(Vcpu& cpu, u16 selector, unsigned cpl, Exception vector, Segment& out);
// "L bit and D bit both set" in IA-32e mode, and presence: #GP(selector), #NP(selector).
Status check_code_mode_and_presence(Vcpu& cpu, u16 selector, const Descriptor& d);
// Is `offset` a legal RIP in `code`? #GP(0) if beyond the limit or, in a 64-bit segment, not
// canonical.
Status check_entry_point(Vcpu& cpu, const Segment& code, u64 offset);
// Does an access of `bytes` at `offset` lie within the limit of `s` (expand-down understood)?
bool within_segment(const Segment& s, u64 offset, unsigned bytes);

// --- stacks -------------------------------------------------------------------------------------

// The stack for privilege level `level` from the current TSS. SDM Vol. 3A, "Stack Switching":
// #TS(TR), #TS(SS), #SS(SS).
struct InnerStack {
    Segment ss;
    u64 rsp = 0;
};
Status inner_stack(Vcpu& cpu, unsigned level, InnerStack& out);
// IA-32e mode: the RSP at `offset` of the 64-bit TSS (RSPn, ISTn), with a null SS of that privilege
// level.
Status inner_stack_ia32e(Vcpu& cpu, unsigned offset, unsigned level, InnerStack& out);
inline constexpr unsigned rsp_slot(unsigned level) {
    return 4 + 8 * level;
}
inline constexpr unsigned ist_slot(unsigned ist) {
    return 0x1C + 8 * ist;
}

// A stack that pushes go to before RSP (and perhaps SS) changes.
class PendingStack {
  public:
    // The current stack.
    explicit PendingStack(Vcpu& cpu);
    // Another stack, entered at a privilege level below 3 (supervisor accesses) or the current one.
    // `wide`: offsets are 64 bits and limits are not checked. A limit or canonical violation raises
    // #SS(error_code).
    PendingStack(Vcpu& cpu, const Segment& ss, u64 rsp, bool wide, bool supervisor, u32 error_code);

    Status push(u64 value, unsigned bytes);
    // RSP after the pushes.
    u64 rsp() const { return rsp_; }

  private:
    Vcpu& cpu_;
    const Segment ss_;
    u64 rsp_;
    u64 mask_;
    bool wide_;
    bool supervisor_;
    u32 error_code_;
};

// Reads `bytes` (2, 4, 8) at SS:(E/R)SP + displacement of the current stack.
Status peek_sized(Vcpu& cpu, unsigned bytes, u64 displacement, u64& out);

// RSP as a transfer to another stack sets it: with a 16-bit stack only SP changes.
u64 loaded_stack_pointer(u64 old_rsp, const Segment& ss, bool wide, u64 value);

// --- commits ------------------------------------------------------------------------------------

// CS:RIP after a far transfer; `cpl` becomes the selector's RPL. mode_changed() is the caller's
// last step.
void commit_code(Vcpu& cpu, Segment code, unsigned cpl, u64 rip);
// Sets every RFLAGS bit of `mask` as in `value`.
void commit_flags(Vcpu& cpu, u64 value, u64 mask);
// After a return to an outer level: DS, ES, FS, GS that the new CPL may not use become null.
void drop_inner_data_segments(Vcpu& cpu);

}  // namespace droste
