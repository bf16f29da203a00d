// Emulation of the child's VMX instructions. SDM Vol. 3C, "VMX Instruction Reference".
//
// The child's VMCS regions have the layout of struct VmcsRegion, which is ours to define. VMREAD and VMWRITE
// work on the region in the child's memory; guest state that the grandchild may have changed since is in our
// 02 and fetched from there. Linear addresses are taken as physical: the child is this same program, whose
// page tables map both alike.
#include "vmx.h"

struct ChildVmx child_vmx;

// ---- Outcome -------------------------------------------------------------------------------------------------
static void finish(u64 status) {
    const u64 rflags = vmcs_read(GUEST_RFLAGS);
    const u64 wanted = (rflags & ~RFLAGS_STATUS) | status;
    if (wanted != rflags) {
        vmcs_write(GUEST_RFLAGS, wanted);
    }
    skip_instruction();
}

void vm_succeed(void) { finish(0); }

void vm_fail_invalid(void) {
    enum { kCf = 1 << 0 };
    finish(kCf);
}

void vm_fail(enum VmxError error) {
    enum { kZf = 1 << 6 };
    struct VmcsRegion* region = child_vmcs_region(child_current_vmcs());
    if (region == NULL) {
        vm_fail_invalid();
        return;
    }
    region->field[INSTRUCTION_ERROR] = error;
    finish(kZf);
}

// ---- Operands ------------------------------------------------------------------------------------------------
// SDM Vol. 3C, "Basic VM-Exit Information": VM-exit instruction information for VMREAD, VMPTRLD and so on.
static u64 register_value(u32 number) {
    return number == kRsp ? vmcs_read(GUEST_RSP) : guest_registers[number];
}

static u64 memory_operand_address(u64 info) {
    enum { kIndexInvalid = 1 << 22, kBaseInvalid = 1 << 27, kFirstSegmentWithBase = 4 };
    if ((info >> 15 & 7) >= kFirstSegmentWithBase) {
        fatal("a VMX instruction's operand uses FS or GS");
    }
    u64 address = vmcs_read(EXIT_QUALIFICATION);
    if ((info & kBaseInvalid) == 0) {
        address += register_value(info >> 23 & 15);
    }
    if ((info & kIndexInvalid) == 0) {
        address += register_value(info >> 18 & 15) << (info & 3);
    }
    return address;
}

// `bytes` of the instruction's memory operand.
static u64* memory_operand(u64 bytes) {
    const u64 address = memory_operand_address(vmcs_read(INSTRUCTION_INFO));
    u64* operand = child_memory(address, bytes);
    if (operand == NULL) {
        fatal("a VMX instruction's operand is outside memory: %x", address);
    }
    return operand;
}

struct VmcsRegion* child_vmcs_region(u64 address) {
    return (address & (kPageBytes - 1)) == 0 ? child_memory(address, kPageBytes) : NULL;
}

struct Nested* find_nested(u64 address) {
    for (u32 i = 0; i < kNestedSlots; ++i) {
        if (child_vmx.nested[i].region != NULL && child_vmx.nested[i].address == address) {
            return &child_vmx.nested[i];
        }
    }
    return NULL;
}

// ---- VMX operation -------------------------------------------------------------------------------------------
static void on_vmxon(void) {
    if (child_in_vmx_operation()) {
        vm_fail(kVmxonInRoot);
        return;
    }
    const u64 address = *memory_operand(sizeof(u64));
    struct VmxonRegion* region = (struct VmxonRegion*)(void*)child_vmcs_region(address);
    if (region == NULL || region->revision != ((u32)offered_capabilities.basic & 0x7FFFFFFF)) {
        vm_fail_invalid();
        return;
    }
    child_vmx.region = region;
    child_vmx.region_address = address;
    child_vmx.current = NO_VMCS;
    region->current_vmcs = NO_VMCS;
    vm_succeed();
}

static void on_vmxoff(void) {
    for (u32 i = 0; i < kNestedSlots; ++i) {
        if (child_vmx.nested[i].region != NULL) {
            nested_release(&child_vmx.nested[i]);
        }
    }
    child_vmx.region = NULL;
    vm_succeed();
}

// ---- VMCS pointers -------------------------------------------------------------------------------------------
static void on_vmclear(void) {
    const u64 address = *memory_operand(sizeof(u64));
    struct VmcsRegion* region = child_vmcs_region(address);
    if (region == NULL) {
        vm_fail(kVmclearAddress);
        return;
    }
    if (address == child_vmx.region_address) {
        vm_fail(kVmclearVmxonPointer);
        return;
    }
    struct Nested* nested = find_nested(address);
    if (nested != NULL) {
        nested_release(nested);
    }
    region->launched = 0;
    if (child_vmx.current == address) {
        child_vmx.current = NO_VMCS;
    }
    if (child_vmx.region->current_vmcs == address) {
        child_vmx.region->current_vmcs = NO_VMCS;
    }
    vm_succeed();
}

static void on_vmptrld(void) {
    const u64 address = *memory_operand(sizeof(u64));
    const struct VmcsRegion* region = child_vmcs_region(address);
    if (region == NULL) {
        vm_fail(kVmptrldAddress);
    } else if (address == child_vmx.region_address) {
        vm_fail(kVmptrldVmxonPointer);
    } else if (region->revision != ((u32)offered_capabilities.basic & 0x7FFFFFFF)) {
        vm_fail(kVmptrldRevision);
    } else {
        child_vmx.current = address;
        vm_succeed();
    }
}

static void on_vmptrst(void) {
    *memory_operand(sizeof(u64)) = child_current_vmcs();
    vm_succeed();
}

// ---- Fields --------------------------------------------------------------------------------------------------
static bool is_dirty(const struct VmcsRegion* region, enum Field field) {
    return (region->dirty[field / 64] >> (field % 64) & 1) != 0;
}

// Guest state lives in the 02 unless the child has written it since.
static u64 field_value(const struct VmcsRegion* region, enum Field field) {
    struct Nested* nested = find_nested(child_current_vmcs());
    const bool in_02 = kFieldKind[field] == Guest || field == ENTRY_CONTROLS;
    if (!in_02 || nested == NULL || !nested->merged || is_dirty(region, field)) {
        return region->field[field];
    }
    vmcs_load(&nested->vmcs02);
    const u64 value = vmcs_read(field);
    vmcs_load(&vmcs01);
    return value;
}

static u64 truncated(enum Field field, u64 value) {
    static const u64 mask[4] = {0xFFFF, ~0ULL, 0xFFFFFFFF, ~0ULL};  // by width: 16, 64, 32 bits, natural
    return value & mask[kFieldEncoding[field] >> 13 & 3];
}

static void on_vmread_or_vmwrite(bool write) {
    enum { kRegisterOperand = 1 << 10 };
    struct VmcsRegion* region = child_vmcs_region(child_current_vmcs());
    if (region == NULL) {
        vm_fail_invalid();
        return;
    }
    const u64 info = vmcs_read(INSTRUCTION_INFO);
    const enum Field field = field_of_encoding(register_value(info >> 28 & 15));
    if (field == kNoField) {
        vm_fail(kUnsupportedField);
        return;
    }
    if (write && kFieldKind[field] == Info) {
        vm_fail(kReadOnlyField);
        return;
    }
    const u32 number = info >> 3 & 15;
    const bool in_register = (info & kRegisterOperand) != 0;
    if (in_register && number == kRsp && !write) {
        fatal("VMREAD into RSP");
    }
    if (write) {
        const u64 value = in_register ? register_value(number) : *memory_operand(sizeof(u64));
        region->field[field] = truncated(field, value);
        region->dirty[field / 64] |= 1ULL << (field % 64);
    } else {
        u64* to = in_register ? &guest_registers[number] : memory_operand(sizeof(u64));
        *to = field_value(region, field);
    }
    vm_succeed();
}

static void on_vmread(void) { on_vmread_or_vmwrite(false); }
static void on_vmwrite(void) { on_vmread_or_vmwrite(true); }
static void on_vmlaunch(void) { nested_enter(true); }
static void on_vmresume(void) { nested_enter(false); }

// ---- Translations --------------------------------------------------------------------------------------------
// The shadow of the child's EPT is made anew, which drops what the child took away.
static void on_invept(void) {
    enum { kSingleContext = 1, kAllContexts = 2 };
    const u64 type = register_value(vmcs_read(INSTRUCTION_INFO) >> 28 & 15);
    const u64 eptp = *memory_operand(2 * sizeof(u64));
    if ((type != kSingleContext && type != kAllContexts) ||
        (type == kSingleContext && !ept_pointer_valid(eptp))) {
        vm_fail(kInveptOperand);
        return;
    }
    for (u32 i = 0; i < kNestedSlots; ++i) {
        struct Nested* nested = &child_vmx.nested[i];
        if (nested->region == NULL || !nested->merged) {
            continue;
        }
        const u64 used = nested->region->field[EPT_POINTER];
        if (type == kAllContexts || used == eptp) {
            ept_compose(&nested->shadow, used);
            invept(ept_pointer(&nested->shadow));
        }
    }
    vm_succeed();
}

// Whatever was asked for, everything tagged by a VPID goes: that is always allowed.
static void on_invvpid(void) {
    const struct {
        u64 vpid, linear_address;
    } descriptor = {0, 0};
    const u64 all_contexts = 2;
    __asm__ volatile("invvpid %0, %1" : : "m"(descriptor), "r"(all_contexts) : "memory", "cc");
    vm_succeed();
}

static void on_vmcall(void) { inject_exception(6, false); }  // there are no hypercalls

typedef void (*VmxFunction)(void);
static VmxFunction const kVmxInstructions[kExitReasons] = {
    [kExitVmcall] = on_vmcall,     [kExitVmclear] = on_vmclear,   [kExitVmlaunch] = on_vmlaunch,
    [kExitVmptrld] = on_vmptrld,   [kExitVmptrst] = on_vmptrst,   [kExitVmread] = on_vmread,
    [kExitVmresume] = on_vmresume, [kExitVmwrite] = on_vmwrite,   [kExitVmxoff] = on_vmxoff,
    [kExitVmxon] = on_vmxon,       [kExitInvept] = on_invept,     [kExitInvvpid] = on_invvpid,
};

void on_vmx_instruction(u32 reason) {
    enum { kInvalidOpcode = 6 };
    const bool allowed = reason == kExitVmxon ? (vmcs_read(CR4_READ_SHADOW) & CR4_VMXE) != 0
                                              : child_in_vmx_operation();
    if (!allowed) {
        inject_exception(kInvalidOpcode, false);
        return;
    }
    kVmxInstructions[reason]();
}
