// VMX as this level uses it: capability MSRs, the VMCS fields, and access to the current VMCS.
#ifndef DROSTE_ROMS_VMX_H
#define DROSTE_ROMS_VMX_H

#include "rom.h"

// ---- Fields --------------------------------------------------------------------------------------------------
enum Field {
#define FIELD(name, encoding, kind) name,
#include "vmcs_fields.inc"
#undef FIELD
    kFieldCount,
    kNoField = 0xFF,
};
enum FieldKind { Guest, Hot, Control, Special, Zero, Host, Info };
static const u16 kFieldEncoding[kFieldCount] = {
#define FIELD(name, encoding, kind) encoding,
#include "vmcs_fields.inc"
#undef FIELD
};
static const u8 kFieldKind[kFieldCount] = {
#define FIELD(name, encoding, kind) kind,
#include "vmcs_fields.inc"
#undef FIELD
};
_Static_assert(kFieldCount <= 128, "the dirty mask has 128 bits");
enum { kDirtyWords = 2 };
enum Field field_of_encoding(u64 encoding);  // kNoField if there's none

// The VMXON region and the VMCS region as this program, as a parent, defines them for its child. An
// enlightened child works on them directly; level 1's own regions belong to the processor.
struct VmxonRegion {
    u32 revision;
    u32 enlightened;  // set by a child that keeps `current_vmcs` itself instead of executing VMPTRLD
    u64 current_vmcs;
};
struct VmcsRegion {
    u32 revision;
    u32 abort;
    u32 launched;
    u32 unused;
    u64 dirty[kDirtyWords];  // fields written since the last VM entry
    u64 field[kFieldCount];
};
_Static_assert(sizeof(struct VmcsRegion) <= kPageBytes, "a VMCS region is a page");

// ---- Capabilities --------------------------------------------------------------------------------------------
enum {
    IA32_FEATURE_CONTROL = 0x3A,
    IA32_SYSENTER_CS = 0x174,
    IA32_SYSENTER_ESP = 0x175,
    IA32_SYSENTER_EIP = 0x176,
    IA32_VMX_BASIC = 0x480,
    IA32_VMX_MISC = 0x485,
    IA32_VMX_CR0_FIXED0 = 0x486,
    IA32_VMX_CR4_FIXED1 = 0x489,
    IA32_VMX_EPT_VPID_CAP = 0x48C,
};
#define IA32_EFER 0xC0000080U
#define IA32_FS_BASE 0xC0000100U
#define IA32_GS_BASE 0xC0000101U

// The five control words, in this order.
enum ControlWord { kPin, kProc, kExit, kEntry, kProc2, kControlWords };
struct Allowed {
    u32 zero;  // bits that must be 1
    u32 one;   // bits that may be 1
};
struct Capabilities {
    u64 basic, misc, ept_vpid;
    u64 cr_fixed[4];  // IA32_VMX_CR0_FIXED0, CR0_FIXED1, CR4_FIXED0, CR4_FIXED1
    struct Allowed control[kControlWords];
};
extern struct Capabilities own_capabilities;      // what this level has
extern struct Capabilities offered_capabilities;  // what it offers to its child
// The value of a VMX capability MSR that this level offers; false: it doesn't exist.
bool offered_msr(u32 msr, u64* value);

enum {
    kProcInterruptWindow = 1 << 2,
    kProcHltExiting = 1 << 7,
    kProcUnconditionalIo = 1 << 24,
    kProcMsrBitmaps = 1 << 28,
    kProc2Ept = 1 << 1,
    kProc2Vpid = 1 << 5,
    kProc2UnrestrictedGuest = 1 << 7,
    kExitHost64 = 1 << 9,
    kExitSaveEfer = 1 << 20,
    kExitLoadEfer = 1 << 21,
    kEntryIa32e = 1 << 9,
    kEntryLoadEfer = 1 << 15,
};
static inline bool has_vpid(void) { return (own_capabilities.control[kProc2].one & kProc2Vpid) != 0; }
#define PROC_SECONDARY 0x80000000U
#define CR0_NE (1ULL << 5)
#define CR4_VMXE (1ULL << 13)
#define RFLAGS_IF (1ULL << 9)
#define RFLAGS_STATUS 0x8D5ULL  // CF PF AF ZF SF OF
#define EVENT_VALID 0x80000000U
#define EVENT_ERROR_CODE 0x800U
#define EXIT_ENTRY_FAILURE 0x80000000U
enum { kEventExternal = 0 << 8, kEventException = 3 << 8 };
enum { kBlockedBySti = 1, kBlockedByMovSs = 2 };

enum ExitReason {
    kExitTripleFault = 2,
    kExitInterruptWindow = 7,
    kExitCpuid = 10,
    kExitHlt = 12,
    kExitVmcall = 18,
    kExitVmclear = 19,
    kExitVmlaunch = 20,
    kExitVmptrld = 21,
    kExitVmptrst = 22,
    kExitVmread = 23,
    kExitVmresume = 24,
    kExitVmwrite = 25,
    kExitVmxoff = 26,
    kExitVmxon = 27,
    kExitCrAccess = 28,
    kExitIo = 30,
    kExitRdmsr = 31,
    kExitWrmsr = 32,
    kExitEptViolation = 48,
    kExitEptMisconfiguration = 49,
    kExitInvept = 50,
    kExitInvvpid = 53,
    kExitReasons = 70,
};

// ---- This level's own use of VMX --------------------------------------------------------------------------------
// Fills own_capabilities and offered_capabilities, enters VMX operation. Ends the run with a sentence if
// something needed is missing.
void vmx_on(void);
void vmx_off(void);

struct Vmcs {
    struct VmcsRegion* region;  // the processor's format at level 1 and in plain mode
    bool launched;
};
struct Vmcs vmcs_create(void);  // VMCLEARed
void vmcs_clear(struct Vmcs* vmcs);  // VMCLEAR: its state is in memory, none is current
void vmcs_load(struct Vmcs* vmcs);
// Whether this level works on its VMCS regions directly, and the current one.
extern bool enlightened;
extern struct Vmcs* current_vmcs;

void vmwrite_instruction(u64 encoding, u64 value);
u64 vmread_instruction(u64 encoding);
void invept(u64 eptp);

// The current VMCS. Enlightened, a plain memory access: guest state other than the Hot fields is then not
// read back (the parent doesn't store it), which is what the VMREAD instruction is still there for.
static inline u64 vmcs_read(enum Field field) {
    if (enlightened && kFieldKind[field] != Guest && field != ENTRY_CONTROLS) {
        return current_vmcs->region->field[field];
    }
    return vmread_instruction(kFieldEncoding[field]);
}
static inline void vmcs_write(enum Field field, u64 value) {
    if (enlightened) {
        current_vmcs->region->field[field] = value;
        current_vmcs->region->dirty[field / 64] |= 1ULL << (field % 64);
        return;
    }
    vmwrite_instruction(kFieldEncoding[field], value);
}
// The fields that are the same in every VMCS of this level: its own state, the counts it doesn't use.
void vmcs_write_constants(void);

// ---- ept.c -------------------------------------------------------------------------------------------------------
enum { kEptRead = 1, kEptWrite = 2, kEptExecute = 4, kEptAll = 7 };
struct Translation {
    u64 address;  // of the byte asked for
    u64 bytes;    // of the page
    u32 access;   // 0: not mapped
    bool misconfigured;
};
enum { kEptTablePages = 12 };
struct Ept {
    u64* page[kEptTablePages];  // [0] is the root; kept for reuse when the tables are built anew
    u32 pages_used;
};
void ept_clear(struct Ept* ept);
void ept_map(struct Ept* ept, u64 from, u64 to, u64 bytes, u32 access);  // bytes: 4 KiB or 2 MiB
u64 ept_pointer(const struct Ept* ept);
bool ept_pointer_valid(u64 eptp);
extern struct Ept own_ept;  // child's physical addresses to ours
// The walk of the EPT a child built, in the child's memory.
struct Translation ept_walk_child(u64 eptp, u64 address);
// Makes `shadow` map what `eptp` maps, through own_ept.
void ept_compose(struct Ept* shadow, u64 eptp);
// The same for the one page at `address` of the child's `entry`. False if our own EPT doesn't allow `access`.
bool ept_compose_page(struct Ept* shadow, u64 address, const struct Translation* entry, u32 access);

// ---- nested_instructions.c, nested_entry.c -----------------------------------------------------------------------
// What this level keeps for each VMCS of its child.
struct Nested {
    u64 address;                 // of the 12, in the child's memory
    struct VmcsRegion* region;   // the same place in ours; null: the slot is free
    struct Vmcs vmcs02;
    struct Ept shadow;           // composed from the 12's EPT pointer
    u8* msr_bitmap;              // the 12's or ours
    bool merged;                 // all fields of the 12 are in the 02
};
enum { kNestedSlots = 40 };
#define NO_VMCS (~0ULL)
struct ChildVmx {
    struct VmxonRegion* region;  // null: not in VMX operation
    u64 region_address;
    u64 current;                 // used unless the child is enlightened
    struct Nested nested[kNestedSlots];
};
extern struct ChildVmx child_vmx;
extern struct Vmcs vmcs01;
extern bool nested_running;  // the last VM entry was on a 02

static inline bool child_in_vmx_operation(void) { return child_vmx.region != NULL; }
static inline bool child_enlightened(void) { return child_vmx.region->enlightened != 0; }
static inline u64 child_current_vmcs(void) {
    return child_enlightened() ? child_vmx.region->current_vmcs : child_vmx.current;
}
// The region of a 12, or null if the address cannot be one.
struct VmcsRegion* child_vmcs_region(u64 address);
struct Nested* find_nested(u64 address);  // null if it has never been entered

enum VmxError {
    kVmclearAddress = 2,
    kVmclearVmxonPointer = 3,
    kVmlaunchNotClear = 4,
    kVmresumeNotLaunched = 5,
    kEntryControls = 7,
    kVmptrldAddress = 9,
    kVmptrldVmxonPointer = 10,
    kVmptrldRevision = 11,
    kUnsupportedField = 12,
    kReadOnlyField = 13,
    kVmxonInRoot = 15,
    kInveptOperand = 28,
};
void vm_succeed(void);
void vm_fail_invalid(void);
void vm_fail(enum VmxError error);

void on_vmx_instruction(u32 reason);  // emulates one VMX instruction of the child
void nested_enter(bool launch);       // its VMLAUNCH and VMRESUME
// An exit of the grandchild. True: it is dealt with, by reflecting it to the child or by completing our
// shadow of the child's EPT. False: the child doesn't want it, so it is ours to answer.
bool nested_exit(u32 reason);
void nested_release(struct Nested* nested);  // stores all guest state into the 12 and forgets the 02
extern u8* own_msr_bitmap;

#endif
