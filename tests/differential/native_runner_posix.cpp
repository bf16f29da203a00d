#include "core/assert.hpp"
#include "tests/differential/native_runner.hpp"

#include <csignal>
#include <cstring>

#include <sys/mman.h>
#include <ucontext.h>

namespace droste::differential {

// The offsets below are NativeState's.
static_assert(offsetof(NativeState, rflags) == 128);
static_assert(offsetof(NativeState, rip) == 136);
static_assert(offsetof(NativeState, xsave) == 192);

extern "C" void droste_native_enter();
extern "C" void droste_native_exit();
extern "C" void droste_native_fault_exit();

asm(R"(
    .text
    .set S, 0x30000000
    .globl droste_native_enter
droste_native_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, S+4096
    mov $7, %eax
    xor %edx, %edx
    xrstor64 S+192
    pushq S+128
    popfq
    mov S+8, %rcx
    mov S+16, %rdx
    mov S+24, %rbx
    mov S+32, %rsp
    mov S+40, %rbp
    mov S+48, %rsi
    mov S+56, %rdi
    mov S+64, %r8
    mov S+72, %r9
    mov S+80, %r10
    mov S+88, %r11
    mov S+96, %r12
    mov S+104, %r13
    mov S+112, %r14
    mov S+120, %r15
    mov S+0, %rax
    jmp *S+136
    .globl droste_native_exit
droste_native_exit:
    mov %rax, S+0
    mov %rcx, S+8
    mov %rdx, S+16
    mov %rbx, S+24
    mov %rsp, S+32
    mov %rbp, S+40
    mov %rsi, S+48
    mov %rdi, S+56
    mov %r8, S+64
    mov %r9, S+72
    mov %r10, S+80
    mov %r11, S+88
    mov %r12, S+96
    mov %r13, S+104
    mov %r14, S+112
    mov %r15, S+120
    mov S+4096, %rsp
    pushfq
    popq S+128
    mov $7, %eax
    xor %edx, %edx
    xsave64 S+192
    .globl droste_native_fault_exit
droste_native_fault_exit:
    mov S+4096, %rsp
    pushq $0x202
    popfq
    fninit
    movl $0x1f80, -8(%rsp)
    ldmxcsr -8(%rsp)
    vzeroupper
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");

namespace {

constexpr u64 kStateBytes = 2 * kPageBytes;

void* map_at(u64 address, u64 bytes, int protection) {
    void* want = reinterpret_cast<void*>(address);  // NOLINT: fixed addresses are the point
    void* got =
        mmap(want, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    DROSTE_ASSERT(got == want);
    return got;
}

void on_fault(int /*signal*/, siginfo_t* /*info*/, void* context) {
    auto* frame = static_cast<ucontext_t*>(context);
    auto& regs = frame->uc_mcontext.gregs;
    const u64 rip = static_cast<u64>(regs[REG_RIP]);
    if (rip < kCodeAddress || rip >= kCodeAddress + 2 * kPageBytes) {
        std::signal(SIGSEGV, SIG_DFL);  // our own bug: let it show
        std::signal(SIGILL, SIG_DFL);
        return;
    }
    NativeState& state = native_state();
    static constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                       REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                       REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < 16; ++i) {
        state.gpr[i] = static_cast<u64>(regs[kOrder[i]]);
    }
    state.rflags = static_cast<u64>(regs[REG_EFL]);
    state.rip = rip;
    state.vector = static_cast<u64>(regs[REG_TRAPNO]);
    state.error_code = static_cast<u64>(regs[REG_ERR]);
    state.cr2 = static_cast<u64>(regs[REG_CR2]);
    // The frame's XSAVE image is in the standard format.
    std::memcpy(state.xsave.data(), frame->uc_mcontext.fpregs, 576 + 256);
    regs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<u64>(&droste_native_fault_exit));
    regs[REG_EFL] = 0x202;
}

}  // namespace

NativeState& native_state() {
    return *reinterpret_cast<NativeState*>(kStateAddress);  // NOLINT
}

u8* native_scratch() {
    return reinterpret_cast<u8*>(kScratchAddress);  // NOLINT
}

void native_setup() {
    map_at(kStateAddress, kStateBytes, PROT_READ | PROT_WRITE);
    map_at(kCodeAddress, 2 * kPageBytes, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_at(kScratchAddress - kPageBytes, kPageBytes, PROT_NONE);
    map_at(kScratchAddress, kScratchBytes, PROT_READ | PROT_WRITE);
    map_at(kScratchAddress + kScratchBytes, kPageBytes, PROT_NONE);
    constexpr u64 kAltStack = 0x3100'0000;
    stack_t alternate{};
    alternate.ss_sp = map_at(kAltStack, 1U << 16, PROT_READ | PROT_WRITE);
    alternate.ss_size = 1U << 16;
    DROSTE_ASSERT(sigaltstack(&alternate, nullptr) == 0);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) {
        DROSTE_ASSERT(sigaction(signal, &action, nullptr) == 0);
    }
}

void native_run(std::span<const u8> insn, u64 rip) {
    auto* code = reinterpret_cast<u8*>(rip);  // NOLINT
    std::memcpy(code, insn.data(), insn.size());
    code += insn.size();
    // jmp qword [rip+0]; dq droste_native_exit
    constexpr u8 kJump[] = {0xFF, 0x25, 0, 0, 0, 0};
    std::memcpy(code, kJump, sizeof(kJump));
    const u64 target = reinterpret_cast<u64>(&droste_native_exit);
    std::memcpy(code + sizeof(kJump), &target, sizeof(target));
    NativeState& state = native_state();
    state.rip = rip;
    state.vector = kNoFault;
    state.error_code = 0;
    state.cr2 = 0;
    droste_native_enter();
    if (state.vector == kNoFault) {
        state.rip = rip + insn.size();
    }
}

}  // namespace droste::differential
