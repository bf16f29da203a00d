// This level's own use of VMX: capabilities, VMX operation, the VMCS instructions and their enlightened
// replacement. SDM Vol. 3C, "VMX Instruction Reference"; Vol. 3D, Appendix A "VMX Capability Reporting".
#include "vmx.h"

struct Capabilities own_capabilities;
struct Capabilities offered_capabilities;
bool enlightened;
struct Vmcs* current_vmcs;

static struct VmxonRegion* vmxon_region;
static u8 field_index[512];  // by type, width and index of the encoding; 0xFF: none

// ---- Fields --------------------------------------------------------------------------------------------------
// Encoding: index in bits 9:1, type in 11:10, width in 14:13. Our indexes are below 32.
static u32 compact(u64 encoding) {
    return (u32)((encoding >> 13 & 3) << 7 | (encoding >> 10 & 3) << 5 | (encoding >> 1 & 31));
}

enum Field field_of_encoding(u64 encoding) {
    const u8 index = field_index[compact(encoding)];
    if (index == kNoField || kFieldEncoding[index] != encoding) {
        return kNoField;
    }
    return (enum Field)index;
}

static void set_up_field_index(void) {
    for (u32 i = 0; i < sizeof(field_index); ++i) {
        field_index[i] = kNoField;
    }
    for (u32 i = 0; i < kFieldCount; ++i) {
        field_index[compact(kFieldEncoding[i])] = (u8)i;
    }
}

// ---- Capabilities --------------------------------------------------------------------------------------------
// What a control word must offer for this program to run, and all it passes on to its child.
struct ControlRow {
    u16 msr, true_msr;
    u32 required, offered;
    const char* name;
};
static const struct ControlRow kControlRows[kControlWords] = {
    [kPin] = {0x481, 0x48D, 0, 0, "pin-based"},
    [kProc] = {0x482, 0x48E, kProcUnconditionalIo | kProcMsrBitmaps | PROC_SECONDARY,
               kProcInterruptWindow | kProcHltExiting, "primary processor-based"},
    [kExit] = {0x483, 0x48F, kExitHost64 | kExitSaveEfer | kExitLoadEfer, 0, "VM-exit"},
    [kEntry] = {0x484, 0x490, kEntryLoadEfer, kEntryIa32e, "VM-entry"},
    [kProc2] = {0x48B, 0x48B, kProc2Ept | kProc2UnrestrictedGuest, kProc2Vpid, "secondary processor-based"},
};
// Of these, unrestricted guest is for the child to choose, the others it must use.
static const u32 kOptional[kControlWords] = {[kProc2] = kProc2UnrestrictedGuest};

enum {
    kBasicTrueControls = 55,
    kEptCapWalk4 = 1 << 6,
    kEptCapWriteBack = 1 << 14,
    kEptCapLarge = 1 << 16,
    kEptCapInvept = 1 << 20 | 1 << 25 | 1 << 26,
};
#define VPID_CAP_INVVPID (1ULL << 32 | 0xFULL << 40)
#define RING_REVISION 0x0D570000U  // and the number of the level that defines the format

static void read_capabilities(void) {
    struct Capabilities* own = &own_capabilities;
    struct Capabilities* offered = &offered_capabilities;
    own->basic = rdmsr(IA32_VMX_BASIC);
    own->misc = rdmsr(IA32_VMX_MISC);
    for (u32 i = 0; i < 4; ++i) {
        own->cr_fixed[i] = rdmsr(IA32_VMX_CR0_FIXED0 + i);
    }
    const bool true_controls = (own->basic >> kBasicTrueControls & 1) != 0;
    for (u32 i = 0; i < kControlWords; ++i) {
        const struct ControlRow* row = &kControlRows[i];
        if (i == kProc2 && (own->control[kProc].one & PROC_SECONDARY) == 0) {
            fatal("VT-x has no secondary controls");
        }
        const u64 value = rdmsr(true_controls ? row->true_msr : row->msr);
        own->control[i] = (struct Allowed){(u32)value, (u32)(value >> 32)};
        if ((own->control[i].one & row->required) != row->required) {
            fatal("VT-x lacks %s controls: needs %x, offers %x", row->name, (u64)row->required,
                  (u64)own->control[i].one);
        }
        offered->control[i].zero = own->control[i].zero | (row->required & ~kOptional[i]);
        offered->control[i].one =
            offered->control[i].zero | row->required | (row->offered & own->control[i].one);
    }
    own->ept_vpid = rdmsr(IA32_VMX_EPT_VPID_CAP);
    const u64 ept_needs = kEptCapWalk4 | kEptCapWriteBack | kEptCapLarge | kEptCapInvept;
    if ((own->ept_vpid & ept_needs) != ept_needs) {
        fatal("EPT needs capabilities %x, has %x", ept_needs, own->ept_vpid);
    }
    offered->ept_vpid = ept_needs | (own->ept_vpid & VPID_CAP_INVVPID);
    // 4 KiB regions, write-back, instruction information for INS and OUTS, TRUE controls.
    offered->basic = (RING_REVISION | level.number) | 0x1000ULL << 32 | 6ULL << 50 | 1ULL << 54 |
                     1ULL << kBasicTrueControls;
    offered->misc = own->misc & (1 << 5);  // VM exits store IA-32e mode active into the entry controls
    for (u32 i = 0; i < 4; ++i) {
        offered->cr_fixed[i] = own->cr_fixed[i];
    }
}

bool offered_msr(u32 msr, u64* value) {
    const struct Capabilities* caps = &offered_capabilities;
    for (u32 i = 0; i < kControlWords; ++i) {
        if (msr == kControlRows[i].msr || msr == kControlRows[i].true_msr) {
            *value = (u64)caps->control[i].one << 32 | caps->control[i].zero;
            return true;
        }
    }
    if (msr >= IA32_VMX_CR0_FIXED0 && msr <= IA32_VMX_CR4_FIXED1) {
        *value = caps->cr_fixed[msr - IA32_VMX_CR0_FIXED0];
        return true;
    }
    switch (msr) {
        case IA32_FEATURE_CONTROL: *value = 5; return true;  // locked, VMX outside SMX
        case IA32_VMX_BASIC: *value = caps->basic; return true;
        case IA32_VMX_MISC: *value = caps->misc; return true;
        case IA32_VMX_EPT_VPID_CAP: *value = caps->ept_vpid; return true;
        default: return false;
    }
}

// ---- Instructions --------------------------------------------------------------------------------------------
// VMsucceed is CF = 0 and ZF = 0, the condition "above".
static u64 address_of(const void* pointer) { return (u64)(uintptr_t)pointer; }

static void check_vmx(bool success, const char* instruction, u64 operand) {
    if (!success) {
        fatal("%s of %x failed", instruction, operand);
    }
}

void vmwrite_instruction(u64 encoding, u64 value) {
    bool success;
    __asm__ volatile("vmwrite %[value], %[field]"
                     : "=@cca"(success)
                     : [value] "r"(value), [field] "r"(encoding)
                     : "memory");
    check_vmx(success, "VMWRITE", encoding);
}

u64 vmread_instruction(u64 encoding) {
    bool success;
    u64 value;
    __asm__ volatile("vmread %[field], %[value]"
                     : [value] "=r"(value), "=@cca"(success)
                     : [field] "r"(encoding)
                     : "memory");
    check_vmx(success, "VMREAD", encoding);
    return value;
}

static void vmclear(const struct VmcsRegion* region) {
    const u64 address = address_of(region);
    bool success;
    __asm__ volatile("vmclear %1" : "=@cca"(success) : "m"(address) : "memory");
    check_vmx(success, "VMCLEAR", address);
}

void invept(u64 eptp) {
    const struct {
        u64 eptp, reserved;
    } descriptor = {eptp, 0};
    const u64 single_context = 1;
    bool success;
    __asm__ volatile("invept %1, %2" : "=@cca"(success) : "m"(descriptor), "r"(single_context) : "memory");
    check_vmx(success, "INVEPT", eptp);
}

struct Vmcs vmcs_create(void) {
    struct Vmcs vmcs = {.region = allocate_page(), .launched = false};
    vmcs.region->revision = (u32)own_capabilities.basic & 0x7FFFFFFF;
    vmclear(vmcs.region);
    return vmcs;
}

void vmcs_clear(struct Vmcs* vmcs) {
    vmclear(vmcs->region);
    vmcs->launched = false;
    current_vmcs = NULL;
}

void vmcs_load(struct Vmcs* vmcs) {
    if (current_vmcs == vmcs) {
        return;
    }
    const u64 address = address_of(vmcs->region);
    if (enlightened) {
        vmxon_region->current_vmcs = address;
    } else {
        bool success;
        __asm__ volatile("vmptrld %1" : "=@cca"(success) : "m"(address) : "memory");
        check_vmx(success, "VMPTRLD", address);
    }
    current_vmcs = vmcs;
}

// ---- VMX operation -------------------------------------------------------------------------------------------
void vmx_on(void) {
    enum { kCpuidVmx = 1 << 5, kLocked = 1 << 0, kVmxOutsideSmx = 1 << 2 };
    if ((cpuid(1, 0).ecx & kCpuidVmx) == 0) {
        fatal("the processor offers no VT-x (CPUID.1:ECX.VMX is 0): enable it, e.g. with -cpu nested,+vmx");
    }
    const u64 feature_control = rdmsr(IA32_FEATURE_CONTROL);
    if ((feature_control & kLocked) == 0) {
        wrmsr(IA32_FEATURE_CONTROL, feature_control | kVmxOutsideSmx | kLocked);
    } else if ((feature_control & kVmxOutsideSmx) == 0) {
        fatal("VT-x is switched off and locked in IA32_FEATURE_CONTROL");
    }
    set_up_field_index();
    read_capabilities();
    write_cr0((read_cr0() | own_capabilities.cr_fixed[0]) & own_capabilities.cr_fixed[1]);
    write_cr4((read_cr4() | own_capabilities.cr_fixed[2]) & own_capabilities.cr_fixed[3]);
    if (level.number > 1 && !level.plain) {
        enlightened = (cpuid(CPUID_LEVEL, 0).ebx & kFeatureEnlightenedVmcs) != 0;
    }
    vmxon_region = allocate_page();
    vmxon_region->revision = (u32)own_capabilities.basic & 0x7FFFFFFF;
    if (enlightened) {
        vmxon_region->enlightened = 1;
    }
    const u64 address = address_of(vmxon_region);
    bool success;
    __asm__ volatile("vmxon %1" : "=@cca"(success) : "m"(address) : "memory");
    check_vmx(success, "VMXON", address);
}

void vmx_off(void) {
    bool success;
    __asm__ volatile("vmxoff" : "=@cca"(success) : : "memory");
    check_vmx(success, "VMXOFF", 0);
    write_cr4(read_cr4() & ~CR4_VMXE);
}

void vmcs_write_constants(void) {
    static const enum Field zero[] = {
        HOST_FS_BASE, HOST_GS_BASE, HOST_SYSENTER_CS, HOST_SYSENTER_ESP, HOST_SYSENTER_EIP,
        EXIT_MSR_STORE_COUNT, EXIT_MSR_LOAD_COUNT, ENTRY_MSR_LOAD_COUNT, CR3_TARGET_COUNT,
    };
    for (u32 i = 0; i < sizeof(zero) / sizeof(zero[0]); ++i) {
        vmcs_write(zero[i], 0);
    }
    static const enum Field data[] = {HOST_ES, HOST_SS, HOST_DS, HOST_FS, HOST_GS};
    for (u32 i = 0; i < sizeof(data) / sizeof(data[0]); ++i) {
        vmcs_write(data[i], kDataSelector);
    }
    vmcs_write(HOST_CS, kCodeSelector);
    vmcs_write(HOST_TR, kTssSelector);
    vmcs_write(HOST_CR0, read_cr0());
    vmcs_write(HOST_CR3, read_cr3());
    vmcs_write(HOST_CR4, read_cr4());
    vmcs_write(HOST_EFER, rdmsr(IA32_EFER));
    vmcs_write(HOST_TR_BASE, tss_base());
    vmcs_write(HOST_GDTR_BASE, gdtr_base());
    vmcs_write(HOST_IDTR_BASE, idtr_base());
    vmcs_write(HOST_RSP, address_of(exit_stack_top));
    vmcs_write(HOST_RIP, address_of(vm_exit_entry));
}
