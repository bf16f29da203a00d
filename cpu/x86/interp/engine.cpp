// The interpreter loop: find the decoded block at RIP, run its handlers, look at what is pending,
// repeat.
//
// RIP is kept at the start of the current instruction and advances in a host register; it is stored
// once for each instruction so that a fault finds it right. A block runs without any test but the
// handler's status and the end pointer. What must be looked at (interrupts, single-step, budget) is
// looked at between blocks:
//   attention & attention_mask   something to deliver, or one instruction at a time
//                                (attention::kStep)
//   Status::Sync / Switched      mode, mappings or pending events changed: everything cached here
//                                is re-read
// An instruction that observes time begins a block of its own, so the retired-instruction clock is
// exact there.

#include "cpu/x86/interp/engine.hpp"

#include "core/assert.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/interp/exec_branch_near.hpp"
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

constexpr unsigned kMaxInsnBytes = 15;

DecodeMode decode_mode(const Vcpu& cpu) {
    return {cpu.code_bits, !cpu.protected_mode || cpu.virtual8086};
}

// Control-flow enforcement picks other handlers for the same bytes.
u32 block_key(const Vcpu& cpu, DecodeMode mode) {
    return mode.code_bits | (mode.real_or_v86 ? 1U : 0U) | u32{cpu.cet} << 8;
}

// Code bytes at RIP: of the current page, then (only if the instruction needs it) of the next one.
struct CodeBytes {
    std::array<u8, kMaxInsnBytes> joined{};
    unsigned count = 0;
};

class Interpreter final : public ExecutionEngine {
  public:
    RunResult run(Vcpu& cpu, u64 budget) override;

  private:
    enum class Flow : u8 { Go, Leave };

    static Status find_block(Vcpu& cpu, CodePage& page, u64 generation, Block*& out);
    static Status
    decode_block(Vcpu& cpu, const CodePage& page, LinearAddr linear, DecodeMode mode, Block*& out);
    static Status decode_one(Vcpu& cpu,
                             const CodePage& page,
                             LinearAddr linear,
                             DecodeMode mode,
                             Insn& insn,
                             PhysAddr& second_page);
    static DecodeResult extend(Vcpu& cpu,
                               const CodePage& page,
                               LinearAddr linear,
                               DecodeMode mode,
                               CodeBytes& bytes,
                               Insn& insn);
    static void step(Vcpu& cpu);
    static void fault(Vcpu& cpu, u8 insn_length);
    static bool within_limit(const Vcpu& cpu, u64 rip, unsigned bytes) {
        return cpu.code_bits == 64 || rip + bytes - 1 <= cpu.state.seg[CS].limit;
    }
    static LinearAddr linear_rip(const Vcpu& cpu) {
        const u64 rip = cpu.state.rip();
        return cpu.code_bits == 64 ? rip : static_cast<u32>(cpu.state.seg[CS].base + rip);
    }
    // The page after the one of `linear`; outside 64-bit mode linear addresses wrap at 4 GiB.
    static LinearAddr next_page(const Vcpu& cpu, LinearAddr linear) {
        const LinearAddr next = (linear & kPageMask) + kPageBytes;
        return cpu.code_bits == 64 ? next : static_cast<u32>(next);
    }
    static void log_decoded(Vcpu& cpu, const Block& block);
    static void log_entered(Vcpu& cpu, unsigned instructions);
};

// A fault counts as an instruction: delivering one takes time, and a guest that does nothing but
// fault must still use up its budget.
void Interpreter::fault(Vcpu& cpu, u8 insn_length) {
    ++cpu.icount;
    cpu.fault_insn_length = insn_length;
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
            page.host != nullptr ? page.host[offset]
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
    if (page.host != nullptr) {
        const std::size_t count = std::min<std::size_t>(kMaxInsnBytes, kPageBytes - offset);
        result = decode({page.host + offset, count}, mode, cpu.features, insn);
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
            result = extend(cpu, second, next, mode, bytes, insn);
            second_page = second.page;
        }
    }
    const bool waiting = (cpu.cet & Vcpu::kCetWaiting) != 0;
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
    Vcpu& cpu, const CodePage& page, LinearAddr linear, DecodeMode mode, Block*& out) {
    std::array<Insn, BlockCache::kMaxInsns> insns;
    unsigned count = 0;
    unsigned bytes = 0;
    PhysAddr second_page = Block::kInvalid;
    ++cpu.counters.block_misses;
    while (count < insns.size()) {
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
            if (decode({page.host + at % kPageBytes, room}, mode, cpu.features, insn) !=
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
        if (count != 0 && (insn.flags & kInsnReadsTime) != 0) {
            break;
        }
        bytes += insn.length;
        ++count;
        if (insn.ends_block() || reaches != Block::kInvalid) {
            second_page = reaches;
            break;
        }
    }
    if (second_page != Block::kInvalid && cpu.memory.lookup(second_page).host == nullptr) {
        return Status::Next;
    }
    const PhysAddr start = page.page | (linear % kPageBytes);
    out = cpu.blocks->insert(start, block_key(cpu, mode), insns.data(), count, bytes, second_page);
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
Status Interpreter::find_block(Vcpu& cpu, CodePage& page, u64 generation, Block*& out) {
    const LinearAddr linear = linear_rip(cpu);
    if ((linear & kPageMask) != page.linear_page || generation != cpu.tlb.generation()) {
        if (const Status status = fetch_page(cpu, linear, page); status != Status::Next) {
            page.linear_page = kNoTag;
            return status;
        }
    }
    out = nullptr;
    if (page.host == nullptr) [[unlikely]] {
        return Status::Next;
    }
    const DecodeMode mode = decode_mode(cpu);
    const PhysAddr start = page.page | (linear % kPageBytes);
    Block* block = cpu.blocks->find(start, block_key(cpu, mode));
    if (block == nullptr) {
        block = cpu.blocks->recall(start, block_key(cpu, mode));
    }
    if (block != nullptr && block->second_page != Block::kInvalid) [[unlikely]] {
        CodePage second;
        if (const Status status = fetch_page(cpu, next_page(cpu, linear), second);
            status != Status::Next) {
            return status;
        }
        if (second.page != block->second_page) {
            // The same bytes go on elsewhere: another mapping of this frame, or it changed.
            block = cpu.blocks->recall(start, block_key(cpu, mode), second.page);
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
    const u64 next =
        (cpu.state.rip() + insn.length) & (cpu.code_bits == 64 ? ~u64{0} : u64{0xFFFFFFFF});
    const bool trap_flag = (cpu.state.rflags_system & rflags::kTf) != 0;
    const Status status = insn.exec(cpu, insn);
    if (status == Status::Fault) {
        fault(cpu, insn.length);
        return;
    }
    ++cpu.icount;
    if (status == Status::Next || status == Status::Sync) {
        cpu.state.rip() = next;
    }
    after_instruction_in_step_mode(cpu, trap_flag, cpu.state.rip() != next);
}

RunResult Interpreter::run(Vcpu& cpu, u64 budget) {
    const u64 limit = cpu.icount + budget;
    const bool log_entries = cpu.log.enabled(LogCategory::Exec);
    CodePage page;
    u64 generation = 0;
    cpu.yield_requested = false;
    while (true) {
        DROSTE_DEBUG_ASSERT(attention_is_current(cpu));
        verify_boundary(cpu);
        if ((cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask) != 0)
            [[unlikely]] {
            if ((cpu.attention.load(std::memory_order_relaxed) & attention::kStop) != 0) {
                return RunResult::Stopped;
            }
            if (service_boundary(cpu)) {
                continue;
            }
            if (cpu.state.activity == Activity::Active &&
                (cpu.attention.load(std::memory_order_relaxed) & attention::kStep) != 0) {
                if (cpu.icount >= limit) {
                    return RunResult::BudgetSpent;
                }
                if (log_entries) {
                    log_entered(cpu, 1);
                }
                step(cpu);
                continue;
            }
        }
        if (cpu.state.activity != Activity::Active) [[unlikely]] {
            return RunResult::Idle;
        }
        if (cpu.icount >= limit) [[unlikely]] {
            return RunResult::BudgetSpent;
        }
        Block* block = nullptr;
        if (find_block(cpu, page, generation, block) != Status::Next) [[unlikely]] {
            fault(cpu, 0);
            generation = 0;
            continue;
        }
        generation = cpu.tlb.generation();
        if (log_entries) [[unlikely]] {
            log_entered(cpu, block != nullptr ? block->count : 1);
        }
        if (block == nullptr) [[unlikely]] {
            step(cpu);
            continue;
        }
        const Insn* insn = block->insns;
        cpu.block_end = insn + block->count;
        u64 rip = cpu.state.rip();
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
        cpu.icount += static_cast<u64>(insn - block->insns);
        cpu.block_end = nullptr;
        ++cpu.counters.blocks;
        switch (status) {
        case Status::Next: break;
        case Status::Branch: ++cpu.icount; break;
        case Status::Sync:
            ++cpu.icount;
            cpu.state.rip() = rip + insn->length;
            [[fallthrough]];
        case Status::Switched:
            if (status == Status::Switched) {
                ++cpu.icount;
            }
            generation = 0;
            if (cpu.yield_requested) {
                return RunResult::Yielded;
            }
            break;
        case Status::Fault:
            fault(cpu, insn->length);
            generation = 0;
            break;
        }
    }
}

}  // namespace

std::unique_ptr<ExecutionEngine> make_interpreter() {
    return std::make_unique<Interpreter>();
}

}  // namespace droste
