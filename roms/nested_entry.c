// VM entry of the child into the grandchild, and the way back: the merge of the child's VMCS (12) into ours
// (02), and the reflection of exits.
//
// Each 12 keeps its own 02, so an entry copies only what the child wrote since the last one, and an exit
// stores back only the exit information and the Hot fields. The rest of the guest state stays in the 02
// until the child reads it. That, and leaving the child's host state alone when the child promises that it
// hasn't changed, keeps the VMX instructions of one reflection to a VMPTRLD and a VMRESUME on an enlightened
// VMCS, of which only the VMRESUME exits. One exit of level n therefore costs 2^(n-2) real ones.
#include "vmx.h"

bool nested_running;

static struct Nested* running;

// ---- Entry ---------------------------------------------------------------------------------------------------
static bool control_allowed(const struct VmcsRegion* region, enum Field field, enum ControlWord word) {
    const struct Allowed* allowed = &offered_capabilities.control[word];
    const u64 value = region->field[field];
    return (value & allowed->zero) == allowed->zero && (value & ~(u64)allowed->one) == 0;
}

// SDM Vol. 3C, "Checks on VMX Controls": those for what offered_capabilities offers.
static bool controls_valid(const struct VmcsRegion* region) {
    const bool vpid = (region->field[PROC_CONTROLS2] & kProc2Vpid) != 0;
    return control_allowed(region, PIN_CONTROLS, kPin) && control_allowed(region, PROC_CONTROLS, kProc) &&
           control_allowed(region, PROC_CONTROLS2, kProc2) && control_allowed(region, EXIT_CONTROLS, kExit) &&
           control_allowed(region, ENTRY_CONTROLS, kEntry) && ept_pointer_valid(region->field[EPT_POINTER]) &&
           child_vmcs_region(region->field[MSR_BITMAP]) != NULL && (!vpid || region->field[VPID] != 0) &&
           (region->field[CR3_TARGET_COUNT] | region->field[EXIT_MSR_STORE_COUNT] |
            region->field[EXIT_MSR_LOAD_COUNT] | region->field[ENTRY_MSR_LOAD_COUNT]) == 0;
}

static void merge_msr_bitmap(struct Nested* nested, u64 address) {
    const u64* theirs = child_memory(address, kPageBytes);
    const u64* ours = (const u64*)(const void*)own_msr_bitmap;
    u64* merged = (u64*)(void*)nested->msr_bitmap;
    for (u32 i = 0; i < kPageBytes / sizeof(u64); ++i) {
        merged[i] = theirs[i] | ours[i];
    }
}

static void merge_ept(struct Nested* nested, u64 eptp) {
    const bool reused = nested->shadow.pages_used != 0;
    ept_compose(&nested->shadow, eptp);
    if (reused) {
        invept(ept_pointer(&nested->shadow));  // the same tables, with other contents
    }
    vmcs_write(EPT_POINTER, ept_pointer(&nested->shadow));
}

// Requires: the 02 is current.
static void merge_field(struct Nested* nested, enum Field field) {
    const u64 value = nested->region->field[field];
    switch ((enum FieldKind)kFieldKind[field]) {
        case Guest:
        case Hot:
        case Control: vmcs_write(field, value); return;
        case Zero:
        case Host:
        case Info: return;
        case Special: break;
    }
    if (field == EPT_POINTER) {
        merge_ept(nested, value);
    } else if (field == MSR_BITMAP) {
        merge_msr_bitmap(nested, value);
    } else if (field != VPID) {  // the 02 has its own
        vmcs_write(field, value);  // a control word: it has all the bits that we need
    }
}

static void merge(struct Nested* nested) {
    struct VmcsRegion* region = nested->region;
    if (!nested->merged) {
        for (u32 i = 0; i < kFieldCount; ++i) {
            merge_field(nested, (enum Field)i);
        }
        nested->merged = true;
        region->dirty[0] = region->dirty[1] = 0;
        return;
    }
    for (u32 word = 0; word < kDirtyWords; ++word) {
        u64 dirty = region->dirty[word];
        region->dirty[word] = 0;
        for (; dirty != 0; dirty &= dirty - 1) {
            merge_field(nested, (enum Field)(word * 64 + (u32)__builtin_ctzll(dirty)));
        }
    }
    if (!child_enlightened()) {
        // The processor reads the bitmap at each access; we see changes at the next entry. An enlightened
        // child tells of them by writing the address again.
        merge_msr_bitmap(nested, region->field[MSR_BITMAP]);
    }
}

static struct Nested* make_nested(u64 address, struct VmcsRegion* region) {
    enum { kFirstNestedVpid = 2 };
    for (u32 i = 0; i < kNestedSlots; ++i) {
        struct Nested* nested = &child_vmx.nested[i];
        if (nested->region != NULL) {
            continue;
        }
        nested->address = address;
        nested->region = region;
        nested->merged = false;
        if (nested->msr_bitmap == NULL) {
            nested->msr_bitmap = allocate_page();
            nested->vmcs02 = vmcs_create();
        }
        vmcs_load(&nested->vmcs02);
        vmcs_write_constants();
        if (has_vpid()) {
            vmcs_write(VPID, kFirstNestedVpid + i);
        }
        vmcs_write(MSR_BITMAP, (u64)(uintptr_t)nested->msr_bitmap);
        return nested;
    }
    fatal("the guest uses more than %u VMCSs", kNestedSlots);
}

static void load_host_state(const struct VmcsRegion* region);

void nested_enter(bool launch) {
    const u64 address = child_current_vmcs();
    struct VmcsRegion* region = child_vmcs_region(address);
    if (region == NULL || region->revision != ((u32)offered_capabilities.basic & 0x7FFFFFFF)) {
        vm_fail_invalid();
        return;
    }
    if (launch != (region->launched == 0)) {
        vm_fail(launch ? kVmlaunchNotClear : kVmresumeNotLaunched);
        return;
    }
    if (!controls_valid(region)) {
        vm_fail(kEntryControls);
        return;
    }
    if (region->field[VMCS_LINK_POINTER] != NO_VMCS) {  // VMCS shadowing isn't offered
        enum { kInvalidGuestState = 33, kLinkPointer = 4 };
        region->field[EXIT_REASON] = EXIT_ENTRY_FAILURE | kInvalidGuestState;
        region->field[EXIT_QUALIFICATION] = kLinkPointer;
        load_host_state(region);
        return;
    }
    running = find_nested(address);
    if (running == NULL) {
        running = make_nested(address, region);
    }
    vmcs_load(&running->vmcs02);
    merge(running);
    nested_running = true;
}

// ---- Exit ----------------------------------------------------------------------------------------------------
// SDM Vol. 3C, "Loading Host State". Requires: the 01 is current.
static void load_host_state(const struct VmcsRegion* region) {
    vmcs_write(GUEST_RIP, region->field[HOST_RIP]);
    vmcs_write(GUEST_RSP, region->field[HOST_RSP]);
    vmcs_write(GUEST_RFLAGS, 2);
    if (child_enlightened()) {
        return;  // it promises that the rest of its host state is the state it entered with
    }
    static const struct {
        u8 guest, host;
    } pairs[] = {
        {GUEST_CR0, HOST_CR0},
        {GUEST_CR3, HOST_CR3},
        {GUEST_CR4, HOST_CR4},
        {CR0_READ_SHADOW, HOST_CR0},
        {CR4_READ_SHADOW, HOST_CR4},
        {GUEST_EFER, HOST_EFER},
        {GUEST_ES, HOST_ES},
        {GUEST_CS, HOST_CS},
        {GUEST_SS, HOST_SS},
        {GUEST_DS, HOST_DS},
        {GUEST_FS, HOST_FS},
        {GUEST_GS, HOST_GS},
        {GUEST_TR, HOST_TR},
        {GUEST_FS_BASE, HOST_FS_BASE},
        {GUEST_GS_BASE, HOST_GS_BASE},
        {GUEST_TR_BASE, HOST_TR_BASE},
        {GUEST_GDTR_BASE, HOST_GDTR_BASE},
        {GUEST_IDTR_BASE, HOST_IDTR_BASE},
        {GUEST_SYSENTER_CS, HOST_SYSENTER_CS},
        {GUEST_SYSENTER_ESP, HOST_SYSENTER_ESP},
        {GUEST_SYSENTER_EIP, HOST_SYSENTER_EIP},
    };
    for (u32 i = 0; i < sizeof(pairs) / sizeof(pairs[0]); ++i) {
        vmcs_write((enum Field)pairs[i].guest, region->field[pairs[i].host]);
    }
    enum { kCode64 = 0xA09B, kData = 0xC093, kBusyTss = 0x8B, kUnusable = 0x10000, kTssLimit = 0x67 };
    static const struct {
        u8 field;
        u32 value;
    } fixed[] = {
        {GUEST_CS_BASE, 0},           {GUEST_CS_LIMIT, 0xFFFFFFFF}, {GUEST_CS_ACCESS, kCode64},
        {GUEST_SS_BASE, 0},           {GUEST_SS_LIMIT, 0xFFFFFFFF}, {GUEST_SS_ACCESS, kData},
        {GUEST_DS_BASE, 0},           {GUEST_DS_LIMIT, 0xFFFFFFFF}, {GUEST_DS_ACCESS, kData},
        {GUEST_ES_BASE, 0},           {GUEST_ES_LIMIT, 0xFFFFFFFF}, {GUEST_ES_ACCESS, kData},
        {GUEST_FS_LIMIT, 0xFFFFFFFF}, {GUEST_FS_ACCESS, kData},     {GUEST_GS_LIMIT, 0xFFFFFFFF},
        {GUEST_GS_ACCESS, kData},     {GUEST_TR_LIMIT, kTssLimit},  {GUEST_TR_ACCESS, kBusyTss},
        {GUEST_LDTR, 0},              {GUEST_LDTR_ACCESS, kUnusable}, {GUEST_GDTR_LIMIT, 0xFFFF},
        {GUEST_IDTR_LIMIT, 0xFFFF},   {GUEST_DR7, 0x400},           {GUEST_DEBUGCTL, 0},
        {GUEST_INTERRUPTIBILITY, 0},  {GUEST_ACTIVITY, 0},          {GUEST_PENDING_DEBUG, 0},
    };
    for (u32 i = 0; i < sizeof(fixed) / sizeof(fixed[0]); ++i) {
        vmcs_write((enum Field)fixed[i].field, fixed[i].value);
    }
    vmcs_write(ENTRY_CONTROLS, vmcs_read(ENTRY_CONTROLS) | kEntryIa32e);
}

// Stores the exit into the 12. Only what this kind of exit defines is read: each VMREAD may exit.
static void save_exit(struct VmcsRegion* region, u32 reason) {
    enum { kExceptionOrNmi = 0 };
    region->field[EXIT_REASON] = reason;
    region->field[ENTRY_INTERRUPTION_INFO] &= ~(u64)EVENT_VALID;
#define SAVE(field_name) region->field[field_name] = vmcs_read(field_name)
    SAVE(EXIT_QUALIFICATION);
    if ((reason & EXIT_ENTRY_FAILURE) != 0) {
        return;
    }
    region->launched = 1;
    SAVE(GUEST_RIP);
    SAVE(GUEST_RSP);
    SAVE(GUEST_RFLAGS);
    SAVE(GUEST_INTERRUPTIBILITY);
    SAVE(EXIT_INSTRUCTION_LENGTH);
    SAVE(IDT_VECTORING_INFO);
    if ((region->field[IDT_VECTORING_INFO] & EVENT_VALID) != 0) {
        SAVE(IDT_VECTORING_ERROR);
    }
    region->field[EXIT_INTERRUPTION_INFO] = 0;
    if (reason == kExceptionOrNmi) {
        SAVE(EXIT_INTERRUPTION_INFO);
        SAVE(EXIT_INTERRUPTION_ERROR);
    } else if (reason == kExitEptViolation || reason == kExitEptMisconfiguration) {
        SAVE(GUEST_PHYSICAL_ADDRESS);
        SAVE(GUEST_LINEAR_ADDRESS);
    } else if (reason == kExitIo || reason == kExitCrAccess) {
        SAVE(GUEST_LINEAR_ADDRESS);
        SAVE(INSTRUCTION_INFO);
    } else if (reason >= kExitVmcall && reason != kExitRdmsr && reason != kExitWrmsr) {
        SAVE(INSTRUCTION_INFO);
    }
#undef SAVE
}

static void reflect(u32 reason) {
    save_exit(running->region, reason);
    vmcs_load(&vmcs01);
    load_host_state(running->region);
    nested_running = false;
}

static bool msr_exits(const struct VmcsRegion* region, bool write) {
    const u32 msr = (u32)guest_registers[kRcx];
    const bool high = msr >= 0xC0000000;
    if ((high ? msr - 0xC0000000 : msr) > 0x1FFF) {
        return true;
    }
    const u8* bitmap = child_memory(region->field[MSR_BITMAP], kPageBytes);
    const u32 part = (write ? 0x800U : 0U) + (high ? 0x400U : 0U);
    return (bitmap[part + (msr & 0x1FFF) / 8] >> (msr % 8) & 1) != 0;
}

// A violation is the child's if its EPT forbids the access, else our shadow of that EPT lacks the entry.
static bool nested_ept_violation(void) {
    const u32 access = vmcs_read(EXIT_QUALIFICATION) & kEptAll;
    const u64 address = vmcs_read(GUEST_PHYSICAL_ADDRESS);
    const struct Translation theirs = ept_walk_child(running->region->field[EPT_POINTER], address);
    if (theirs.misconfigured) {
        reflect(kExitEptMisconfiguration);
        return true;
    }
    if ((theirs.access & access) != access) {
        reflect(kExitEptViolation);
        return true;
    }
    if (!ept_compose_page(&running->shadow, address, &theirs, access)) {
        return false;
    }
    reinject_vectored_event();
    return true;
}

bool nested_exit(u32 reason) {
    if (reason == kExitEptViolation) {
        return nested_ept_violation();
    }
    if ((reason == kExitRdmsr || reason == kExitWrmsr) && !msr_exits(running->region, reason == kExitWrmsr)) {
        return false;
    }
    // All other exits are caused by controls that are the child's as much as ours.
    reflect(reason);
    return true;
}

static bool in_02(u32 field) { return kFieldKind[field] == Guest || field == ENTRY_CONTROLS; }

// Guest state goes back into the 12. An enlightened 02 has all of it in memory once it is VMCLEARed.
void nested_release(struct Nested* nested) {
    struct VmcsRegion* region = nested->region;
    u64 state[kFieldCount];
    if (!enlightened) {
        vmcs_load(&nested->vmcs02);
        for (u32 i = 0; i < kFieldCount; ++i) {
            state[i] = in_02(i) ? vmcs_read((enum Field)i) : 0;
        }
    }
    vmcs_clear(&nested->vmcs02);
    const u64* values = enlightened ? nested->vmcs02.region->field : state;
    for (u32 i = 0; i < kFieldCount; ++i) {
        if (in_02(i) && (region->dirty[i / 64] >> (i % 64) & 1) == 0) {
            region->field[i] = values[i];
        }
    }
    vmcs_load(&vmcs01);
    nested->region = NULL;
}
