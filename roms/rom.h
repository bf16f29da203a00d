// The self-nesting hypervisor: shared declarations. docs/vmx/rom.md explains the whole.
//
// Words: a level's "child" is the guest it starts, a copy of this program one level deeper; "parent" is the
// hypervisor that started this level (level 1 has none). VMCS names follow the usual numbering seen from
// one level: 01 is its VMCS for the child, 12 the child's VMCS for the grandchild (as the child sees it),
// 02 the VMCS on which this level really runs that grandchild.
#ifndef DROSTE_ROMS_ROM_H
#define DROSTE_ROMS_ROM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum { kPageBytes = 4096 };
#define LARGE_PAGE_BYTES 0x200000ULL

// ---- What each level is told, and finds out --------------------------------------------------------------
struct Level {
    u32 number;           // 1 is the one on the machine itself
    u32 levels;           // how many there are to be
    bool plain;           // no enlightened VMCS: VMREAD and VMWRITE at every level
    u64 memory_bytes;     // this level's, from address 0
    u64 image_checksum;   // of this copy of the program
};
extern struct Level level;

// ---- The machine interface between a parent and its child ------------------------------------------------
enum {
    kSerialPort = 0x3F8,       // level 1: the machine's UART; deeper: an I/O exit per string
    kSerialStatusPort = 0x3FD,
    kPowerPort = 0x604,        // ACPI PM1a control: SLP_EN ends this level
    kPowerOff = 0x2000,
    kDebugExitPort = 0xF4,     // isa-debug-exit: ends this level as failed
    kLevelPort = 0xD20,        // read: kLevelSignature | number of the level that answers;
                               // write: asks the parent to inject that vector, or
    kRemapRequest = 0x100,     //   to put another page at kSharedPage
    kTimerVector = 0x51,       // injected into a child that halts
    kRequestedVector = 0x50,
};
#define LEVEL_SIGNATURE 0xD5050000U
// CPUID leaves a parent offers to its child.
#define CPUID_SIGNATURE 0x40000000U  // EBX, ECX, EDX: "DrosteLevels"
#define CPUID_LEVEL 0x40000001U      // EAX: who answers, EBX: features, EDX:ECX: checksum of its image
enum { kFeatureEnlightenedVmcs = 1 << 0 };
// In a child's physical memory, but not there: reading it is an EPT violation its parent answers with this.
#define PROBE_ADDRESS 0x3FE00000ULL
#define PROBE_DENIED 0xDE91ED0000000000ULL
enum {
    kBootPage = 0x8000,      // the boot information, read-only in the EPT
    kBootPageCmdline = 128,  // offset in it
    kLatePage = 0x9000,      // the stack of kRequestedVector; not in the EPT until it is used
    kSharedPage = 0xB000,    // one of two pages of the parent, read-only: SHARED_SIGNATURE, level << 8, 0 or 1
};
#define SHARED_SIGNATURE 0x5A4ED00000000000ULL

// ---- start.asm ---------------------------------------------------------------------------------------------
struct InterruptFrame {
    u64 vector, error, rip, cs, rflags, rsp, ss;
};
extern char image_start[], image_end[], pool_start[], pool_end[], start[], exit_stack_top[];
extern char vm_exit_entry[], interrupt_stubs[];
extern const u64 boot_gdt[4];
extern u64 guest_registers[16];
enum { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi };
int vm_enter(int launched);
u64 probe_read(u64 address);
void probe_write(u64 address);

// ---- console.c, memory.c, interrupts.c, level.c ------------------------------------------------------------
void console_write(const char* text, u64 length);
// Format: %u unsigned, %x 64-bit hexadecimal, %s string.
void print(const char* format, ...);
_Noreturn void stop_machine(bool passed);
_Noreturn void fatal(const char* format, ...);

void* allocate_page(void);  // zeroed; from the pool behind the image
void copy_bytes(void* to, const void* from, u64 length);
void zero_bytes(void* to, u64 length);
bool starts_with(const char* text, const char* start);

void set_up_interrupts(void);
u64 gdtr_base(void);
u64 idtr_base(void);
u64 tss_base(void);
enum { kCodeSelector = 0x08, kDataSelector = 0x10, kTssSelector = 0x20 };
extern volatile u32 interrupt_count[96];
extern volatile bool requested_vector_on_late_page;
// RDMSR that reports a #GP instead of dying from it.
bool rdmsr_faults(u32 msr);

// ---- checks.c ------------------------------------------------------------------------------------------------
struct Checks {
    bool arithmetic, isolation, intercept, interrupt;
};
u64 checksum_image(void);
bool check_arithmetic(void);
void check_as_guest(struct Checks* checks);  // Requires: level.number > 1
extern u64 canary;                           // at the same address in every level's own memory
u64 expected_canary(u32 number);

// ---- child.c, exits.c ----------------------------------------------------------------------------------------
// What this level saw its child do.
struct ChildReport {
    bool passed;  // powered off rather than reported a failure
    u64 exits;
    u32 cpuid_exits, port_reads, denied_msrs, denied_reads, denied_writes, late_pages, remaps, injected, windows;
};
extern struct ChildReport child_report;
extern u64 child_bytes;  // the child's memory: its address A is our A + LARGE_PAGE_BYTES
// The child's memory, or null if [address, address + length) isn't all there.
void* child_memory(u64 address, u64 length);
void make_child(void);
void run_child(void);       // until it powers off
void map_late_page(void);
void remap_shared_page(void);

typedef enum { Resume, Ended } Next;
Next on_own_exit(u32 reason);  // an exit that this level answers itself
void skip_instruction(void);
void inject_exception(u32 vector, bool with_error_code);
void reinject_vectored_event(void);

// ---- Instructions --------------------------------------------------------------------------------------------
static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port) {
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline u32 in32(u16 port) {
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline u64 rdmsr(u32 msr) {
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}
static inline void wrmsr(u32 msr, u64 value) {
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}
struct Cpuid {
    u32 eax, ebx, ecx, edx;
};
static inline struct Cpuid cpuid(u32 leaf, u32 subleaf) {
    struct Cpuid out;
    __asm__ volatile("cpuid"
                     : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
                     : "a"(leaf), "c"(subleaf));
    return out;
}
#define READ_CR(number)                                                \
    static inline u64 read_cr##number(void) {                          \
        u64 value;                                                     \
        __asm__ volatile("mov %%cr" #number ", %0" : "=r"(value));     \
        return value;                                                  \
    }
READ_CR(0)
READ_CR(3)
READ_CR(4)
static inline void write_cr0(u64 value) { __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory"); }
static inline void write_cr4(u64 value) { __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }

#endif
