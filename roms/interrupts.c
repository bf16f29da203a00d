// GDT with a TSS, IDT, and what happens on an exception or interrupt. They are built at run time, in memory
// outside the image: the image is copied into each child and so is never written.
#include "rom.h"

enum { kVectors = 96, kGeneralProtection = 13, kStubBytes = 16, kRdmsrBytes = 2 };

volatile u32 interrupt_count[kVectors];
volatile bool requested_vector_on_late_page;

static u64 gdt[6];
static u64 idt[kVectors][2];
static u32 tss[26];
static bool expecting_fault;
static bool fault_seen;

struct __attribute__((packed)) TablePointer {
    u16 limit;
    u64 base;
};

u64 gdtr_base(void) { return (u64)(uintptr_t)gdt; }
u64 idtr_base(void) { return (u64)(uintptr_t)idt; }
u64 tss_base(void) { return (u64)(uintptr_t)tss; }

void set_up_interrupts(void) {
    for (u32 i = 0; i < 4; ++i) {
        gdt[i] = boot_gdt[i];
    }
    // SDM Vol. 3A, "TSS Descriptor in 64-bit mode": 16 bytes; type 9, an available 64-bit TSS.
    const u64 base = tss_base();
    gdt[kTssSelector / 8] = (sizeof(tss) - 1) | (base & 0xFFFFFF) << 16 | 0x89ULL << 40 | (base >> 24 & 0xFF) << 56;
    gdt[kTssSelector / 8 + 1] = base >> 32;
    // Interrupt stack table entry 1, at offset 36. The page under it is one that a parent maps late, so the
    // first delivery of the vector that uses it causes an EPT violation.
    tss[9] = kLatePage + kPageBytes;
    const struct TablePointer gdtr = {sizeof(gdt) - 1, gdtr_base()};
    __asm__ volatile("lgdt %0; ltr %w1" : : "m"(gdtr), "r"(kTssSelector) : "memory");

    for (u32 i = 0; i < kVectors; ++i) {
        const u64 handler = (u64)(uintptr_t)interrupt_stubs + i * kStubBytes;
        idt[i][0] = (handler & 0xFFFF) | (u64)kCodeSelector << 16 | 0x8EULL << 40 | (handler >> 16 & 0xFFFF) << 48;
        idt[i][1] = handler >> 32;
    }
    idt[kRequestedVector][0] |= 1ULL << 32;  // on interrupt stack 1
    const struct TablePointer idtr = {sizeof(idt) - 1, idtr_base()};
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void on_interrupt(struct InterruptFrame* frame);  // called by the stubs

void on_interrupt(struct InterruptFrame* frame) {
    ++interrupt_count[frame->vector];
    if (frame->vector >= 32) {
        if (frame->vector == kRequestedVector) {
            requested_vector_on_late_page = (u64)(uintptr_t)frame - kLatePage < kPageBytes;
        }
        return;
    }
    if (frame->vector == kGeneralProtection && expecting_fault && frame->error == 0) {
        expecting_fault = false;
        fault_seen = true;
        frame->rip += kRdmsrBytes;
        return;
    }
    fatal("exception %u, error code %x, at %x", (u32)frame->vector, frame->error, frame->rip);
}

bool rdmsr_faults(u32 msr) {
    fault_seen = false;
    expecting_fault = true;
    __asm__ volatile("" : : : "memory");
    (void)rdmsr(msr);
    __asm__ volatile("" : : : "memory");
    expecting_fault = false;
    return *(volatile bool*)&fault_seen;
}
