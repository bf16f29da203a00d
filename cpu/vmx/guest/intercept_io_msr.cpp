// I/O and MSR bitmaps. SDM Vol. 3C, "I/O-Bitmap Addresses", "MSR-Bitmap Address". The bitmaps are
// read where they lie in memory at each access, so L1 may change them while the guest runs.

#include "core/bits.hpp"
#include "cpu/vmx/exit/exit_qualification.hpp"
#include "cpu/vmx/guest/intercepts.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"

namespace droste {

namespace {

bool bitmap_bit(Vcpu& cpu, PhysAddr bitmap, u32 number) {
    return test_bit(read_physical(cpu, bitmap + number / 8, 1), number % 8);
}

bool port_in_bitmaps(VmxState& vmx, u32 port) {
    constexpr u32 kPortsPerBitmap = 0x8000;
    const Vmcs& v = vmx.vmcs();
    return bitmap_bit(vmx.cpu, port < kPortsPerBitmap ? v.io_bitmap_a : v.io_bitmap_b,
                      port % kPortsPerBitmap);
}

bool io_exits(VmxState& vmx, u16 port, unsigned size) {
    const ActiveControls& controls = vmx.guest.controls;
    if (!controls.has(proc::kUseIoBitmaps)) {
        return controls.has(proc::kUnconditionalIoExiting);
    }
    if (u32{port} + size > 0x10000) {
        return true;  // "wraps around": exits whatever the bitmaps say
    }
    for (u32 i = 0; i < size; ++i) {
        if (port_in_bitmaps(vmx, port + i)) {
            return true;
        }
    }
    return false;
}

enum class MsrDirection : u8 { Read, Write };

bool msr_exits(VmxState& vmx, u32 index, MsrDirection direction) {
    constexpr u32 kMsrsPerBitmap = 0x2000, kBitmapBytes = 0x400, kHighFirst = 0xC000'0000;
    if (!vmx.guest.controls.has(proc::kUseMsrBitmaps)) {
        return true;
    }
    PhysAddr bitmap =
        vmx.vmcs().msr_bitmap + (direction == MsrDirection::Write ? 2 * kBitmapBytes : 0);
    if (index >= kHighFirst) {
        bitmap += kBitmapBytes;
        index -= kHighFirst;
    }
    return index >= kMsrsPerBitmap || bitmap_bit(vmx.cpu, bitmap, index);
}

}  // namespace

bool GuestIntercepts::io(Vcpu& cpu,
                         const Insn& insn,
                         u16 port,
                         unsigned size,
                         IoDirection direction,
                         LinearAddr linear) {
    if (!io_exits(vmx_, port, size)) {
        return false;
    }
    ExitInfo info = exit_by_instruction(ExitReason::IO_INSTRUCTION, insn,
                                        io_qualification(insn, port, size, direction));
    if (is_string_io(insn)) {
        info.guest_linear = linear;
        if (vmx_.caps.has(VmxFeature::InsOutsInformation)) {
            info.instruction_info = instruction_information(insn);
        }
        Vmcs& v = vmx_.vmcs();
        v.io_rcx = cpu.state.gpr[RCX];
        v.io_rsi = cpu.state.gpr[RSI];
        v.io_rdi = cpu.state.gpr[RDI];
        v.io_rip = cpu.state.rip();
    }
    vm_exit(vmx_, info);
    return true;
}

bool GuestIntercepts::rdmsr(Vcpu& /*cpu*/, const Insn& insn, u32 index) {
    if (!msr_exits(vmx_, index, MsrDirection::Read)) {
        return false;
    }
    vm_exit(vmx_, exit_by_instruction(ExitReason::RDMSR, insn));
    return true;
}

bool GuestIntercepts::wrmsr(Vcpu& /*cpu*/, const Insn& insn, u32 index, u64 /*value*/) {
    if (!msr_exits(vmx_, index, MsrDirection::Write)) {
        return false;
    }
    vm_exit(vmx_, exit_by_instruction(ExitReason::WRMSR, insn));
    return true;
}

}  // namespace droste
