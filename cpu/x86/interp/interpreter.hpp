#pragma once
// The interpreter's pieces, for its own loop and for an engine that interprets now and then: find
// the decoded block at RIP, execute one of its instructions or all, take one step with everything
// that is checked around a single instruction.
//
// run_loop() is the loop of every engine. What differs is how a block is executed, so that what is
// looked at between blocks, and in which order, is written once: events, budgets, idling and faults
// cannot drift apart.

#include "core/clock.hpp"
#include "cpu/x86/decode/decoder.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/seams/execution_engine.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

class Interpreter final : public ExecutionEngine {
  public:
    // A block has at most `block_insns` instructions, 1 to kMaxBlockInsns.
    explicit Interpreter(unsigned block_insns) : block_insns_(block_insns) {}

    RunResult run(Vcpu& cpu, u64 budget) override;

    // The loop: `execute(block, limit)` executes the block at RIP, which is decoded and allowed to
    // run, or as much of it as `limit` (a value of Vcpu::icount) leaves, and returns the last
    // instruction's status; a fault has been delivered.
    template <typename Execute>
    RunResult run_loop(Vcpu& cpu, u64 budget, Execute&& execute);

    // The block at RIP. `page` is the code page of the last one, still good if `generation` is that
    // of the TLB. Fault: cpu.fault is set. `out` stays null when the code does not lie in RAM or
    // ROM, or runs over the code segment's limit.
    Status find_block(Vcpu& cpu, CodePage& page, u64 generation, Block*& out) const {
        const LinearAddr linear = linear_rip(cpu);
        if ((linear & kPageMask) == page.linear_page && generation == cpu.tlb.generation() &&
            page.native != nullptr) [[likely]] {
            Block* const block =
                cpu.blocks->find(page.page | (linear % kPageBytes), block_key(cpu));
            if (block != nullptr && block->second_page == Block::kInvalid &&
                within_limit(cpu, cpu.state.rip(), block->bytes)) [[likely]] {
                out = block;
                return Status::Next;
            }
        }
        return find_block_anywhere(cpu, page, generation, out);
    }
    // Executes one decoded instruction at RIP and accounts for it: RIP and icount are those of the
    // next one, or of the handler of its fault.
    static Status interpret_one(Vcpu& cpu, const Insn& insn);
    // Executes a block from its start, at most `most` (1 or more) of its instructions. Returns the
    // last one's status; a fault has been delivered.
    static Status interpret_block(Vcpu& cpu, const Block& block, u64 most);
    // One instruction with everything that is checked around single instructions: code breakpoints,
    // TF, shadows, the CS limit. Also the way through code that is not in RAM.
    static void step(Vcpu& cpu);
    // The same for an instruction that is decoded and where no code breakpoint can be: in the shadow
    // of another. Returns its status.
    static Status step_decoded(Vcpu& cpu, const Insn& insn);
    // Delivers cpu.fault of an instruction of so many bytes; 0 when it could not be fetched.
    static void fault(Vcpu& cpu, u8 insn_length);

    // Debug builds: what is derived is what it should be.
#ifdef NDEBUG
    static void verify_between(Vcpu& /*cpu*/) {}
#else
    static void verify_between(Vcpu& cpu);
#endif

    static LinearAddr linear_rip(const Vcpu& cpu) {
        const u64 rip = cpu.state.rip();
        return cpu.mode.code_bits == 64 ? rip : static_cast<u32>(cpu.state.seg[CS].base + rip);
    }

  private:
    static constexpr unsigned kMaxInsnBytes = 15;
    // Code bytes at RIP: of the current page, then (only if the instruction needs it) of the next.
    struct CodeBytes {
        std::array<u8, kMaxInsnBytes> joined{};
        unsigned count = 0;
    };

    static u32 block_key(const Vcpu& cpu) {
        return cpu.mode.key & mode_key::kDecode;
    }
    // find_block() wherever the code lies and whether or not it is decoded.
    [[gnu::noinline]] Status
    find_block_anywhere(Vcpu& cpu, CodePage& page, u64 generation, Block*& out) const;
    Status decode_block(
        Vcpu& cpu, const CodePage& page, LinearAddr linear, DecodeMode mode, Block*& out) const;
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
    static bool within_limit(const Vcpu& cpu, u64 rip, unsigned bytes) {
        return cpu.mode.code_bits == 64 || rip + bytes - 1 <= cpu.state.seg[CS].limit;
    }
    // The page after the one of `linear`; outside 64-bit mode linear addresses wrap at 4 GiB.
    static LinearAddr next_page(const Vcpu& cpu, LinearAddr linear) {
        const LinearAddr next = (linear & kPageMask) + kPageBytes;
        return cpu.mode.code_bits == 64 ? next : static_cast<u32>(next);
    }
    // What is to be done between blocks. Nothing: execute the block at RIP.
    enum class Between : u8 { Execute, Again, Return };
    static Between look_up(Vcpu& cpu, u64 limit, bool log_entries, RunResult& result);
    static void log_decoded(Vcpu& cpu, const Block& block);
    static void log_entered(Vcpu& cpu, unsigned instructions);
    static bool logs_entries(const Vcpu& cpu);

    const unsigned block_insns_;
};

inline Status Interpreter::interpret_one(Vcpu& cpu, const Insn& insn) {
    const u64 next = (cpu.state.rip() + insn.length) & cpu.mode.rip_mask;
    cpu.leave = 0;
    const Status status = insn.exec(cpu, insn);
    if (status == Status::Fault) [[unlikely]] {
        fault(cpu, insn.length);
        return status;
    }
    ++cpu.icount;
    if (status == Status::Next || status == Status::Sync) {
        cpu.state.rip() = next;
    }
    return status;
}

template <typename Execute>
RunResult Interpreter::run_loop(Vcpu& cpu, u64 budget, Execute&& execute) {
    const u64 limit = budget > ~u64{0} - cpu.icount ? ~u64{0} : cpu.icount + budget;
    cpu.icount_limit = limit;
    const bool log_entries = logs_entries(cpu);
    CodePage page;
    u64 generation = 0;
    cpu.yield_requested = false;
    while (true) {
        verify_between(cpu);
        if ((cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask) != 0)
            [[unlikely]] {
            RunResult result{};
            const Between next = look_up(cpu, limit, log_entries, result);
            if (next == Between::Again) {
                continue;
            }
            if (next == Between::Return) {
                return result;
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
        if (cpu.machine_lock != nullptr) [[unlikely]] {
            cpu.clock.move_on();
        }
        if (block == nullptr) [[unlikely]] {
            step(cpu);
            continue;
        }
        const Status status = execute(*block, limit);
        ++cpu.counters.blocks;
        if (status > Status::Branch) {
            generation = 0;
            if (cpu.yield_requested) {
                return RunResult::Yielded;
            }
        }
    }
}

}  // namespace droste
