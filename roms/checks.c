// What a level checks about itself. check_arithmetic() is for every level; check_as_guest() is the child's
// side of the other three, level.c has the parent's.
#include "rom.h"

u64 canary;

u64 expected_canary(u32 number) { return 0xCA7A000000000000ULL | (u64)number * 0x9E3779B1ULL; }

// FNV-1a over 64-bit words.
static u64 checksum(const u64* words, u64 count, u64 hash) {
    for (u64 i = 0; i < count; ++i) {
        hash = (hash ^ words[i]) * 0x100000001B3ULL;
    }
    return hash;
}

u64 checksum_image(void) {
    return checksum((const u64*)(const void*)image_start, (u64)(image_end - image_start) / 8,
                    0xCBF29CE484222325ULL);
}

// A chain through multiply, divide, rotate, double shift and carry; the result was computed on a real CPU.
static u64 compute(void) {
    u64 a = 0x0123456789ABCDEFULL, b = 0xFEDCBA9876543210ULL;
    for (u32 i = 1; i <= 1000; ++i) {
        u64 high, low, quotient, remainder;
        __asm__("mulq %[b]" : "=d"(high), "=a"(low) : [b] "r"(b), "a"(a) : "cc");
        const u64 divisor = high | 1ULL << 63;  // above the high half of the dividend below
        __asm__("divq %[d]" : "=a"(quotient), "=d"(remainder) : [d] "r"(divisor), "d"(high >> 1), "a"(low) : "cc");
        __asm__("addq %[low], %[a]\n\tadcq %[rem], %[b]\n\tshldq $13, %[quo], %[a]\n\trorq %%cl, %[b]"
                : [a] "+r"(a), [b] "+r"(b)
                : [low] "r"(low), [rem] "r"(remainder), [quo] "r"(quotient), "c"(i)
                : "cc");
    }
    return a ^ b;
}

bool check_arithmetic(void) { return compute() == 0xb1562214c0d5b8d0ULL; }

// ---- As a guest ----------------------------------------------------------------------------------------------
// The parent's answers to CPUID, to an I/O port and to a synthetic part of an MSR name it; an MSR that is in
// the VMCS is our own; one that doesn't exist faults.
static bool check_intercepts(void) {
    enum { kVmxBasic = 0x480, kSysenterEip = 0x176, kNoSuchMsr = 0x1DEA };
    const u32 parent = level.number - 1;
    const struct Cpuid signature = cpuid(CPUID_SIGNATURE, 0);
    const struct Cpuid answer = cpuid(CPUID_LEVEL, 0);
    const bool cpuid_ok = signature.ebx == 0x736F7244 && signature.ecx == 0x654C6574 &&
                          signature.edx == 0x736C6576 && answer.eax == parent &&
                          ((u64)answer.edx << 32 | answer.ecx) == level.image_checksum;
    const bool io_ok = in32(kLevelPort) == (LEVEL_SIGNATURE | parent);
    wrmsr(kSysenterEip, expected_canary(level.number) & 0x7FFFFFFF);
    const bool msr_ok = (rdmsr(kVmxBasic) & 0xFFFF) == parent &&
                        rdmsr(kSysenterEip) == (expected_canary(level.number) & 0x7FFFFFFF) &&
                        rdmsr_faults(kNoSuchMsr);
    return cpuid_ok && io_ok && msr_ok;
}

// An interrupt asked for while interrupts are disabled arrives after STI, not before; and HLT waits for one.
static bool check_interrupts(void) {
    __asm__ volatile("cli");
    out32(kLevelPort, kRequestedVector);
    const bool held_back = interrupt_count[kRequestedVector] == 0;
    __asm__ volatile("sti; nop; nop; cli" : : : "memory");
    const bool delivered = interrupt_count[kRequestedVector] == 1;
    __asm__ volatile("sti; hlt; cli" : : : "memory");
    return held_back && delivered && requested_vector_on_late_page && interrupt_count[kTimerVector] == 1;
}

// The parent puts another page in the place of one we have read: its INVEPT must reach every translation in
// between.
static bool check_remap(void) {
    const volatile u64* shared = (const volatile u64*)(uintptr_t)kSharedPage;
    const u64 signature = SHARED_SIGNATURE | (level.number - 1) << 8;
    const bool first = *shared == signature;
    out32(kLevelPort, kRemapRequest);
    return first && *shared == (signature | 1);
}

// What isn't ours isn't there, and what is the parent's to write isn't ours to write.
static bool check_isolation(void) {
    const bool denied = probe_read(PROBE_ADDRESS) == (PROBE_DENIED | (level.number - 1));
    const u64 before = *(volatile u64*)(uintptr_t)kBootPage;
    probe_write(kBootPage);
    return check_remap() && denied && *(volatile u64*)(uintptr_t)kBootPage == before && canary == expected_canary(level.number);
}

void check_as_guest(struct Checks* checks) {
    checks->intercept = check_intercepts();
    checks->interrupt = check_interrupts();
    checks->isolation = check_isolation();
}
