// The child: its memory, its EPT, its VMCS, and the loop that runs it.
//
// A child gets our memory from 2 MiB on as its memory from 0 on, so every level sees the same addresses and
// all large pages stay aligned however many translations are composed. Its boot information is read-only,
// its page 0 isn't mapped, one page is mapped when it is first used, and one is ours. It starts like level 1 does: in 32-bit protected mode without paging (thanks to
// "unrestricted guest"), at the multiboot entry, with a multiboot loader's register values.
#include "vmx.h"

enum {
    kMultibootLoaderMagic = 0x2BADB002,
    kMultibootMemory = 1 << 0,
    kMultibootCmdline = 1 << 2,
    kOwnVpid = 1,
};

struct MultibootInfo {
    u32 flags, mem_lower_kib, mem_upper_kib, boot_device, cmdline;
};

struct ChildReport child_report;
u64 child_bytes;
struct Ept own_ept;
struct Vmcs vmcs01;
u8* own_msr_bitmap;

static u64* shared_page[2];

void* child_memory(u64 address, u64 length) {
    if (address > child_bytes || length > child_bytes - address) {
        return NULL;
    }
    return (void*)(uintptr_t)(address + LARGE_PAGE_BYTES);
}

static char* append(char* to, const char* text) {
    while (*text != 0) {
        *to++ = *text++;
    }
    *to = 0;
    return to;
}

static char* append_number(char* to, const char* name, u32 value) {
    to = append(to, name);
    const char digits[3] = {(char)('0' + value / 10), (char)('0' + value % 10), 0};
    return append(to, digits);
}

static void fill_memory(void) {
    const u64 image_bytes = (u64)(image_end - image_start);
    copy_bytes(child_memory((u64)(uintptr_t)image_start, image_bytes), image_start, image_bytes);
    u8* page = child_memory(kBootPage, kPageBytes);
    zero_bytes(page, kPageBytes);
    struct MultibootInfo* info = (struct MultibootInfo*)(void*)page;
    info->flags = kMultibootMemory | kMultibootCmdline;
    info->mem_lower_kib = 640;
    info->mem_upper_kib = (u32)(child_bytes / 1024 - 1024);
    info->cmdline = kBootPage + kBootPageCmdline;
    char* end = append_number((char*)page + kBootPageCmdline, "rom levels=", level.levels);
    end = append_number(end, " level=", level.number + 1);
    append(end, level.plain ? " plain" : "");
}

static void build_ept(void) {
    ept_clear(&own_ept);
    for (u64 address = kPageBytes; address < LARGE_PAGE_BYTES; address += kPageBytes) {
        if (address == kLatePage) {
            continue;
        }
        ept_map(&own_ept, address, address + LARGE_PAGE_BYTES, kPageBytes,
                address == kBootPage ? kEptRead : kEptAll);
    }
    for (u64 address = LARGE_PAGE_BYTES; address < child_bytes; address += LARGE_PAGE_BYTES) {
        ept_map(&own_ept, address, address + LARGE_PAGE_BYTES, LARGE_PAGE_BYTES, kEptAll);
    }
}

void map_late_page(void) {
    // From not present to present: nothing can be cached, no INVEPT is needed.
    ept_map(&own_ept, kLatePage, kLatePage + LARGE_PAGE_BYTES, kPageBytes, kEptAll);
}

static void map_shared_page(u32 which) {
    ept_map(&own_ept, kSharedPage, (u64)(uintptr_t)shared_page[which], kPageBytes, kEptRead);
}

// Also puts the VMCS away and takes it up again, so that the child goes on from what VMCLEAR stored.
void remap_shared_page(void) {
    map_shared_page(1);
    invept(ept_pointer(&own_ept));
    vmcs_clear(&vmcs01);
    vmcs_load(&vmcs01);
}

static void make_shared_pages(void) {
    for (u32 i = 0; i < 2; ++i) {
        shared_page[i] = allocate_page();
        *shared_page[i] = SHARED_SIGNATURE | level.number << 8 | i;
    }
    map_shared_page(0);
}

// SDM Vol. 3C, "MSR-Bitmap Address": a bit for each of MSRs 0..1FFFh and C0000000h..C0001FFFh; reads, then
// writes. The child has its own value, from the VMCS, of exactly the MSRs that don't exit.
static void build_msr_bitmap(void) {
    static const u32 own_values[] = {
        IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP, IA32_EFER, IA32_FS_BASE, IA32_GS_BASE,
    };
    own_msr_bitmap = allocate_page();
    for (u32 i = 0; i < kPageBytes; ++i) {
        own_msr_bitmap[i] = 0xFF;
    }
    for (u32 i = 0; i < sizeof(own_values) / sizeof(own_values[0]); ++i) {
        const u32 msr = own_values[i];
        const u32 byte = (msr >= 0xC0000000 ? 0x400 : 0) + (msr & 0x1FFF) / 8;
        own_msr_bitmap[byte] &= (u8)~(1U << (msr % 8));
        own_msr_bitmap[byte + 0x800] &= (u8)~(1U << (msr % 8));
    }
}

static u32 control(enum ControlWord word, u32 wanted) {
    return (wanted | own_capabilities.control[word].zero) & own_capabilities.control[word].one;
}

static void write_controls(void) {
    vmcs_write(PIN_CONTROLS, control(kPin, 0));
    vmcs_write(PROC_CONTROLS,
               control(kProc, kProcHltExiting | kProcUnconditionalIo | kProcMsrBitmaps | PROC_SECONDARY));
    vmcs_write(PROC_CONTROLS2, control(kProc2, kProc2Ept | kProc2UnrestrictedGuest | kProc2Vpid));
    vmcs_write(EXIT_CONTROLS, control(kExit, kExitHost64 | kExitSaveEfer | kExitLoadEfer));
    vmcs_write(ENTRY_CONTROLS, control(kEntry, kEntryLoadEfer));
    if (has_vpid()) {
        vmcs_write(VPID, kOwnVpid);
    }
    vmcs_write(EPT_POINTER, ept_pointer(&own_ept));
    vmcs_write(MSR_BITMAP, (u64)(uintptr_t)own_msr_bitmap);
    static const enum Field zero[] = {
        EXCEPTION_BITMAP, PAGE_FAULT_MASK, PAGE_FAULT_MATCH, ENTRY_INTERRUPTION_INFO, ENTRY_EXCEPTION_ERROR,
        ENTRY_INSTRUCTION_LENGTH, CR4_READ_SHADOW,
    };
    for (u32 i = 0; i < sizeof(zero) / sizeof(zero[0]); ++i) {
        vmcs_write(zero[i], 0);
    }
    // VMX operation keeps CR0.NE and CR4.VMXE at 1. The child sees CR4.VMXE as it wrote it.
    vmcs_write(CR0_MASK, CR0_NE);
    vmcs_write(CR4_MASK, CR4_VMXE);
    vmcs_write(CR0_READ_SHADOW, CR0_NE);
}

// The machine state of the Multiboot Specification, "Machine state".
static void write_initial_guest_state(void) {
    enum { kCr0Pe = 1 << 0, kCr0Et = 1 << 4, kFlatCode32 = 0xC09B, kFlatData = 0xC093, kBusyTss = 0x8B };
    enum { kUnusable = 1 << 16, kSegments = 8, kLdtr = 6, kTr = 7 };
    // Selector, base, limit and access fields follow each other in the order ES CS SS DS FS GS LDTR TR.
    for (u32 i = 0; i < kSegments; ++i) {
        const bool system = i == kLdtr || i == kTr;
        u32 access = i == 1 ? kFlatCode32 : kFlatData;
        access = i == kLdtr ? kUnusable : i == kTr ? kBusyTss : access;
        vmcs_write((enum Field)(GUEST_ES + i), 0);
        vmcs_write((enum Field)(GUEST_ES_BASE + i), 0);
        vmcs_write((enum Field)(GUEST_ES_LIMIT + i), system ? 0xFFFF : 0xFFFFFFFF);
        vmcs_write((enum Field)(GUEST_ES_ACCESS + i), access);
    }
    static const enum Field zero[] = {
        GUEST_CR3, GUEST_GDTR_BASE, GUEST_IDTR_BASE, GUEST_GDTR_LIMIT, GUEST_IDTR_LIMIT, GUEST_EFER, GUEST_RSP,
        GUEST_DEBUGCTL, GUEST_INTERRUPTIBILITY, GUEST_ACTIVITY, GUEST_PENDING_DEBUG, GUEST_SYSENTER_CS,
        GUEST_SYSENTER_ESP, GUEST_SYSENTER_EIP,
    };
    for (u32 i = 0; i < sizeof(zero) / sizeof(zero[0]); ++i) {
        vmcs_write(zero[i], 0);
    }
    vmcs_write(GUEST_CR0, kCr0Pe | kCr0Et | CR0_NE);
    vmcs_write(GUEST_CR4, CR4_VMXE);
    vmcs_write(GUEST_DR7, 0x400);
    vmcs_write(GUEST_RFLAGS, 2);
    vmcs_write(GUEST_RIP, (u64)(uintptr_t)start);
    vmcs_write(VMCS_LINK_POINTER, ~0ULL);
    for (u32 i = 0; i < 16; ++i) {
        guest_registers[i] = 0;
    }
    guest_registers[kRax] = kMultibootLoaderMagic;
    guest_registers[kRbx] = kBootPage;
}

void make_child(void) {
    child_bytes = level.memory_bytes - LARGE_PAGE_BYTES;
    fill_memory();
    build_ept();
    make_shared_pages();
    build_msr_bitmap();
    vmcs01 = vmcs_create();
    vmcs_load(&vmcs01);
    vmcs_write_constants();
    write_controls();
    write_initial_guest_state();
    if (vm_enter(1) == 0 || vmcs_read(INSTRUCTION_ERROR) != kVmresumeNotLaunched) {
        fatal("VMRESUME of a VMCS that isn't launched did not fail as it must");
    }
}

void run_child(void) {
    for (;;) {
        if (vm_enter(current_vmcs->launched) != 0) {
            fatal("VM entry failed, VM-instruction error %u (%s)", (u32)vmcs_read(INSTRUCTION_ERROR),
                  nested_running ? "for the guest's guest" : "for the guest");
        }
        ++child_report.exits;
        const u32 reason = (u32)vmcs_read(EXIT_REASON);
        if ((reason & EXIT_ENTRY_FAILURE) == 0) {
            current_vmcs->launched = true;
        }
        if (nested_running && nested_exit(reason)) {
            continue;
        }
        if (on_own_exit(reason) == Ended) {
            return;
        }
    }
}
