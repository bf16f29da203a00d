#include "core/assert.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "tests/differential/native_runner.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

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
    cmpq $0, S+4104
    je 1f
    mov $7, %eax
    xor %edx, %edx
    xrstor64 S+192
    jmp 2f
1:  fxrstor64 S+192
2:  pushq S+128
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
    cmpq $0, S+4104
    je 3f
    mov $7, %eax
    xor %edx, %edx
    xsave64 S+192
    jmp droste_native_fault_exit
3:  fxsave64 S+192
    .globl droste_native_fault_exit
droste_native_fault_exit:
    mov S+4096, %rsp
    pushq $0x202
    popfq
    fninit
    movl $0x1f80, -8(%rsp)
    ldmxcsr -8(%rsp)
    cmpq $0, S+4104
    je 4f
    vzeroupper
4:  pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");

namespace {

constexpr u64 kStateBytes = 2 * kPageBytes;

// What the code above keeps behind NativeState, at S+4096.
struct RunnerState {
    u64 rsp;  // the test program's own
    u64 ymm;  // not 0: x87, SSE and AVX state by XSAVE; 0: x87 and SSE state by FXSAVE
};
RunnerState& runner_state() {
    return *reinterpret_cast<RunnerState*>(kStateAddress + kPageBytes);  // NOLINT
}

constexpr std::size_t kLegacyBytes = 512, kStandardBytes = 576 + 256, kXstateBv = 512, kXmm0 = 160,
                      kYmm0High = 576;

// Null if the address is taken or the kernel refuses (no memory both writable and executable).
void* map_at(u64 address, u64 bytes, int protection) {
    void* want = reinterpret_cast<void*>(address);  // NOLINT: fixed addresses are the point
    void* got =
        mmap(want, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != MAP_FAILED && got != want) {
        munmap(got, bytes);  // a kernel before 4.17 takes the address for a hint
        return nullptr;
    }
    return got == want ? got : nullptr;
}

// The frame's image is in XSAVE's standard format if the kernel says so, else FXSAVE's.
void take_frame_image(const ucontext_t& frame, NativeState& state) {
    const auto* image = reinterpret_cast<const u8*>(frame.uc_mcontext.fpregs);
    _fpx_sw_bytes software{};
    std::memcpy(&software, image + kLegacyBytes - sizeof(software), sizeof(software));
    const bool extended = native_has_ymm() && software.magic1 == FP_XSTATE_MAGIC1 &&
                          software.xstate_size >= kStandardBytes;
    std::memcpy(state.xsave.data(), image, extended ? kStandardBytes : kLegacyBytes);
    if (!extended) {
        state.xsave[kXstateBv] = 7;
    }
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
    take_frame_image(*frame, state);
    // The case's RSP may be anything; a kernel need not return to a non-canonical one.
    regs[REG_RSP] = static_cast<greg_t>(runner_state().rsp);
    regs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<u64>(&droste_native_fault_exit));
    regs[REG_EFL] = 0x202;
}

constexpr u64 kAltStack = 0x3100'0000, kAltStackBytes = 1U << 16;

bool map_all() {
    return map_at(kStateAddress, kStateBytes, PROT_READ | PROT_WRITE) != nullptr &&
           map_at(kCodeAddress, 2 * kPageBytes, PROT_READ | PROT_WRITE | PROT_EXEC) != nullptr &&
           map_at(kScratchAddress - kPageBytes, kPageBytes, PROT_NONE) != nullptr &&
           map_at(kScratchAddress, kScratchBytes, PROT_READ | PROT_WRITE) != nullptr &&
           map_at(kScratchAddress + kScratchBytes, kPageBytes, PROT_NONE) != nullptr &&
           map_at(kAltStack, kAltStackBytes, PROT_READ | PROT_WRITE) != nullptr;
}

bool install_handlers() {
    stack_t alternate{};
    alternate.ss_sp = reinterpret_cast<void*>(kAltStack);  // NOLINT
    alternate.ss_size = kAltStackBytes;
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    bool installed = sigaltstack(&alternate, nullptr) == 0;
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) {
        installed = installed && sigaction(signal, &action, nullptr) == 0;
    }
    return installed;
}

// What a signal must tell of each kind of fault.
struct Probe {
    std::array<u8, 4> insn;
    unsigned length;
    u64 rax, rsp;
    u64 vector, error_code, cr2;
};
constexpr u64 kUnmapped = kScratchAddress - 8, kNonCanonical = 0xDEAD'0000'0000'0000;
constexpr auto kProbes = std::to_array<Probe>({
    {{0x90}, 1, 0, kNonCanonical, kNoFault, 0, 0},                    // nop
    {{0x0F, 0x0B}, 2, 0, kNonCanonical, 6, 0, 0},                     // ud2
    {{0x0F, 0x0B}, 2, 0, 0, 6, 0, 0},                                 // ud2
    {{0xF7, 0xF1}, 2, 0, kScratchAddress, 0, 0, 0},                   // div ecx
    {{0x8B, 0x00}, 2, kUnmapped, kScratchAddress, 14, 4, kUnmapped},  // mov eax, [rax]
    {{0x89, 0x00}, 2, kUnmapped, kNonCanonical, 14, 6, kUnmapped},    // mov [rax], eax
    {{0x8B, 0x00}, 2, kNonCanonical, kScratchAddress, 13, 0, 0},      // mov eax, [rax]
});

bool probe_passes(const Probe& probe) {
    NativeState& state = native_state();
    state = NativeState{};
    constexpr u16 kFcw = 0x37F;
    constexpr u32 kMxcsr = 0x1F80;
    std::memcpy(state.xsave.data(), &kFcw, sizeof(kFcw));
    std::memcpy(state.xsave.data() + 24, &kMxcsr, sizeof(kMxcsr));
    state.xsave[kXstateBv] = 7;
    state.xsave[kXmm0] = 0x5A;
    state.xsave[kYmm0High] = 0x5B;
    state.rflags = 0x202;
    state.gpr[0] = probe.rax;
    state.gpr[4] = probe.rsp;
    native_run({probe.insn.data(), probe.length}, kCodeAddress);
    return state.vector == probe.vector && state.error_code == probe.error_code &&
           (probe.vector != 14 || state.cr2 == probe.cr2) && state.gpr[4] == probe.rsp &&
           state.xsave[kXmm0] == 0x5A && state.xsave[kYmm0High] == 0x5B &&
           state.rip == kCodeAddress + (probe.vector == kNoFault ? probe.length : 0);
}

// In a child, which may die of what it tries.
bool probes_pass() {
    const int status =
        in_child([] { return std::all_of(kProbes.begin(), kProbes.end(), probe_passes) ? 0 : 1; });
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char* set_up() {
    if (native_masked("witness")) {
        return "masked by the environment";
    }
    if (!map_all()) {
        return "the kernel does not give the addresses that the test code needs";
    }
    runner_state().ymm = NativeFeatures{}.has(Feature::AVX) ? 1 : 0;
    if (!install_handlers()) {
        return "signal handlers cannot be installed";
    }
    return probes_pass() ? nullptr : "signals do not tell faults as the CPU raised them";
}

}  // namespace

NativeState& native_state() {
    return *reinterpret_cast<NativeState*>(kStateAddress);  // NOLINT
}

u8* native_scratch() {
    return reinterpret_cast<u8*>(kScratchAddress);  // NOLINT
}

int in_child(int (*function)()) {
    const pid_t child = fork();
    if (child == 0) {
        const rlimit no_core{};
        setrlimit(RLIMIT_CORE, &no_core);
        _exit(function());
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

const char* native_setup() {
    static const char* const missing = set_up();
    return missing;
}

bool native_has_ymm() {
    return runner_state().ymm != 0;
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
