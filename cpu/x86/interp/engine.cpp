// The interpreter loop: find the decoded block at RIP, run its handlers, look at what is pending,
// repeat.
//
// The problem: a block makes instructions cheap because nothing is looked at between them, yet when
// an interrupt is taken, what a timer reads and where run() ends must not depend on where blocks
// happen to begin and end. The rule (docs/x86/events.md, "What counts"): they are functions of the
// guest's instruction stream alone. So
//   - RIP is stored with each instruction, for faults, and tells how far a block has come: whoever
//     reads the time meanwhile gets it to the instruction (Vcpu::retired);
//   - a block that would pass the budget's end is run up to it;
//   - whatever an instruction may have made pending calls Vcpu::leave_block, and the block ends
//     behind it.
// Between blocks, attention & attention_mask tells of something to deliver or of
// one-instruction-at-a-time mode (attention::kStep); after Status::Sync and Switched everything
// cached here is read anew. What is delivered between two instructions counts as one, so that a
// guest drowning in events still uses up its budget.
//
// Rejected: time that stands still within a block (timers then see the block's start, and another
// way of cutting the same code into blocks gives another run); a counter, or a flag to test, for
// each instruction (measured: a fifth of the speed).

#include "cpu/x86/interp/engine.hpp"

#include "core/assert.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/interp/exec_branch_near.hpp"
#include "cpu/x86/interp/interpreter.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/boundary.hpp"
#include "cpu/x86/system/debug_traps.hpp"
#include "cpu/x86/system/deliver.hpp"
#include "cpu/x86/system/verify.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace droste {

namespace {

DecodeMode decode_mode(const Vcpu& cpu) {
    return {cpu.mode.code_bits, !cpu.mode.protected_mode || cpu.mode.virtual8086};
}

}  // namespace

// A fault counts as an instruction: delivering one takes time, and a guest that does nothing but
// fault must still use up its budget.
void Interpreter::fault(Vcpu& cpu, u8 insn_length) {
    ++cpu.icount;
    cpu.step.fault_insn_length = insn_length;
    deliver_fault(cpu);
}

// Appends the bytes of `page` from `linear` on until they make an instruction, the page ends or 15
// are there. One by one: the page may be a device's, where reading more than the instruction has
// would be seen.
DecodeResult Interpreter::extend(Vcpu& cpu,
                                 const CodePage& page,
                                 LinearAddr linear,
                                 DecodeMode mode,
                                 CodeBytes& bytes,
                                 Insn& insn) {
    DecodeResult result = DecodeResult::NeedBytes;
    for (u64 offset = linear % kPageBytes; offset < kPageBytes; ++offset) {
        if (result != DecodeResult::NeedBytes || bytes.count == kMaxInsnBytes) {
            break;
        }
        bytes.joined[bytes.count++] =
            page.native != nullptr ? page.native[offset]
                                   : static_cast<u8>(read_physical(cpu, page.page + offset, 1));
        result = decode({bytes.joined.data(), bytes.count}, mode, cpu.features, insn);
    }
    return result;
}

// Decodes the one instruction at `linear` and picks its handler. `second_page` is set when it
// reaches there.
Status Interpreter::decode_one(Vcpu& cpu,
                               const CodePage& page,
                               LinearAddr linear,
                               DecodeMode mode,
                               Insn& insn,
                               PhysAddr& second_page) {
    second_page = Block::kInvalid;
    const u64 offset = linear % kPageBytes;
    DecodeResult result = DecodeResult::NeedBytes;
    if (page.native != nullptr) {
        const std::size_t count = std::min<std::size_t>(kMaxInsnBytes, kPageBytes - offset);
        result = decode({page.native + offset, count}, mode, cpu.features, insn);
    }
    if (result == DecodeResult::NeedBytes) {
        CodeBytes bytes;
        result = extend(cpu, page, linear, mode, bytes, insn);
        if (result == DecodeResult::NeedBytes && bytes.count < kMaxInsnBytes) {
            CodePage second;
            const LinearAddr next = next_page(cpu, linear);
            if (const Status status = fetch_page(cpu, next, second); status != Status::Next) {
                return status;
            }
            cpu.memory.code_pages().about_to_read(second.page & kPageMask);
            result = extend(cpu, second, next, mode, bytes, insn);
            second_page = second.page;
        }
    }
    const bool waiting = (cpu.mode.cet & Vcpu::kCetWaiting) != 0;
    if (result == DecodeResult::TooLong || result == DecodeResult::NeedBytes) {
        const Status status = waiting ? check_missing_endbranch(cpu) : Status::Next;
        return status == Status::Next ? raise(cpu, Exception::GP, 0) : status;
    }
    if (!waiting || !replace_missing_endbranch(cpu, insn)) {
        select_exec(cpu, insn);
    }
    return Status::Next;
}

// `out` stays null if the block cannot be kept: it reaches into what is not memory, whose bytes
// change unseen.
Status Interpreter::decode_block(
    Vcpu& cpu, const CodePage& page, LinearAddr linear, DecodeMode mode, Block*& out) const {
    std::array<Insn, kMaxBlockInsns> insns;
    unsigned count = 0;
    unsigned bytes = 0;
    PhysAddr second_page = Block::kInvalid;
    ++cpu.counters.block_misses;
    cpu.memory.code_pages().about_to_read(page.page & kPageMask);
    while (count < block_insns_) {
        const LinearAddr at = linear + bytes;
        if (count != 0 && ((at ^ linear) & kPageMask) != 0) {
            break;
        }
        Insn& insn = insns[count];
        insn = Insn{};
        PhysAddr reaches = Block::kInvalid;
        if (count != 0 && kPageBytes - at % kPageBytes < kMaxInsnBytes) {
            // Near the page end only what certainly stays inside: looking further could fault too
            // early.
            const std::size_t room = kPageBytes - at % kPageBytes;
            if (decode({page.native + at % kPageBytes, room}, mode, cpu.features, insn) !=
                DecodeResult::Ok) {
                break;
            }
            select_exec(cpu, insn);
        } else if (decode_one(cpu, page, at, mode, insn, reaches) != Status::Next) {
            if (count == 0) {
                return Status::Fault;  // cpu.fault is set
            }
            break;
        }
        bytes += insn.length;
        ++count;
        if (insn.ends_block() || reaches != Block::kInvalid) {
            second_page = reaches;
            break;
        }
    }
    if (second_page != Block::kInvalid && cpu.memory.lookup(second_page).native == nullptr) {
        return Status::Next;
    }
    const PhysAddr start = page.page | (linear % kPageBytes);
    out = cpu.blocks->insert(start, block_key(cpu), insns.data(), count, bytes, second_page);
    log_decoded(cpu, *out);
    return Status::Next;
}

void Interpreter::log_decoded(Vcpu& cpu, const Block& block) {
    if (!cpu.log.enabled(LogCategory::InAsm)) {
        return;
    }
    u64 rip = cpu.state.rip();
    for (unsigned i = 0; i < block.count; ++i) {
        cpu.log.write(LogCategory::InAsm, "{:#018x}  {}", rip, mnemonic(block.insns[i].op));
        rip += block.insns[i].length;
    }
}

// Called only while category `exec` is enabled, which cannot change within run().
void Interpreter::log_entered(Vcpu& cpu, unsigned instructions) {
    cpu.log.write(LogCategory::Exec, "vCPU {}: {:#018x}, {} instruction{}", cpu.index,
                  cpu.state.rip(), instructions, instructions == 1 ? "" : "s");
}

// The block at RIP. Status::Fault: cpu.fault is set. `out` stays null when the code does not lie in
// RAM or ROM.
Status
Interpreter::find_block_anywhere(Vcpu& cpu, CodePage& page, u64 generation, Block*& out) const {
    const LinearAddr linear = linear_rip(cpu);
    if ((linear & kPageMask) != page.linear_page || generation != cpu.tlb.generation()) {
        if (const Status status = fetch_page(cpu, linear, page); status != Status::Next) {
            page.linear_page = kNoTag;
            return status;
        }
    }
    out = nullptr;
    if (page.native == nullptr) [[unlikely]] {
        return Status::Next;
    }
    const DecodeMode mode = decode_mode(cpu);
    const PhysAddr start = page.page | (linear % kPageBytes);
    Block* block = cpu.blocks->find(start, block_key(cpu));
    if (block == nullptr) {
        block = cpu.blocks->recall(start, block_key(cpu));
    }
    if (block != nullptr && block->second_page != Block::kInvalid) [[unlikely]] {
        CodePage second;
        if (const Status status = fetch_page(cpu, next_page(cpu, linear), second);
            status != Status::Next) {
            return status;
        }
        if (second.page != block->second_page) {
            // The same bytes go on elsewhere: another mapping of this frame, or it changed.
            block = cpu.blocks->recall(start, block_key(cpu), second.page);
        }
    }
    if (block == nullptr) {
        if (const Status status = decode_block(cpu, page, linear, mode, block);
            status != Status::Next || block == nullptr) {
            return status;
        }
    }
    if (!within_limit(cpu, cpu.state.rip(), block->bytes)) [[unlikely]] {
        return Status::Next;
    }
    out = block;
    return Status::Next;
}

namespace {

// Executes a block from its start, at most `most` (1 or more) of its instructions. Returns the last
// one's status; a fault has been delivered. Inline: it is most of what the interpreter's loop does.
[[gnu::always_inline]] inline Status run_block(Vcpu& cpu, const Block& block, u64 most) {
    const Insn* insn = block.insns;
    cpu.block = &block;
    cpu.block_end = insn + std::min<u64>(block.count, most);
    u64 rip = cpu.state.rip();
    cpu.block_rip = rip;
    Status status = Status::Next;
    do {
        status = insn->exec(cpu, *insn);
        if (status != Status::Next) {
            break;
        }
        rip += insn->length;
        cpu.state.rip() = rip;
        ++insn;
    } while (insn < cpu.block_end);
    const auto done = static_cast<u64>(insn - block.insns);
    DROSTE_DEBUG_ASSERT(cpu.block != nullptr || status == Status::Switched);  // close_block()
    switch (status) {
    case Status::Next:
        cpu.icount += done;
        cpu.state.rip() = rip & cpu.mode.rip_mask;  // a block may end where addresses do
        break;
    case Status::Branch: cpu.icount += done + 1; break;
    case Status::Sync:
        cpu.icount += done + 1;
        cpu.state.rip() = (rip + insn->length) & cpu.mode.rip_mask;
        break;
    case Status::Switched: cpu.icount += (cpu.block != nullptr ? done : 0) + 1; break;
    case Status::Fault:
        cpu.icount += done;
        cpu.block = nullptr;
        Interpreter::fault(cpu, insn->length);
        break;
    }
    cpu.block = nullptr;
    return status;
}

}  // namespace

Status Interpreter::interpret_block(Vcpu& cpu, const Block& block, u64 most) {
    return run_block(cpu, block, most);
}

namespace {

Status retire_in_step_mode(Vcpu& cpu, const Insn& insn) {
    const u64 next =
        (cpu.state.rip() + insn.length) & (cpu.mode.code_bits == 64 ? ~u64{0} : u64{0xFFFFFFFF});
    const bool trap_flag = (cpu.state.rflags_system & rflags::kTf) != 0;
    const Status status = Interpreter::interpret_one(cpu, insn);
    if (status != Status::Fault) {
        after_instruction_in_step_mode(cpu, trap_flag, cpu.state.rip() != next);
    }
    return status;
}

}  // namespace

// One instruction with everything that is checked around single instructions: code breakpoints, TF,
// shadows, the CS limit. Also the way through code that is not in RAM.
void Interpreter::step(Vcpu& cpu) {
    if (code_breakpoint_hit(cpu)) {
        ++cpu.icount;  // as fault(): the handler may have a breakpoint of its own
        return;
    }
    CodePage page;
    Insn insn;
    PhysAddr second_page = Block::kInvalid;
    const LinearAddr linear = linear_rip(cpu);
    if (!within_limit(cpu, cpu.state.rip(), 1)) {
        (void)raise(cpu, Exception::GP, 0);
        fault(cpu, 0);
        return;
    }
    if (fetch_page(cpu, linear, page) != Status::Next ||
        decode_one(cpu, page, linear, decode_mode(cpu), insn, second_page) != Status::Next) {
        fault(cpu, 0);
        return;
    }
    if (!within_limit(cpu, cpu.state.rip(), insn.length)) {
        (void)raise(cpu, Exception::GP, 0);
        fault(cpu, 0);
        return;
    }
    (void)retire_in_step_mode(cpu, insn);
}

Status Interpreter::step_decoded(Vcpu& cpu, const Insn& insn) {
    cpu.request(attention::kStep);  // as if the boundary had been looked at
    const bool hit = code_breakpoint_hit(cpu);
    DROSTE_ASSERT(!hit);
    return retire_in_step_mode(cpu, insn);
}

bool Interpreter::logs_entries(const Vcpu& cpu) {
    return cpu.log.enabled(LogCategory::Exec);
}

#ifndef NDEBUG
void Interpreter::verify_between(Vcpu& cpu) {
    DROSTE_DEBUG_ASSERT(attention_is_current(cpu));
    verify_boundary(cpu);
}
#endif

// Something is pending: an event to deliver, a reason to return, or instructions to be taken one at
// a time.
Interpreter::Between
Interpreter::look_up(Vcpu& cpu, u64 limit, bool log_entries, RunResult& result) {
    if (cpu.leave != 0) {
        cpu.leave = 0;
        cpu.withdraw(attention::kLeave);
        return Between::Again;
    }
    if (cpu.stop_requested()) {
        result = RunResult::Stopped;
        return Between::Return;
    }
    if (cpu.icount >= limit) {
        result = RunResult::BudgetSpent;
        return Between::Return;
    }
    if (service_boundary(cpu)) {
        ++cpu.icount;
        return Between::Again;
    }
    if (cpu.state.activity == Activity::Active &&
        (cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0) {
        if (log_entries) {
            log_entered(cpu, 1);
        }
        step(cpu);
        if (cpu.yield_requested) {
            result = RunResult::Yielded;
            return Between::Return;
        }
        return Between::Again;
    }
    return Between::Execute;
}

RunResult Interpreter::run(Vcpu& cpu, u64 budget) {
    return run_loop(cpu, budget, [&cpu](const Block& block, u64 limit) {
        return run_block(cpu, block, limit - cpu.icount);
    });
}

std::unique_ptr<ExecutionEngine> make_interpreter(const InterpreterOptions& options) {
    return std::make_unique<Interpreter>(std::clamp(options.block_insns, 1U, kMaxBlockInsns));
}

}  // namespace droste
