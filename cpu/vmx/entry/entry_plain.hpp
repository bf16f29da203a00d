#pragma once
// The short way through the VM-entry checks: what nearly every VM entry finds is that nothing has to
// be checked. See entry_checks.hpp for the memo this belongs to.

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/entry/entry_state_rules.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/state/exception.hpp"

namespace droste {

// RIP and SSP need not be canonical: "bits 63:N must be identical", but "the value of bit N-1 may
// differ from that of bit N", where N is the linear-address width.
inline bool in_reach(u64 address, unsigned linear_bits) {
    return sign_extend(address, linear_bits + 1U) == address;
}

inline bool guest_rip_ok(const Vmcs& v, const ActiveControls& controls, unsigned linear_bits) {
    const bool code_64 = controls.has_entry(vm_entry_control::kIa32eModeGuest) &&
                         (v.guest_cs_access_rights & segment_rights::kL) != 0;
    constexpr u64 kHalf = u64{1} << 47;  // whose neighborhood is in reach on every processor
    return code_64 ? v.guest_rip + kHalf < 2 * kHalf || in_reach(v.guest_rip, linear_bits)
                   : (v.guest_rip >> 32) == 0;
}

// Requires: the guest is active, outside virtual-8086 mode, and no shadow blocks events.
inline bool plainly_injectable(const Vmcs& v) {
    const u32 info = v.entry_interruption_info & ~interruption::kValid;
    const unsigned vector = info & interruption::kVectorMask;
    constexpr u32 kNmi = static_cast<u32>(EventType::NMI) << interruption::kTypeShift |
                         static_cast<u32>(Exception::NMI);
    constexpr u32 kException = static_cast<u32>(EventType::HardwareException)
                               << interruption::kTypeShift;
    if (info == vector) {
        return (v.guest_rflags & rflags::kIf) != 0;  // an external interrupt
    }
    if (info == kNmi) {
        return (v.guest_interruptibility & blocking::kNmi) == 0;
    }
    const u32 code = vector_has_error_code(vector) ? interruption::kErrorCodeValid : 0;
    return info == (kException | code | vector) && vector < 32 && (v.guest_cr0 & cr0::kPe) != 0 &&
           v.entry_exception_error_code >> 16 == 0;
}

// True only if every row on injection, on RIP, RFLAGS and SSP and on non-register state holds: an
// active guest without shadows, pending debug exceptions or loaded CET state, outside virtual-8086
// mode, that is injected an interrupt, an NMI or a hardware exception, or nothing.
inline bool plainly_enterable(const Vmcs& v, const ActiveControls& controls, unsigned linear_bits) {
    constexpr u64 kRflagsPlain = ~rflags::kWritable | rflags::kFixed1 | rflags::kVm;
    return (v.guest_rflags & kRflagsPlain) == rflags::kFixed1 &&
           guest_rip_ok(v, controls, linear_bits) &&
           !controls.has_entry(vm_entry_control::kLoadCetState) &&
           (v.guest_activity_state | (v.guest_interruptibility & ~blocking::kNmi) |
            v.guest_pending_debug) == 0 &&
           ((v.entry_interruption_info & interruption::kValid) == 0 || plainly_injectable(v));
}

// Which groups have to run, of the current VMCS: makes stale what depends on inputs that changed
// since the last VM entry, and fresh what plainly_enterable() answers for.
inline u32 groups_to_check(VmxState& vmx) {
    BoundVmcs& bound = *vmx.current;
    const bool stale_controls = (bound.stale_checks & kStaleControls) != 0;
    const ActiveControls& controls = stale_controls ? bring_up_to_date(bound) : bound.controls;
    const Vmcs& v = bound.fields;
    const u64 flags = (vmx.cpu.state.efer & efer::kLma) | (v.guest_rflags & rflags::kVm);
    const u64 inputs = u64{controls.proc2} | flags << check_input::kFlagsShift;
    if (inputs != bound.check_inputs) [[unlikely]] {
        inputs_changed(bound, inputs);
    }
    if (plainly_enterable(v, controls, vmx.caps.linear_address_bits)) [[likely]] {
        bound.stale_checks &= ~kPlainChecks;
    }
    return bound.stale_checks & kAllChecks;
}

}  // namespace droste
