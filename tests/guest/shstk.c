// Shadow stacks of user programs under Linux 6.6 and later: runs statically linked in an initramfs, turns them on for itself
// and prints one CHECK line for each claim, then how many failed. Every claim that ends in a fault runs in a child.

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    kArchShstkEnable = 0x5001,  // arch_prctl
    kFeatureShstk = 1,
    kFeatureWrss = 2,
    kMapShadowStack = 453,
    kShadowStackSetToken = 1,
    kSegvControlProtection = 10,  // SEGV_CPERR
};

static int failures;

static void claim(const char* name, int ok) {
    printf("CHECK shadow stack: %s %s\n", name, ok ? "ok" : "BAD");
    fflush(stdout);
    failures += !ok;
}

// Inlined: the function that turns shadow stacks on has no shadow of its own return address.
static inline __attribute__((always_inline)) long call_kernel(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

static inline __attribute__((always_inline)) uint64_t read_ssp(void) {
    uint64_t ssp = 0;
    __asm__ volatile("rdsspq %0" : "+r"(ssp));
    return ssp;
}

static inline void write_shadow(uint64_t* slot, uint64_t value) {
    __asm__ volatile("wrssq %1, %0" : "=m"(*slot) : "r"(value));
}

static __attribute__((noinline)) uint64_t ssp_one_call_down(void) {
    return read_ssp();
}

static __attribute__((noinline)) unsigned long depth(unsigned long n) {
    volatile unsigned long here = n;
    return n == 0 ? 0 : 1 + depth(here - 1);
}

static volatile sig_atomic_t handled;
static void count_signal(int number) {
    (void)number;
    handled += (int)depth(10) == 10;
}

// What a faulting child met: si_code, or 0 if it ended by itself.
static void report_fault(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)context;
    _exit(info->si_code);
}

static int fault_of(void (*action)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        struct sigaction handler;
        memset(&handler, 0, sizeof(handler));
        handler.sa_sigaction = report_fault;
        handler.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &handler, NULL);
        action();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void elsewhere(void) {
    _exit(99);
}

static __attribute__((noinline)) void smash_return_address(void) {
    void** slot = __builtin_frame_address(0);
    *(void* volatile*)(slot + 1) = (void*)elsewhere;
}

static void store_to_shadow_stack(void) {
    *(volatile uint64_t*)read_ssp() = 0;
}

static uint64_t ordinary_page;
static void write_shadow_to_ordinary_page(void) {
    write_shadow(&ordinary_page, 1);
}

static void restore_without_token(void) {
    __asm__ volatile("rstorssp (%0)" : : "r"(read_ssp() - 64) : "memory");
}

static void return_twice(void) {
    __asm__ volatile("incsspq %0" : : "r"(1UL));
}

// Moves to a second shadow stack that the kernel made with a token on it, calls there, and comes back.
static __attribute__((noinline)) int switch_stacks(void) {
    const long bytes = 0x4000;
    const long area = call_kernel(kMapShadowStack, 0, bytes, kShadowStackSetToken);
    if (area < 0) {
        return 0;
    }
    const uint64_t before = read_ssp();
    __asm__ volatile("rstorssp (%0)\n\tsaveprevssp" : : "r"(area + bytes - 8) : "memory", "cc");
    const int moved = read_ssp() == (uint64_t)(area + bytes) && depth(20) == 20;
    __asm__ volatile("rstorssp (%0)\n\tsaveprevssp" : : "r"(before - 8) : "memory", "cc");
    return moved && read_ssp() == before;
}

static void run(void) {
    claim("calls nest", depth(2000) == 2000);
    const uint64_t here = read_ssp();
    claim("a call pushes 8 bytes", here != 0 && ssp_one_call_down() == here - 8);
    signal(SIGUSR1, count_signal);
    for (int i = 0; i < 5; ++i) {
        raise(SIGUSR1);
    }
    claim("signals come and go", handled == 5 && read_ssp() == here);
    claim("another stack and back", switch_stacks());
    claim("a smashed return address is found", fault_of(smash_return_address) == kSegvControlProtection);
    claim("an entry too few is found", fault_of(return_twice) == kSegvControlProtection);
    claim("no token, no stack", fault_of(restore_without_token) == kSegvControlProtection);
    claim("ordinary stores cannot reach it", fault_of(store_to_shadow_stack) == SEGV_ACCERR);
    claim("WRSS reaches nothing else", fault_of(write_shadow_to_ordinary_page) == SEGV_ACCERR);
    uint64_t* const free_slot = (uint64_t*)(here - 1024);
    write_shadow(free_slot, 0x1234);
    claim("WRSS writes", *free_slot == 0x1234);
    printf("SHSTK-DONE failed=%d\n", failures);
    fflush(stdout);
}

int main(void) {
    const long enabled = call_kernel(SYS_arch_prctl, kArchShstkEnable, kFeatureShstk, 0);
    const long writable = call_kernel(SYS_arch_prctl, kArchShstkEnable, kFeatureWrss, 0);
    claim("the kernel turns it on", enabled == 0 && writable == 0);
    run();
    _exit(failures != 0);
}
