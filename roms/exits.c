// The VM exits this level answers itself: those of its child, and those of its grandchild that the child
// did not ask for. Either way the current VMCS is the one that exited.
#include "vmx.h"

enum {
    kIoSizeMask = 7,
    kIoIn = 1 << 3,
    kIoString = 1 << 4,
    kIoRep = 1 << 5,
    kGeneralProtection = 13,
};

static u32 wanted_vector;  // the child asked for it and could not take it yet; 0: none

void skip_instruction(void) {
    vmcs_write(GUEST_RIP, vmcs_read(GUEST_RIP) + vmcs_read(EXIT_INSTRUCTION_LENGTH));
    const u64 interruptibility = vmcs_read(GUEST_INTERRUPTIBILITY);
    if ((interruptibility & (kBlockedBySti | kBlockedByMovSs)) != 0) {
        vmcs_write(GUEST_INTERRUPTIBILITY, interruptibility & ~(u64)(kBlockedBySti | kBlockedByMovSs));
    }
}

void inject_exception(u32 vector, bool with_error_code) {
    vmcs_write(ENTRY_INTERRUPTION_INFO,
               EVENT_VALID | kEventException | vector | (with_error_code ? EVENT_ERROR_CODE : 0));
    if (with_error_code) {
        vmcs_write(ENTRY_EXCEPTION_ERROR, 0);
    }
}

// SDM Vol. 3C, "Information for VM Exits That Occur During Event Delivery": the event isn't lost.
void reinject_vectored_event(void) {
    const u64 info = vmcs_read(IDT_VECTORING_INFO);
    if ((info & EVENT_VALID) == 0) {
        return;
    }
    vmcs_write(ENTRY_INTERRUPTION_INFO, info & ~0x1000ULL);  // bit 12 is undefined here, reserved there
    if ((info & EVENT_ERROR_CODE) != 0) {
        vmcs_write(ENTRY_EXCEPTION_ERROR, vmcs_read(IDT_VECTORING_ERROR));
    }
    vmcs_write(ENTRY_INSTRUCTION_LENGTH, vmcs_read(EXIT_INSTRUCTION_LENGTH));
}

static void inject_interrupt(u32 vector) {
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT_VALID | kEventExternal | vector);
    ++child_report.injected;
}

static void set_interrupt_window_exiting(bool on) {
    const u64 controls = vmcs_read(PROC_CONTROLS) & ~(u64)kProcInterruptWindow;
    vmcs_write(PROC_CONTROLS, controls | (on ? kProcInterruptWindow : 0));
}

static Next on_interrupt_window(void) {
    ++child_report.windows;
    set_interrupt_window_exiting(false);
    inject_interrupt(wanted_vector);
    wanted_vector = 0;
    return Resume;
}

static void request_interrupt(u32 vector) {
    const bool open = (vmcs_read(GUEST_RFLAGS) & RFLAGS_IF) != 0 &&
                      (vmcs_read(GUEST_INTERRUPTIBILITY) & (kBlockedBySti | kBlockedByMovSs)) == 0;
    if (open) {
        inject_interrupt(vector);
    } else {
        wanted_vector = vector;
        set_interrupt_window_exiting(true);
    }
}

// A child that halts waits for its timer, and that is us.
static Next on_hlt(void) {
    if ((vmcs_read(GUEST_RFLAGS) & RFLAGS_IF) == 0) {
        fatal("the guest halted with interrupts disabled at %x", vmcs_read(GUEST_RIP));
    }
    skip_instruction();
    inject_interrupt(kTimerVector);
    return Resume;
}

// ---- Instructions with a value -------------------------------------------------------------------------------
static Next on_cpuid(void) {
    enum { kHypervisorLeaves = 0x40000000 };
    ++child_report.cpuid_exits;
    const u32 leaf = (u32)guest_registers[kRax];
    struct Cpuid out;
    if (leaf == CPUID_SIGNATURE) {
        out = (struct Cpuid){CPUID_LEVEL, 0x736F7244, 0x654C6574, 0x736C6576};  // "DrosteLevels"
    } else if (leaf == CPUID_LEVEL) {
        out = (struct Cpuid){level.number, level.plain ? 0 : kFeatureEnlightenedVmcs, (u32)level.image_checksum,
                             (u32)(level.image_checksum >> 32)};
    } else {
        out = cpuid(leaf, (u32)guest_registers[kRcx]);
    }
    guest_registers[kRax] = out.eax;
    guest_registers[kRbx] = out.ebx;
    guest_registers[kRcx] = out.ecx;
    guest_registers[kRdx] = out.edx;
    skip_instruction();
    return Resume;
}

static Next on_rdmsr(void) {
    u64 value;
    if (offered_msr((u32)guest_registers[kRcx], &value)) {
        guest_registers[kRax] = (u32)value;
        guest_registers[kRdx] = value >> 32;
        skip_instruction();
    } else {
        ++child_report.denied_msrs;
        inject_exception(kGeneralProtection, true);
    }
    return Resume;
}

static Next on_wrmsr(void) {
    ++child_report.denied_msrs;  // the ones a child may write don't exit
    inject_exception(kGeneralProtection, true);
    return Resume;
}

static Next on_cr_access(void) {
    const u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    const u32 number = qualification & 15;
    const u32 kind = qualification >> 4 & 3;
    if (number != 4 || kind != 0) {
        fatal("unexpected control register access, qualification %x", qualification);
    }
    const u32 reg = qualification >> 8 & 15;
    const u64 value = reg == kRsp ? vmcs_read(GUEST_RSP) : guest_registers[reg];
    if (((value | CR4_VMXE) & ~own_capabilities.cr_fixed[3]) != 0 ||
        ((value & CR4_VMXE) == 0 && child_in_vmx_operation())) {
        inject_exception(kGeneralProtection, true);
        return Resume;
    }
    vmcs_write(GUEST_CR4, value | CR4_VMXE);
    vmcs_write(CR4_READ_SHADOW, value);
    skip_instruction();
    return Resume;
}

// ---- I/O -----------------------------------------------------------------------------------------------------
static void put_result(u32 size, u32 value) {
    const u64 mask = size == 4 ? ~0ULL : (1ULL << (8 * size)) - 1;  // a 32-bit result clears the upper half
    guest_registers[kRax] = (guest_registers[kRax] & ~mask) | (value & mask);
    if (size == 4) {
        guest_registers[kRax] = value;
    }
}

static Next on_out(u16 port, u32 value) {
    if (port == kPowerPort && (value & kPowerOff) != 0) {
        child_report.passed = true;
        return Ended;
    }
    if (port == kDebugExitPort) {
        return Ended;
    }
    skip_instruction();
    if (port == kSerialPort) {
        const char c = (char)value;
        console_write(&c, 1);
    } else if (port == kLevelPort && value == kRemapRequest) {
        ++child_report.remaps;
        remap_shared_page();
    } else if (port == kLevelPort) {
        request_interrupt(value);
    }
    return Resume;
}

static Next on_string_out(u16 port, bool repeated) {
    const u64 count = repeated ? guest_registers[kRcx] : 1;
    const char* text = child_memory(guest_registers[kRsi], count);
    if (port != kSerialPort || text == NULL) {
        fatal("unexpected string output to port %x", (u64)port);
    }
    console_write(text, count);
    guest_registers[kRsi] += count;
    if (repeated) {
        guest_registers[kRcx] = 0;
    }
    skip_instruction();
    return Resume;
}

static Next on_io(void) {
    enum { kTransmitterEmptyAndIdle = 0x60 };
    const u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    const u32 size = (u32)(qualification & kIoSizeMask) + 1;
    const u16 port = (u16)(qualification >> 16);
    if ((qualification & kIoIn) == 0) {
        return (qualification & kIoString) != 0 ? on_string_out(port, (qualification & kIoRep) != 0)
                                                : on_out(port, (u32)guest_registers[kRax]);
    }
    u32 value = 0xFFFFFFFF;  // nothing there
    if (port == kSerialStatusPort) {
        value = kTransmitterEmptyAndIdle;
    } else if (port == kLevelPort) {
        ++child_report.port_reads;
        value = LEVEL_SIGNATURE | level.number;
    }
    put_result(size, value);
    skip_instruction();
    return Resume;
}

// ---- EPT violations ------------------------------------------------------------------------------------------
// The late page during the delivery of an interrupt, and the two forms the probes use: MOV RAX, [RDI] and
// MOV [RDI], RAX. No other access should ever arrive.
static Next on_ept_violation(void) {
    enum { kMovBytes = 3 };
    const u64 qualification = vmcs_read(EXIT_QUALIFICATION);
    const u64 address = vmcs_read(GUEST_PHYSICAL_ADDRESS);
    const u64 rip = vmcs_read(GUEST_RIP);
    const u8* code = child_memory(rip, kMovBytes);
    const bool mov = !nested_running && code != NULL && code[0] == 0x48 && code[2] == 0x07;
    if (!nested_running && address - kLatePage < kPageBytes && child_report.late_pages == 0 &&
        (vmcs_read(IDT_VECTORING_INFO) & (EVENT_VALID | 0xFF)) == (EVENT_VALID | kRequestedVector)) {
        ++child_report.late_pages;
        map_late_page();
        reinject_vectored_event();
        return Resume;
    }
    const u32 access = qualification & kEptAll;
    const u32 allowed = qualification >> 3 & kEptAll;
    if (mov && code[1] == 0x8B && access == kEptRead && allowed == 0 && address == PROBE_ADDRESS) {
        ++child_report.denied_reads;
        guest_registers[kRax] = PROBE_DENIED | level.number;
    } else if (mov && code[1] == 0x89 && access == kEptWrite && allowed == kEptRead && address == kBootPage) {
        ++child_report.denied_writes;
    } else {
        fatal("EPT violation at %x, qualification %x, RIP %x", address, qualification, rip);
    }
    vmcs_write(GUEST_RIP, rip + kMovBytes);
    return Resume;
}

static Next on_triple_fault(void) {
    fatal("the guest shut down with a triple fault at %x", vmcs_read(GUEST_RIP));
}

typedef Next (*ExitFunction)(void);
static ExitFunction const kExits[kExitReasons] = {
    [kExitTripleFault] = on_triple_fault,
    [kExitInterruptWindow] = on_interrupt_window,
    [kExitCpuid] = on_cpuid,
    [kExitHlt] = on_hlt,
    [kExitCrAccess] = on_cr_access,
    [kExitIo] = on_io,
    [kExitRdmsr] = on_rdmsr,
    [kExitWrmsr] = on_wrmsr,
    [kExitEptViolation] = on_ept_violation,
};

static bool is_vmx_instruction(u32 reason) {
    return (reason >= kExitVmclear && reason <= kExitVmxon) || reason == kExitInvept || reason == kExitInvvpid;
}

Next on_own_exit(u32 reason) {
    if (is_vmx_instruction(reason)) {
        on_vmx_instruction(reason);
        return Resume;
    }
    if (reason >= kExitReasons || kExits[reason] == NULL) {
        fatal("unexpected VM exit, reason %x, qualification %x, at %x", (u64)reason, vmcs_read(EXIT_QUALIFICATION),
              vmcs_read(GUEST_RIP));
    }
    return kExits[reason]();
}
