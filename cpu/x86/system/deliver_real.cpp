// Events in real-address mode, and in virtual-8086 mode when CR4.VME sends INT n to the 8086
// program itself. SDM Vol. 3B, "Interrupt and Exception Handling" of real-address mode; "Class
// 3—Software Interrupt Handling in Virtual-8086 Mode".

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/system/deliver.hpp"
#include "cpu/x86/system/delivery.hpp"
#include "cpu/x86/system/protection.hpp"

namespace droste {

namespace {

struct FarPointer16 {
    u16 offset = 0;
    u16 selector = 0;
};

// Pushes FLAGS, CS, IP and enters the handler.
Status enter_16(Vcpu& cpu,
                const Event& event,
                const FarPointer16& handler,
                u64 flags_image,
                u64 cleared_flags) {
    CpuState& s = cpu.state;
    PendingStack stack(cpu);
    for (const u64 value : {flags_image, u64{s.seg[CS].selector}, return_rip(cpu, event)}) {
        if (const Status status = stack.push(value, 2); status != Status::Next) {
            return status;
        }
    }
    const Segment code = real_mode_segment(s.seg[CS], handler.selector, cpu.mode.virtual8086);
    if (const Status status = check_entry_point(cpu, code, handler.offset);
        status != Status::Next) {
        return status;
    }
    commit_code(cpu, code, 0, handler.offset);
    s.gpr[RSP] = stack.rsp();
    commit_flags(cpu, 0, cleared_flags);
    mode_changed(cpu);
    return Status::Next;
}

}  // namespace

Status deliver_real(Vcpu& cpu, const Event& event) {
    const CpuState& s = cpu.state;
    const u32 entry = u32{event.vector} * 4;
    if (entry + 3 > s.idtr.limit) {
        return raise(cpu, Exception::GP, idt_error(event.vector));
    }
    u32 vector = 0;
    if (const Status status = load_system(cpu, static_cast<u32>(s.idtr.base + entry), vector);
        status != Status::Next) {
        return status;
    }
    const FarPointer16 handler{static_cast<u16>(vector), static_cast<u16>(vector >> 16)};
    return enter_16(cpu, event, handler, s.rflags(),
                    rflags::kIf | rflags::kTf | rflags::kAc | rflags::kRf);
}

// The software interrupt redirection bitmap is the 32 bytes below the I/O permission bitmap.
Status v86_redirection(Vcpu& cpu, u8 vector, V86Redirection& out) {
    const CpuState& s = cpu.state;
    const bool iopl3 = (s.rflags_system & rflags::kIopl) == rflags::kIopl;
    out = iopl3 ? V86Redirection::ProtectedModeHandler : V86Redirection::GeneralProtection;
    if ((s.cr4 & cr4::kVme) == 0) {
        return Status::Next;
    }
    constexpr u32 kIoMapBase = 0x66;
    if (kIoMapBase + 1 > s.tr.limit) {
        return Status::Next;
    }
    u16 io_map = 0;
    if (const Status status = load_system(cpu, static_cast<u32>(s.tr.base + kIoMapBase), io_map);
        status != Status::Next) {
        return status;
    }
    const u32 byte = u32{io_map} - 32 + vector / 8U;
    if (byte > s.tr.limit) {
        return Status::Next;
    }
    u8 bitmap = 0;
    if (const Status status = load_system(cpu, static_cast<u32>(s.tr.base + byte), bitmap);
        status != Status::Next) {
        return status;
    }
    if (!test_bit(bitmap, vector % 8U)) {
        out = V86Redirection::Program8086;
    }
    return Status::Next;
}

Status deliver_to_8086_program(Vcpu& cpu, const Event& event) {
    const u64 flags = cpu.state.rflags();
    u32 vector = 0;
    if (const Status status = load_system(cpu, LinearAddr{event.vector} * 4, vector);
        status != Status::Next) {
        return status;
    }
    const FarPointer16 handler{static_cast<u16>(vector), static_cast<u16>(vector >> 16)};
    if ((flags & rflags::kIopl) == rflags::kIopl) {
        return enter_16(cpu, event, handler, flags, rflags::kIf | rflags::kTf | rflags::kRf);
    }
    // With IOPL < 3 the program sees VIF where IF would be, and IOPL as 3.
    const u64 image =
        (flags & ~rflags::kIf) | rflags::kIopl | ((flags & rflags::kVif) != 0 ? rflags::kIf : 0);
    return enter_16(cpu, event, handler, image, rflags::kVif | rflags::kTf | rflags::kRf);
}

}  // namespace droste
