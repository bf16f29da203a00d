// How the guest reaches its virtual APIC: MOV CR8, the APIC-access page, x2APIC MSRs. SDM Vol. 3C,
// "Virtualizing CR8-Based TPR Accesses", "Virtualizing Memory-Mapped APIC Accesses", "Virtualizing
// MSR-Based APIC Accesses".

#include "core/bits.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/guest/intercepts.hpp"
#include "cpu/vmx/guest/virtual_apic.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"

#include <array>

namespace droste {

namespace {

// Which registers of the page answer a read or accept a write with "APIC-register virtualization".
struct RegisterRange {
    u16 first;  // offsets, 16 bytes apart
    u16 last;
    bool readable;
    bool writable;
};
constexpr auto kRegisterRanges = std::to_array<RegisterRange>({
    {0x020, 0x020, true, true},   // local APIC ID
    {0x030, 0x030, true, false},  // version
    {0x080, 0x080, true, true},   // TPR
    {0x0B0, 0x0B0, true, true},   // EOI
    {0x0D0, 0x0F0, true, true},   // LDR, DFR, spurious vector
    {0x100, 0x270, true, false},  // ISR, TMR, IRR
    {0x280, 0x280, true, true},   // ESR
    {0x300, 0x310, true, true},   // ICR
    {0x320, 0x370, true, true},   // LVT
    {0x380, 0x380, true, true},   // timer initial count
    {0x3E0, 0x3E0, true, true},   // timer divide configuration
});

bool virtualized(const ActiveControls& controls, u32 offset, Access access) {
    const u32 reg = offset & ~u32{0xF};
    if (!controls.has(proc::kTprShadow)) {
        return false;
    }
    if (!controls.has2(proc2::kApicRegisterVirtualization)) {
        const bool interrupts = controls.has2(proc2::kVirtualInterruptDelivery);
        return reg == virtual_apic::kTpr ||
               (interrupts && (reg == virtual_apic::kEoi || reg == virtual_apic::kIcrLow));
    }
    for (const RegisterRange& range : kRegisterRanges) {
        if (reg >= range.first && reg <= range.last) {
            return access == Access::Read ? range.readable : range.writable;
        }
    }
    return false;
}

// An ICR write that only sends a fixed, edge-triggered interrupt to this processor.
bool plain_self_ipi(u32 icr) {
    constexpr u32 kReserved = 0xFFF0'0000 | 3U << 16 | 1U << 13, kSelfShorthand = 1U << 18,
                  kShorthandMask = 3U << 18, kLevel = 1U << 15, kPending = 1U << 12,
                  kDeliveryMode = 7U << 8;
    return (icr & (kReserved | kLevel | kPending | kDeliveryMode)) == 0 &&
           (icr & kShorthandMask) == kSelfShorthand && (icr & 0xF0) != 0;
}

// "APIC-Write Emulation": what follows a write to the page.
void emulate_apic_write(VmxState& vmx, u32 offset) {
    const bool interrupts = vmx.guest.controls.has2(proc2::kVirtualInterruptDelivery);
    switch (offset & ~u32{0xF}) {
    case virtual_apic::kTpr:
        write_virtual_apic(vmx, virtual_apic::kTpr,
                           read_virtual_apic(vmx, virtual_apic::kTpr) & 0xFF);
        virtualize_tpr(vmx);
        return;
    case virtual_apic::kEoi:
        if (interrupts) {
            write_virtual_apic(vmx, virtual_apic::kEoi, 0);
            virtualize_eoi(vmx);
            return;
        }
        break;
    case virtual_apic::kIcrLow: {
        const u32 icr = read_virtual_apic(vmx, virtual_apic::kIcrLow);
        if (interrupts && plain_self_ipi(icr)) {
            virtualize_self_ipi(vmx, static_cast<u8>(icr));
            return;
        }
        break;
    }
    case virtual_apic::kIcrHigh:
        write_virtual_apic(vmx, virtual_apic::kIcrHigh,
                           read_virtual_apic(vmx, virtual_apic::kIcrHigh) & 0xFF00'0000);
        return;
    default: break;
    }
    apic_write_exit(vmx, offset);
}

// "APIC-Access VM Exits": made once the access has unwound.
void apic_access_exit(VmxState& vmx, u32 offset, Access access, Status& status) {
    ApicAccessType type = ApicAccessType::LinearDuringDelivery;
    if (!vmx.guest.delivering) {
        type = access == Access::Write     ? ApicAccessType::LinearWrite
               : access == Access::Execute ? ApicAccessType::LinearFetch
                                           : ApicAccessType::LinearRead;
    }
    ExitInfo info;
    info.reason = ExitReason::APIC_ACCESS;
    info.qualification = offset | (u64{static_cast<u8>(type)} << 12);
    vmx.guest.pending = {PendingExit::Kind::Exit, info};
    vmx.cpu.fault_is_vm_exit = true;
    status = Status::Fault;
}

constexpr u32 kX2apicFirst = 0x800, kX2apicEoi = 0x80B, kX2apicTpr = 0x808, kX2apicSelfIpi = 0x83F;

}  // namespace

bool GuestIntercepts::virtual_tpr_read(Vcpu& /*cpu*/, u64& value) {
    if (!vmx_.guest.controls.has(proc::kTprShadow)) {
        return false;
    }
    value = (read_virtual_apic(vmx_, virtual_apic::kTpr) >> 4) & 0xF;
    return true;
}

bool GuestIntercepts::virtual_tpr_write(Vcpu& cpu, u64 value, Status& status) {
    if (!vmx_.guest.controls.has(proc::kTprShadow)) {
        return false;
    }
    if ((value >> 4) != 0) {
        status = raise(cpu, Exception::GP, 0);
        return true;
    }
    status = Status::Sync;
    write_virtual_apic(vmx_, virtual_apic::kTpr, static_cast<u32>(value << 4));
    virtualize_tpr(vmx_);
    return true;
}

// "Virtualizing x2APIC mode": a read takes 8 bytes of the page; without APIC-register
// virtualization only the TPR's.
bool GuestIntercepts::x2apic_read(Vcpu& /*cpu*/, u32 index, u64& value, Status& status) {
    const ActiveControls& controls = vmx_.guest.controls;
    if (!controls.has2(proc2::kVirtualizeX2apicMode) ||
        (index != kX2apicTpr && !controls.has2(proc2::kApicRegisterVirtualization))) {
        return false;
    }
    const u32 offset = (index - kX2apicFirst) << 4;
    value = read_virtual_apic(vmx_, offset) | (u64{read_virtual_apic(vmx_, offset + 4)} << 32);
    status = Status::Next;
    return true;
}

bool GuestIntercepts::x2apic_write(Vcpu& cpu, u32 index, u64 value, Status& status) {
    const ActiveControls& controls = vmx_.guest.controls;
    const bool interrupts = controls.has2(proc2::kVirtualInterruptDelivery);
    const bool handled =
        index == kX2apicTpr || (interrupts && (index == kX2apicEoi || index == kX2apicSelfIpi));
    if (!controls.has2(proc2::kVirtualizeX2apicMode) || !handled) {
        return false;
    }
    const u64 defined = index == kX2apicEoi ? 0 : 0xFF;
    if ((value & ~defined) != 0) {
        status = raise(cpu, Exception::GP, 0);
        return true;
    }
    status = Status::Next;
    write_virtual_apic(vmx_, (index - kX2apicFirst) << 4, static_cast<u32>(value));
    switch (index) {
    case kX2apicTpr: virtualize_tpr(vmx_); break;
    case kX2apicEoi: virtualize_eoi(vmx_); break;
    default:
        if ((value & 0xF0) != 0) {
            virtualize_self_ipi(vmx_, static_cast<u8>(value));
        } else {
            apic_write_exit(vmx_, (kX2apicSelfIpi - kX2apicFirst) << 4);
        }
        break;
    }
    return true;
}

bool GuestIntercepts::apic_access(
    Vcpu& /*cpu*/, PhysAddr address, unsigned size, Access access, u64& value, Status& status) {
    const auto offset = static_cast<u32>(address % kPageBytes);
    status = Status::Next;
    // Within the low four bytes of a 16-byte register.
    const bool inside_register = size <= 4 && offset % 16 + size <= 4;
    if (vmx_.guest.delivering || access == Access::Execute || !inside_register ||
        !virtualized(vmx_.guest.controls, offset, access)) {
        apic_access_exit(vmx_, offset, access, status);
        return true;
    }
    const u32 reg = offset & ~u32{0xF};
    const unsigned shift = (offset % 16) * 8;
    const u64 mask = bits(~u64{0}, 0, size * 8 - 1);
    const u64 old = read_virtual_apic(vmx_, reg);
    if (access == Access::Read) {
        value = (old >> shift) & mask;
        return true;
    }
    write_virtual_apic(vmx_, reg,
                       static_cast<u32>((old & ~(mask << shift)) | ((value & mask) << shift)));
    emulate_apic_write(vmx_, offset);
    return true;
}

}  // namespace droste
