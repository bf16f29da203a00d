#include "cpu/vmx/guest/apic_virt.hpp"

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "cpu/vmx/guest/virtual_apic.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/deliver.hpp"

#include <bit>

namespace droste {

namespace {

constexpr u32 kSixteenVectors = 0xF0;

u8 rvi(const VmxState& vmx) {
    return static_cast<u8>(vmx.vmcs().guest_interrupt_status);
}
u8 svi(const VmxState& vmx) {
    return static_cast<u8>(vmx.vmcs().guest_interrupt_status >> 8);
}
void set_rvi(VmxState& vmx, u8 vector) {
    u16& status = vmx.vmcs().guest_interrupt_status;
    status = static_cast<u16>((status & 0xFF00) | vector);
}
void set_svi(VmxState& vmx, u8 vector) {
    u16& status = vmx.vmcs().guest_interrupt_status;
    status = static_cast<u16>((status & 0x00FF) | (vector << 8));
}

// A 256-bit register of the virtual-APIC page: eight 32-bit words 16 bytes apart.
void set_vector(VmxState& vmx, u32 base, u8 vector, bool on) {
    const u32 offset = base + (vector / 32U) * 16;
    const u32 mask = 1U << (vector % 32);
    const u32 word = read_virtual_apic(vmx, offset);
    write_virtual_apic(vmx, offset, on ? word | mask : word & ~mask);
}
u8 highest_vector(VmxState& vmx, u32 base) {
    for (int word = 7; word >= 0; --word) {
        const u32 value = read_virtual_apic(vmx, base + static_cast<u32>(word) * 16);
        if (value != 0) {
            return static_cast<u8>(word * 32 + 31 - std::countl_zero(value));
        }
    }
    return 0;
}

// "PPR Virtualization".
void virtualize_ppr(VmxState& vmx) {
    const u32 vtpr = read_virtual_apic(vmx, virtual_apic::kTpr);
    const u32 in_service = svi(vmx);
    const u32 ppr = (vtpr & kSixteenVectors) >= (in_service & kSixteenVectors)
                        ? vtpr & 0xFF
                        : in_service & kSixteenVectors;
    write_virtual_apic(vmx, virtual_apic::kPpr, ppr);
}

bool virtual_interrupt_recognized(VmxState& vmx) {
    return (rvi(vmx) & kSixteenVectors) >
           (read_virtual_apic(vmx, virtual_apic::kPpr) & kSixteenVectors);
}

// "Evaluation of Pending Virtual Interrupts".
void evaluate_pending_virtual_interrupts(VmxState& vmx) {
    const bool window_wanted = vmx.guest.controls.has(proc::kInterruptWindowExiting);
    if (window_wanted) {
        return;
    }
    if (virtual_interrupt_recognized(vmx)) {
        vmx.cpu.request(attention::kInterruptWindow);
    } else {
        vmx.cpu.withdraw(attention::kInterruptWindow);
    }
}

// A trap-like exit: made at the boundary after the instruction that caused it.
void trap(VmxState& vmx, ExitReason reason, u64 qualification) {
    vmx.guest.trap = ExitInfo{};
    vmx.guest.trap.reason = reason;
    vmx.guest.trap.qualification = qualification;
    vmx.guest.trap_pending = true;
    vmx.cpu.request(attention::kVmx);
    vmx.cpu.leave_block(leave::kTrap);
}

bool tpr_below_threshold(VmxState& vmx) {
    return (read_virtual_apic(vmx, virtual_apic::kTpr) >> 4 & 0xF) <
           (vmx.vmcs().tpr_threshold & 0xF);
}

}  // namespace

u32 read_virtual_apic(VmxState& vmx, u32 offset) {
    return static_cast<u32>(read_physical(vmx.cpu, vmx.vmcs().virtual_apic_address + offset, 4));
}

void write_virtual_apic(VmxState& vmx, u32 offset, u32 value) {
    write_physical(vmx.cpu, vmx.vmcs().virtual_apic_address + offset, 4, value);
}

// "TPR Virtualization".
void virtualize_tpr(VmxState& vmx) {
    if (!vmx.guest.controls.has2(proc2::kVirtualInterruptDelivery)) {
        if (tpr_below_threshold(vmx)) {
            trap(vmx, ExitReason::TPR_BELOW_THRESHOLD, 0);
        }
        return;
    }
    virtualize_ppr(vmx);
    evaluate_pending_virtual_interrupts(vmx);
}

// "EOI Virtualization".
void virtualize_eoi(VmxState& vmx) {
    const u8 vector = svi(vmx);
    set_vector(vmx, virtual_apic::kIsr, vector, false);
    set_svi(vmx, highest_vector(vmx, virtual_apic::kIsr));
    virtualize_ppr(vmx);
    const Vmcs& v = vmx.vmcs();
    const std::array<u64, 4> exits = {v.eoi_exit_bitmap_0, v.eoi_exit_bitmap_1, v.eoi_exit_bitmap_2,
                                      v.eoi_exit_bitmap_3};
    if (test_bit(exits[vector / 64U], vector % 64U)) {
        trap(vmx, ExitReason::VIRTUALIZED_EOI, vector);
    } else {
        evaluate_pending_virtual_interrupts(vmx);
    }
}

// "Self-IPI Virtualization".
void virtualize_self_ipi(VmxState& vmx, u8 vector) {
    set_vector(vmx, virtual_apic::kIrr, vector, true);
    if (vector > rvi(vmx)) {
        set_rvi(vmx, vector);
    }
    evaluate_pending_virtual_interrupts(vmx);
}

void apic_write_exit(VmxState& vmx, u32 offset) {
    trap(vmx, ExitReason::APIC_WRITE, offset);
}

void evaluate_apic_after_entry(VmxState& vmx) {
    const ActiveControls& controls = vmx.guest.controls;
    if (!controls.has(proc::kTprShadow)) {
        return;
    }
    if (controls.has2(proc2::kVirtualInterruptDelivery)) {
        virtualize_ppr(vmx);
        evaluate_pending_virtual_interrupts(vmx);
    } else if (controls.has2(proc2::kVirtualizeApicAccesses) && tpr_below_threshold(vmx)) {
        trap(vmx, ExitReason::TPR_BELOW_THRESHOLD, 0);
    }
}

bool deliver_virtual_interrupt(VmxState& vmx) {
    if (!vmx.guest.controls.has2(proc2::kVirtualInterruptDelivery) ||
        !virtual_interrupt_recognized(vmx)) {
        return false;
    }
    const u8 vector = rvi(vmx);
    set_vector(vmx, virtual_apic::kIsr, vector, true);
    set_svi(vmx, vector);
    write_virtual_apic(vmx, virtual_apic::kPpr, vector & kSixteenVectors);
    set_vector(vmx, virtual_apic::kIrr, vector, false);
    set_rvi(vmx, highest_vector(vmx, virtual_apic::kIrr));
    vmx.cpu.withdraw(attention::kInterruptWindow);
    Event event;
    event.type = EventType::ExternalInterrupt;
    event.vector = vector;
    deliver(vmx.cpu, event);
    return true;
}

namespace {

// Clears `bits` of the 64-bit word at `address` in one locked step; returns what was there. 0 if it
// is not RAM.
u64 take_bits(GuestMemory& memory, PhysAddr address, u64 bits) {
    u64 seen = 0;
    for (u64 desired = 0;; desired = seen & ~bits) {
        switch (memory.compare_exchange(address, seen, desired)) {
        case Exchange::Done: return seen;
        case Exchange::Changed: break;
        case Exchange::NotRam: return 0;
        }
    }
}

}  // namespace

// Other agents post with locked operations; so do we take.
void process_posted_interrupts(VmxState& vmx) {
    Vcpu& cpu = vmx.cpu;
    const PhysAddr descriptor = vmx.vmcs().posted_interrupt_descriptor;
    if (cpu.memory.lookup(descriptor & kPageMask).kind != PageKind::Ram) {
        return;
    }
    constexpr unsigned kControlWord = 4;
    constexpr u64 kOutstandingNotification = 1;
    (void)take_bits(cpu.memory, descriptor + kControlWord * 8, kOutstandingNotification);
    u8 highest = rvi(vmx);
    for (unsigned i = 0; i < 4; ++i) {
        const u64 posted = take_bits(cpu.memory, descriptor + i * 8, ~u64{0});
        if (posted == 0) {
            continue;
        }
        for (unsigned half = 0; half < 2; ++half) {
            const u32 offset = virtual_apic::kIrr + (i * 2 + half) * 16;
            write_virtual_apic(vmx, offset,
                               read_virtual_apic(vmx, offset) |
                                   static_cast<u32>(posted >> (half * 32)));
        }
        highest =
            std::max(highest, static_cast<u8>(i * 64 + 63 -
                                              static_cast<unsigned>(std::countl_zero(posted))));
    }
    set_rvi(vmx, highest);
    evaluate_pending_virtual_interrupts(vmx);
}

}  // namespace droste
