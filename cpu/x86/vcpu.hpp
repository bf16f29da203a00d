#pragma once
// One logical processor: architectural state, what is derived from it, and the parts it is wired
// to.
//
// Derived members (cpl, code_bits, data_tlb ...) are refreshed in mode_changed() (mode.cpp), which
// every change of CR0, CR4, EFER, RFLAGS.VM/AC, CS, SS or DR7 must call. Only kCetWaiting has a
// second writer: branches that the tracker follows (exec_branch_near.cpp). Functions of the CPU are
// free functions over Vcpu&, one file an idea.

#include "core/error.hpp"
#include "core/machine_lock.hpp"
#include "core/types.hpp"
#include "cpu/x86/mmu/tlb.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/state/exception.hpp"
#include "cpu/x86/state/features.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

namespace droste {

class ApicBus;
class BlockCache;
class Bus;
class Clock;
class EventQueue;
class GuestMemory;
class Intercepts;
class IrqLine;
class LocalApic;
class Log;
class MsrStore;
class NativeFeatures;
class SecondStage;
class ThunkCache;
class VmxInstructions;
struct Block;
struct Insn;

// Reasons for a vCPU to look up from its work; bits of Vcpu::attention.
namespace attention {
// the local APIC (or the 8259 through it) has something deliverable
inline constexpr u32 kInterrupt = 1U << 0;
inline constexpr u32 kNmi = 1U << 1;
inline constexpr u32 kInit = 1U << 2;
inline constexpr u32 kSipi = 1U << 3;  // only looked at in wait-for-SIPI
inline constexpr u32 kStop = 1U << 4;  // return from run() at the next boundary
// VMX wants its boundary hook (windows, preemption timer, MTF, posted)
inline constexpr u32 kVmx = 1U << 5;
// one instruction at a time: TF, RF, shadows, code breakpoints, pending debug
inline constexpr u32 kStep = 1U << 6;
inline constexpr u32 kMachineCheck = 1U << 7;
// VMX waits for an open interrupt window (interrupt-window exiting, a pending virtual interrupt).
// update_attention() masks it exactly as kInterrupt; when it is seen, service_boundary() calls
// Intercepts::boundary().
inline constexpr u32 kInterruptWindow = 1U << 8;
// An event whose delivery was put off when the budget ended: Vcpu::undelivered. It goes first.
inline constexpr u32 kUndelivered = 1U << 9;
// Something set Vcpu::leave; the engine clears both when it looks up.
inline constexpr u32 kLeave = 1U << 10;
}  // namespace attention

// Why the block under execution ends behind the present instruction; bits of Vcpu::leave. Blocks
// are the engine's affair, events are the guest's: whatever an instruction in the midst of a block
// may have made pending is looked at behind that instruction, or the block's length would show
// (docs/decisions/0009-event-points.md).
namespace leave {
inline constexpr u32 kDevice = 1U << 0;  // it reached a device or a local APIC by memory access
inline constexpr u32 kTrap = 1U << 1;  // it met a debug condition, or a trap of APIC virtualization
inline constexpr u32 kCode = 1U << 2;  // decoded code changed, perhaps this block's
inline constexpr u32 kTime = 1U << 3;  // it took more than one instruction's time
// A repetition pauses for these. Not for kCode: which code is decoded depends on blocks.
inline constexpr u32 kPauses = kDevice | kTrap;
}  // namespace leave

struct VcpuCounters {
    u64 blocks = 0, block_misses = 0;
    u64 tlb_misses = 0, tlb_flushes = 0, context_switches = 0, page_walks = 0, code_tlb_misses = 0;
    u64 tlb_key_drops = 0;  // translations dropped because PKRU changed
    u64 exceptions = 0, page_faults = 0, interrupts = 0, nmis = 0, halts = 0;
    u64 mmio_accesses = 0, pio_accesses = 0, smc_writes = 0;
    u64 vm_entries = 0, vm_exits = 0;
};

// How code runs: derived from CR0, CR4, EFER, RFLAGS, CS, SS and XCR0. See the head of the file.
struct ModeState {
    u8 cpl = 0;
    u8 code_bits = 16;               // 16, 32 or 64
    bool long_mode64 = false;        // CS.L = 1 and EFER.LMA = 1
    bool protected_mode = false;     // CR0.PE
    bool virtual8086 = false;        // CR0.PE and RFLAGS.VM
    bool alignment_checked = false;  // CPL 3, CR0.AM and RFLAGS.AC
    u8 cet = 0;                      // control-flow enforcement in force at this CPL: Vcpu::kCet*
    u8 fpu_blocked = 0;              // why FPU/SIMD instructions fault: Vcpu::kFpu*
    u32 key = 0;                     // all of it that translated code depends on: mode_key
    u64 stack_mask = 0xFFFF;         // of RSP in implicit stack accesses
    u64 rip_mask = 0xFFFF;
    // data translations of the current address space and privilege class
    const DataTlb* data_tlb = nullptr;
    // The same of accesses to shadow stacks.
    const TlbContext::ShadowTlb* shadow_tlb = nullptr;
};

// ModeState in one word, so that code made for one mode is never run in another. Which segments are
// flat is not in it: an access checks its segment.
namespace mode_key {
inline constexpr u32 kRealOrV86 = 1U << 0;
inline constexpr u32 kCodeBits = 0x70;  // 16, 32 or 64
inline constexpr unsigned kCetShift = 8;
inline constexpr u32 kCet = 7U << kCetShift;  // Vcpu::kCet*
// What the decoder and the choice of handlers depend on.
inline constexpr u32 kDecode = kRealOrV86 | kCodeBits | kCet;
inline constexpr u32 kUser = 1U << 11;     // CPL 3
inline constexpr u32 kStack16 = 1U << 12;  // implicit stack accesses use SP,
inline constexpr u32 kStack32 = 1U << 13;  // ... or ESP
inline constexpr u32 kAlignment = 1U << 14;
inline constexpr unsigned kFpuShift = 16;
inline constexpr u32 kFpu = 0x1FU << kFpuShift;  // Vcpu::kFpu*
}  // namespace mode_key

// What VMX non-root operation adds; cpu/vmx writes it.
struct NonRootView {
    Intercepts* intercepts = nullptr;     // non-null only in VMX non-root operation
    SecondStage* second_stage = nullptr;  // non-null only with EPT on
    // Tags of the present address space, for Tlb::activate(); 0 in VMX root operation and outside
    // VMX.
    u16 vpid = 0;
    u64 ept_root = 0;                    // EP4TA
    PhysAddr apic_access_page = kNoTag;  // accesses go to Intercepts::apic_access(); kNoTag = none
    // What VMX asks of update_attention(), which cpu/vmx calls after changing either:
    // bits it keeps in attention_mask whatever RFLAGS.IF says (external-interrupt exiting)
    u32 attention_forced = 0;
    bool step_forced = false;  // it sets attention::kStep (monitor trap flag)
};

// What outlives the present instruction for the one behind it, or for its fault.
struct StepMemory {
    // Step mode's memory of the state before the current instruction (system/debug_traps.hpp):
    // code_breakpoint_hit() notes it, after_instruction_in_step_mode() reads it.
    u32 marks = 0;
    // Length of the instruction that returned Status::Fault, set by the engine before
    // deliver_fault(); 0 when the fault came from fetching it or from delivering an event. VM exits
    // report it.
    u8 fault_insn_length = 0;
    // RIP of a repeated string instruction that stopped between two iterations: an event taken
    // there pushes RF = 1. kNoTag = none.
    u64 repeating_at = kNoTag;
};

// What translated code keeps of a vCPU beside its registers, and passes to the engine when it leaves
// (jit/).
struct TranslatedCode {
    // Instructions up to the budget's end, those of the block that runs taken off already.
    i64 remaining = 0;
    u64 native_stack = 0;  // RSP of the engine
    u64 target = 0;        // where to go on
    u64 scratch = 0;
    u64 shadow = 0;  // of a call or return: where it pushes to the shadow stack, what it pops
    u32 site = 0;    // which exit, or which instruction is to be interpreted
    u32 status = 0;  // the status flags: OF in bit 0; SF, ZF, AF, PF and CF as in AH, in bits 15:8
    void* jump_table = nullptr;  // targets of indirect branches in the current address space
    // The same of the other of levels 0 and 3, if its code is known and all that is kept with it
    // may be used; null otherwise.
    void* other_jump_table = nullptr;
    void* engine = nullptr;            // who executes it
    u64 end = 0;                       // Vcpu::icount when `remaining` is used up
    const void* clock_line = nullptr;  // Clock::Line of Vcpu::icount; null: time does not go by it
    static constexpr unsigned kWindows = 16;
    std::array<u64, kWindows> windows{};  // addends of checked ranges of memory
    // The page that an access of kernel code to its stack reached last (number 0: reads, 1: writes):
    // native address = linear address + addend. The engine empties them before the first use, and
    // when the address space that they belong to is left; what an empty one holds is its affair.
    struct PageSlot {
        u64 page;
        u64 addend;
    };
    static constexpr unsigned kStackSlots = 2;
    std::array<PageSlot, kStackSlots> slots;
    // Not 0: the guest's vector registers and MXCSR are in the native ones, and CpuState is out of
    // date (jit/vector_state.hpp). Always 0 outside translated code. The same for the x87.
    u32 vector_native = 0;
    u32 x87_native = 0;
    u32 native_mxcsr = 0x1F80;                  // what C++ runs with
    std::array<u32, 7> x87_environment{};       // FLDENV's image
    alignas(64) std::array<u8, 512> x87_image;  // FXSAVE64's image (jit/x87_state.hpp)
};

class Vcpu {
  public:
    struct Wiring {
        GuestMemory& memory;
        Bus& bus;
        Clock& clock;
        EventQueue& events;
        Log& log;
    };
    Vcpu(u32 index, const Wiring& wiring, const CpuFeatures& features);
    ~Vcpu();
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;
    // On pages of its own. Translated code keeps RSP at the vCPU, so the memory below is a stack:
    // for signals that arrive meanwhile.
    static void* operator new(std::size_t bytes);
    static void operator delete(void* memory, std::size_t bytes);

    CpuState state;
    TranslatedCode translated;

    // The exception a handler raised (Status::Fault).
    Event fault;
    bool fault_is_vm_exit = false;  // instead: Intercepts::take_pending_exit() knows what to do

    ModeState mode;

    static constexpr u8 kFpuEm = 1U << 0, kFpuTs = 1U << 1, kFpuNoOsfxsr = 1U << 2,
                        kFpuNoOsxsave = 1U << 3, kFpuNoAvxState = 1U << 4 /* XCR0 lacks SSE+AVX */;

    static constexpr u8 kCetShadowStack = 1U << 0,
                        kCetTracked = 1U << 1,  // ENDBR_EN
        kCetWaiting = 1U << 2;                  // ... and the next instruction must be ENDBR

    // Interrupt and step requests. Written by others, so atomic; `attention & attention_mask` is
    // polled at every block boundary. The mask drops what cannot be taken now (kInterrupt while
    // RFLAGS.IF = 0).
    std::atomic<u32> attention{0};
    u32 attention_mask = ~0U;
    u8 sipi_vector = 0;

    // Retired instructions since power-on, by the rule of docs/x86/events.md ("What counts"), but
    // counted block by block: exact between blocks. retired() is exact always.
    u64 icount = 0;
    u64 icount_limit = ~u64{0};  // run() ends here; what repeats inside an instruction looks too
    // The engine's: the block under execution (null between blocks), and where it is to stop.
    const Block* block = nullptr;
    u64 block_rip = 0;  // RIP of its first instruction
    const Insn* block_end = nullptr;
    u32 leave = 0;  // why it is to stop behind the present instruction: leave_block()
    VcpuCounters counters;

    const u32 index;  // 0 is the bootstrap processor; also the APIC id
    GuestMemory& memory;
    Bus& bus;
    Clock& clock;
    EventQueue& events;
    Log& log;
    const CpuFeatures& features;

    Tlb tlb;
    std::unique_ptr<LocalApic> apic;
    std::unique_ptr<MsrStore> msrs;
    // Shared by the vCPUs of a machine: code is decoded once. BlockCache::attach() enrolls a vCPU.
    std::shared_ptr<BlockCache> blocks;
    std::shared_ptr<ThunkCache> thunks;
    // FERR#: x87 errors with CR0.NE = 0 (IRQ 13 on a PC); set by the board
    IrqLine* ferr = nullptr;
    ApicBus* apic_bus = nullptr;  // where this CPU's interrupt messages go; set by the board
    // VMX: owned by whoever built them (cpu/vmx through frontends/machine); all null without VMX.
    VmxInstructions* vmx = nullptr;
    NonRootView non_root;
    StepMemory step;
    Event undelivered;  // with attention::kUndelivered

    bool a20_enabled = true;
    u64 random_state = 0;       // of the generator behind RDRAND and RDSEED when the clock counts
    bool native_random = true;  // else they find the native kernel without random numbers
    // PAUSE / MONITOR-MWAIT: run() returns Yielded at the next boundary
    bool yield_requested = false;
    // Whether another vCPU waits for its turn on this one's thread, or for a core of the native
    // machine: else PAUSE yields to nobody.
    bool others_wait = true;
    // The machine's, if each vCPU has a thread of its own; null otherwise. Whoever calls a function
    // of the CPU, or touches what is the vCPU's, has it.
    MachineLock* machine_lock = nullptr;
    MachineLock::Thread thread;
    std::atomic<bool> asleep{false};  // its thread waits for a request()

    u64 tsc() const;  // what RDTSC yields outside VMX non-root operation
    // From any thread, and from a signal handler.
    void request(u32 attention_bits) {
        attention.fetch_or(attention_bits);
        thread.budget_floor.store(MachineLock::kLeave, std::memory_order_relaxed);
        if (asleep.load()) [[unlikely]] {
            attention.notify_one();
        }
    }
    bool stop_requested() const {
        return (attention.load(std::memory_order_relaxed) & attention::kStop) != 0;
    }
    // The present instruction is the last of its block: the engine looks up behind it.
    void leave_block(u32 reason) {
        leave |= reason;
        block_end = nullptr;
        request(attention::kLeave);
    }
    // Instructions retired before the present one, at any time.
    u64 retired() const { return icount + retired_in_block(); }
    u64 retired_in_block() const;
    // Makes icount exact and takes the block out of the account: for what is about to change RIP
    // and reads the time after it (VM entries and exits). The handler must return Switched.
    void close_block();
    // The present instruction takes the time of `instructions` more.
    void charge(u64 instructions);
    void withdraw(u32 attention_bits) {
        attention.fetch_and(~attention_bits, std::memory_order_relaxed);
    }
};

// The decoded-block and thunk caches of a machine: the first vCPU makes them, the others share
// them. An Error if the native machine gives no memory for them.
Expected<void> own_code(Vcpu& cpu);
Expected<void> own_code(Vcpu& cpu, const NativeFeatures& native);
void share_code(Vcpu& first, Vcpu& other);
// For what must be one step for all vCPUs: none executes guest code until the present function of the
// CPU is over.
inline void stop_other_vcpus(Vcpu& cpu) {
    if (cpu.machine_lock != nullptr) {
        cpu.machine_lock->stop_others();
    }
}
// Virtual time goes on with this vCPU's instructions from now on.
void drive_clock(Vcpu& cpu);
// The A20 gate (i8042 output port, port 92h): masks physical address bit 20 when disabled.
void set_a20(Vcpu& cpu, bool enabled);

// Recomputes all derived state (above) after a change of mode; cheap enough to call on every far
// transfer.
void mode_changed(Vcpu& cpu);
// Recomputes mode.data_tlb and mode.shadow_tlb alone, for who changed nothing but the address space.
void refresh_data_tlb(Vcpu& cpu);
// Recomputes mode.key alone, for who changes mode.cet (exec_branch_near.cpp).
void refresh_mode_key(Vcpu& cpu);
// Recomputes attention_mask and attention::kStep after a change of RFLAGS.IF/TF/RF,
// interruptibility or DR7.
void update_attention(Vcpu& cpu);

// Power-on / RESET# and INIT states. SDM Vol. 3A, "Processor State After Reset", "After INIT".
void reset_power_on(Vcpu& cpu);
void reset_init(Vcpu& cpu);

// Record an exception in cpu.fault; both return Status::Fault.
inline Status raise(Vcpu& cpu, Exception vector) {
    cpu.fault = Event{};
    cpu.fault.vector = static_cast<u8>(vector);
    return Status::Fault;
}
inline Status raise(Vcpu& cpu, Exception vector, u32 error_code) {
    cpu.fault = Event{};
    cpu.fault.vector = static_cast<u8>(vector);
    cpu.fault.has_error_code = true;
    cpu.fault.error_code = error_code;
    return Status::Fault;
}

}  // namespace droste
