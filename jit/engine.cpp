#include "jit/engine.hpp"

#include "core/assert.hpp"
#include "core/clock.hpp"
#include "core/log.hpp"
#include "cpu/x86/interp/exec_branch_near.hpp"
#include "cpu/x86/interp/interpreter.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/code_cache.hpp"
#include "jit/empty_slot.hpp"
#include "jit/jump_tables.hpp"
#include "jit/layout.hpp"
#include "jit/native_cpu.hpp"
#include "jit/standing.hpp"
#include "jit/translator.hpp"
#include "jit/windows.hpp"
#include "jit/x87_state.hpp"

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

namespace droste::jit {

namespace {

// TranslatedCode::status: OF in bit 0, the others as LAHF puts them into AH, in bits 15:8.
u32 pack_status(const LazyFlags& flags) {
    const u64 status = flags.status();
    return static_cast<u32>((status & 0xD5) << 8 | (status >> 11 & 1));
}
LazyFlags unpack_status(u32 packed) {
    return LazyFlags::from_status((packed >> 8 & 0xFF) | u64{packed & 1} << 11);
}

bool attention_wanted(const Vcpu& cpu) {
    return (cpu.attention.load(std::memory_order_relaxed) & cpu.attention_mask) != 0;
}

// A translation whose windows fail so often is made again without.
constexpr u32 kMostWindowMisses = 256;

// Linked code comes back after so many instructions, whatever the budget: what others ask for
// (attention::kStop) is looked at between, some tenth of a millisecond apart.
constexpr u64 kSlice = u64{1} << 18;

// Where slices end tells which code takes its time. Kernel code in which so many did is made again
// with page slots: before that they cost more, in code and in misses, than they gain.
constexpr u32 kHotSamples = 8;
constexpr i64 kSliceEnds = 64;  // no translation is longer

class Engine final : public ExecutionEngine {
  public:
    Engine(std::shared_ptr<CodeCache> code, const Options& options)
        : code_(std::move(code))
        , threshold_(options.threshold)
        , link_(options.link) {
        code_->enroll(counted_);
    }
    ~Engine() override { code_->leave(counted_); }

    RunResult run(Vcpu& cpu, u64 budget) override {
        cpu.translated.engine = this;
        cpu.translated.clock_line = cpu.clock.line(&cpu.icount);
        last_exit_ = kNoExit;
        return interpreter_.run_loop(
            cpu, budget, [&](Block& block, u64 limit) { return execute(cpu, block, limit); });
    }

    static const u8* interpret(Vcpu& cpu) {
        Engine& engine = *static_cast<Engine*>(cpu.translated.engine);
        return cpu.machine_lock == nullptr ? engine.interpret_site(cpu)
                                           : engine.interpret_under_lock(cpu);
    }

  private:
    Status execute(Vcpu& cpu, Block& at_rip, u64 limit);
    Status enter(Vcpu& cpu, const u8* code);
    Block* behind_tracked_branch(Vcpu& cpu, Block& block);
    void note_target(Vcpu& cpu, OwnedJumpTable& jumps, const Translation& to, bool tracked);
    const u8* interpret_site(Vcpu& cpu);
    [[gnu::noinline]] const u8* interpret_under_lock(Vcpu& cpu);
    bool give_up_lock(Vcpu& cpu);
    static void take_lock(Vcpu& cpu);
    void evict_among_threads(Vcpu& cpu);
    u32 run_code(Vcpu& cpu, const u8* code);
    static void leave_before(Vcpu& cpu, const Site& site);
    const u8* resume(Vcpu& cpu, const Site& site);
    const u8* go_on(Vcpu& cpu);
    [[gnu::noinline]] const u8* go_on_anywhere(Vcpu& cpu);
    // What the loop between blocks would find nothing to do about.
    bool may_go_on(const Vcpu& cpu) const {
        return link_ && !attention_wanted(cpu) && cpu.icount < cpu.translated.end &&
               !cpu.yield_requested && cpu.state.activity == Activity::Active;
    }
    Status find_target(Vcpu& cpu, OwnedJumpTable& jumps, u32 key, const u8*& code);
    const u8* enter_at(Vcpu& cpu, OwnedJumpTable& jumps, const u8* code);
    Translation* translation_of(Vcpu& cpu, Block& block);
    void know(const Translation& translation);
    static const DataTlb& slots_table(const TlbContext& context, unsigned level);
    static bool grow_slot(Vcpu& cpu, u32 slot);
    static void catch_up(OwnedJumpTable& jumps, const TlbContext& context, unsigned level) {
        jumps.slots().catch_up(context, slots_table(context, level));
    }
    void put_in_force(Vcpu& cpu, OwnedJumpTable& jumps);
    void with_slots_if_hot(Vcpu& cpu, Block& block, Translation*& translation);
    bool misses_too_often(u32 site, bool grown, u64 now);
    Status interpret(Vcpu& cpu, const Block& block, u64 most);

    Interpreter interpreter_{kMaxBlockInsns};
    std::shared_ptr<CodeCache> code_;
    EngineStatistics counted_;
    JumpTables jump_tables_{*code_, counted_.jump_table_clears};
    KnownTargets known_;
    u64 known_epoch_ = 0;  // CodeCache::epoch() that known_ is of
    const std::unique_ptr<EmptySlot> empty_ = std::make_unique<EmptySlot>();
    // What the slots of kernel stacks were filled from.
    const TlbContext* stack_context_ = nullptr;
    HalfEpochs stack_epochs_;
    const unsigned threshold_;
    struct Missing {
        u32 times = 0;  // weighted
        u64 since = 0;  // an instruction count
    };
    std::unordered_map<u32, Missing> missing_;  // by site
    u64 sampled_rip_ = kNoTag;                  // where the last slice ended
    const bool link_;
    u32 last_exit_ = kNoExit;  // by which translated code was left, if it can be linked
    Status last_status_ = Status::Next;
    u32 asked_ = 0;  // what kept give_up_lock() from it, and where
    u64 asked_at_ = 0;
    bool gave_way_ = false;         // others had the machine's lock meanwhile
    Status behind_ = Status::Next;  // the highest of those that go_on() has left behind
};

// Null: interpret it.
Translation* Engine::translation_of(Vcpu& cpu, Block& block) {
    if (!can_translate(cpu)) {
        return nullptr;
    }
    const u64 rip = cpu.state.rip();
    const u32 key = translation_key(cpu);
    if (Translation* found = CodeCache::find(block, rip, key); found != nullptr) {
        return found;
    }
    if (block.heat < threshold_) {
        ++block.heat;
        return nullptr;
    }
    if (cpu.machine_lock != nullptr && code_->lacks_room(kMaxBlockInsns)) [[unlikely]] {
        evict_among_threads(cpu);
        return nullptr;
    }
    const u64 epoch = code_->epoch();
    const auto start = std::chrono::steady_clock::now();
    Translation* made = translate(*code_, cpu, block);
    code_->counted().translation_ns +=
        static_cast<u64>((std::chrono::steady_clock::now() - start).count());
    if (code_->epoch() != epoch) {
        last_exit_ = kNoExit;
        missing_.clear();
    }
    return made;
}

// The data table whose translations page slots may hold.
const DataTlb& Engine::slots_table(const TlbContext& context, unsigned level) {
    const auto privilege = level == 3 ? PrivilegeClass::User : PrivilegeClass::Supervisor;
    return context.data[static_cast<std::size_t>(privilege)];
}

// Translated code finds what it needs of the address space. Requires: the slots have caught up.
void Engine::put_in_force(Vcpu& cpu, OwnedJumpTable& jumps) {
    const TlbContext& context = cpu.tlb.current();
    if (stack_context_ != &context || stack_epochs_ != context.data_epochs) {
        stack_context_ = &context;
        stack_epochs_ = context.data_epochs;
        for (unsigned slot = 0; slot < kStackSlots; ++slot) {
            cpu.translated.slots[slot] = empty_->slot();
        }
    }
    cpu.translated.jump_table = jumps.table();
    OwnedJumpTable* const other = jump_tables_.other_level(cpu, context, jumps.key());
    if (other != nullptr) {
        catch_up(*other, context, cpu.mode.cpl ^ 3U);
    }
    cpu.translated.other_jump_table = other != nullptr ? other->table() : nullptr;
}

Status Engine::interpret(Vcpu& cpu, const Block& block, u64 most) {
    const u64 before = cpu.icount;
    const u64 count = block.count;
    const Insn* insns = block.insns;
    const Status status = Interpreter::interpret_block(cpu, block, most);
    // An instruction may take the time of many. The block may be dead, its instructions are there.
    const u64 done = std::min(cpu.icount - before, count);
    counted_.cold += done;
    for (u64 i = 0; i < done; ++i) {
        ++counted_.by_op[static_cast<std::size_t>(insns[i].op)];
    }
    return status;
}

// At the ENDBR that an indirect branch waits for: the block that begins with it and goes on behind
// it, without waiting. Null: `block` is not such an ENDBR's.
Block* Engine::behind_tracked_branch(Vcpu& cpu, Block& block) {
    if (!accept_endbranch(cpu, block.insns[0])) {
        return nullptr;
    }
    CodePage page;
    Block* found = nullptr;
    (void)interpreter_.find_block(cpu, page, 0, found);  // the code was fetched already
    return found;
}

// Whoever jumps to `to` by way of the table finds it from now on.
void Engine::note_target(Vcpu& cpu, OwnedJumpTable& jumps, const Translation& to, bool tracked) {
    if (tracked) {
        jumps.fill(JumpTable::tracked(to.rip), to.entry_tracked);
    } else {
        jumps.fill(to.rip, to.entry);
    }
    cpu.tlb.current().note_execute_page(to.rip);
    if (to.block->second_page == Block::kInvalid) {
        know(to);  // which asks for one page
    } else {
        cpu.tlb.current().note_execute_page((to.rip + kPageBytes) & cpu.mode.rip_mask);
    }
}

// Where slices of a kernel's time have ended often: the translation is made again.
void Engine::with_slots_if_hot(Vcpu& cpu, Block& block, Translation*& translation) {
    if (translation != nullptr && translation->rip == sampled_rip_ && cpu.mode.cpl != 3 &&
        !code_->wants_slots(translation->rip) && ++translation->samples == kHotSamples) {
        code_->with_slots(translation->rip);
        code_->kill(*translation);
        translation = translation_of(cpu, block);
    }
    sampled_rip_ = kNoTag;
}

Status Engine::execute(Vcpu& cpu, Block& at_rip, u64 limit) {
    const u64 flushes = cpu.blocks->flushes();
    Block* const endbranch = behind_tracked_branch(cpu, at_rip);
    Block& block = endbranch != nullptr ? *endbranch : at_rip;
    const bool over_page_end = block.second_page != Block::kInvalid;
    Translation* translation = translation_of(cpu, block);
    if (sampled_rip_ != kNoTag && cpu.blocks->flushes() == flushes) [[unlikely]] {
        with_slots_if_hot(cpu, block, translation);
    }
    if (cpu.blocks->flushes() != flushes || gave_way_) [[unlikely]] {
        gave_way_ = false;
        last_exit_ = kNoExit;
        return Status::Switched;  // the block may be gone, nothing was executed
    }
    if (translation == nullptr || translation->count > limit - cpu.icount) {
        last_exit_ = kNoExit;
        behind_ = last_status_ = interpret(cpu, block, limit - cpu.icount);
        // One instruction over a page end, in the midst of translated code: back there at once.
        cpu.translated.end = std::min(limit, cpu.icount + kSlice);
        const u8* code = over_page_end ? go_on(cpu) : nullptr;
        return code == nullptr ? behind_ : enter(cpu, code);
    }
    const u64 rip = translation->rip;
    OwnedJumpTable& jumps = jump_tables_.current(cpu, translation->key);
    if (!link_) [[unlikely]] {
        // Nobody but the engine leads anywhere.
    } else if (last_exit_ != kNoExit && code_->exit(last_exit_).rip == rip &&
               code_->exit(last_exit_).key == translation->key) {
        code_->link(last_exit_, *translation);
    } else {
        note_target(cpu, jumps, *translation, endbranch != nullptr);
    }
    last_exit_ = kNoExit;
    catch_up(jumps, cpu.tlb.current(), cpu.mode.cpl);
    put_in_force(cpu, jumps);
    TranslatedCode& translated = cpu.translated;
    translated.remaining = static_cast<i64>(std::min(limit - cpu.icount, kSlice));
    translated.status = pack_status(cpu.state.flags);
    translated.end = cpu.icount + static_cast<u64>(translated.remaining);
    code_->entered(*translation);
    behind_ = last_status_ = Status::Next;
    return enter(cpu, translation->entry);
}

// Others may run until take_lock(). False, with the lock: something is to be looked at first.
bool Engine::give_up_lock(Vcpu& cpu) {
    // In this order: whoever asks for attention now is seen here or there.
    cpu.thread.budget_floor.exchange(0);
    if (cpu.machine_lock->barred()) {
        cpu.request(attention::kStop);
    }
    // kLeave is this thread's own affair, and the loop between blocks may leave other wishes as they
    // are: it is asked once.
    const u32 wanted = cpu.attention.load() & cpu.attention_mask & ~attention::kLeave;
    if (wanted != 0 && (wanted != asked_ || cpu.icount != asked_at_)) {
        asked_ = wanted;
        asked_at_ = cpu.icount;
        return false;
    }
    cpu.thread.within = true;
    cpu.thread.in_guest.store(true, std::memory_order_relaxed);
    cpu.machine_lock->unlock();
    return true;
}

void Engine::take_lock(Vcpu& cpu) {
    cpu.thread.in_guest.store(false, std::memory_order_release);
    cpu.machine_lock->lock();
    cpu.clock.move_on();
}

u32 Engine::run_code(Vcpu& cpu, const u8* code) {
    if (cpu.machine_lock == nullptr) {
        return code_->trampolines().enter(&cpu, code);
    }
    if (!give_up_lock(cpu)) {
        last_status_ = Status::Branch;
        return kNoSite;
    }
    const u32 left_by = code_->trampolines().enter(&cpu, code);
    if (left_by != kNoSite) {
        take_lock(cpu);
    }
    cpu.thread.within = false;
    return left_by;
}

// From guest code: as interpret_site(), but that others may have changed the world while this thread
// waited for the lock. Returns without the lock unless null.
const u8* Engine::interpret_under_lock(Vcpu& cpu) {
    const u64 generation =
        cpu.tlb.generation();  // nobody else changes it as long as guest code runs
    take_lock(cpu);
    const Site& site = code_->site(cpu.translated.site);
    const u8* code = nullptr;
    if (site.translation->dead || cpu.tlb.generation() != generation) {
        leave_before(cpu, site);
        if ((cpu.state.interruptibility & blocking::kSti) != 0) {
            cpu.request(attention::kStep);
        }
        last_status_ = Status::Branch;
    } else {
        code = interpret_site(cpu);
    }
    return code != nullptr && give_up_lock(cpu) ? code : nullptr;
}

// Regions are evicted while nobody will go back to one.
void Engine::evict_among_threads(Vcpu& cpu) {
    cpu.machine_lock->wait_until_alone(cpu.thread);
    code_->reserve(kMaxBlockInsns);
    cpu.machine_lock->let_in();
    gave_way_ = true;
}

// Returns the status for the loop between blocks.
Status Engine::enter(Vcpu& cpu, const u8* code) {
    const u64 rip = cpu.state.rip();
    TranslatedCode& translated = cpu.translated;
    Status status = Status::Branch;
    while (code != nullptr) {
        ++counted_.entries;
        const u64 before = cpu.icount;
        const u32 left_by = run_code(cpu, code);
        if (left_by == kNoSite) {
            status = last_status_;
            break;
        }
        const Exit& exit = code_->exit(left_by);
        cpu.state.rip() = exit.rip;
        cpu.state.flags = unpack_status(translated.status);
        cpu.icount = translated.end - static_cast<u64>(translated.remaining);
        if (exit.waits) [[unlikely]] {
            wait_for_endbranch(cpu);
        }
        last_exit_ = exit.place != nullptr ? left_by : kNoExit;
        // Nothing was executed: what is left of the budget does not suffice, or the code is dead.
        code = last_exit_ == kNoExit && cpu.icount != before ? go_on(cpu) : nullptr;
        if (code == nullptr && translated.remaining < kSliceEnds) {
            sampled_rip_ = cpu.state.rip();
        }
    }
    if (Listener* listener = code_->listener(); listener != nullptr) [[unlikely]] {
        listener->left(cpu, rip);
    }
    return std::max(status, behind_);
}

// Code for the address, if any is known. Fault: its page cannot be executed; nothing was delivered.
Status Engine::find_target(Vcpu& cpu, OwnedJumpTable& jumps, u32 key, const u8*& code) {
    const u64 rip = cpu.state.rip();
    code = jumps.find(rip);
    if (code != nullptr || known_epoch_ != code_->epoch()) {
        return Status::Next;
    }
    CodePage page;
    if (fetch_page(cpu, rip, page) != Status::Next) {
        return Status::Fault;
    }
    if (page.native == nullptr) {
        return Status::Next;
    }
    cpu.tlb.current().note_execute_page(rip);
    code = known_.fill(jumps, rip, page.page | rip % kPageBytes, key);
    return Status::Next;
}

void Engine::know(const Translation& translation) {
    if (known_epoch_ != code_->epoch()) {
        known_.clear();
        known_epoch_ = code_->epoch();
    }
    known_.note(translation.rip, translation.block->start, translation.key, translation.entry);
}

// Between two instructions, wherever the last one has led: the translation there, if it is known
// and nothing is to be looked at before. Every VM entry and VM exit comes here, and most interpreted
// instructions of a kernel: what they mostly find is done without a call.
const u8* Engine::go_on(Vcpu& cpu) {
    behind_ = std::max(behind_, last_status_);
    Interpreter::verify_between(cpu);
    if (!may_go_on(cpu)) {
        return nullptr;
    }
    if (in_plain_mode(cpu)) [[likely]] {
        OwnedJumpTable* jumps = jump_tables_.up_to_date(cpu, translation_key(cpu));
        if (jumps != nullptr && jumps->slots().up_to_date(cpu.tlb.current())) [[likely]] {
            if (const u8* code = jumps->find(cpu.state.rip()); code != nullptr) [[likely]] {
                return enter_at(cpu, *jumps, code);
            }
        }
    }
    return go_on_anywhere(cpu);
}

// The same wherever it is.
const u8* Engine::go_on_anywhere(Vcpu& cpu) {
    while (may_go_on(cpu) && can_translate(cpu)) {
        const u32 key = translation_key(cpu);
        OwnedJumpTable& jumps = jump_tables_.current(cpu, key);
        const u8* code = nullptr;
        if (find_target(cpu, jumps, key, code) == Status::Next) [[likely]] {
            if (code == nullptr) {
                return nullptr;
            }
            catch_up(jumps, cpu.tlb.current(), cpu.mode.cpl);
            return enter_at(cpu, jumps, code);
        }
        Interpreter::fault(cpu, 0);
        behind_ = Status::Fault;
        Interpreter::verify_between(cpu);
    }
    return nullptr;
}

// Requires: the slots have caught up.
const u8* Engine::enter_at(Vcpu& cpu, OwnedJumpTable& jumps, const u8* code) {
    put_in_force(cpu, jumps);
    TranslatedCode& translated = cpu.translated;
    translated.remaining = static_cast<i64>(translated.end - cpu.icount);
    translated.status = pack_status(cpu.state.flags);
    ++counted_.rejoined;
    return code;
}

// The site's slot has missed PageSlots::kPatience times more. A look into the TLB is cheaper than a
// slot that misses in 7 % of the accesses; a site that does so seldom does not matter. One that
// has grown is given more time, but not for ever: where pages lie scattered in native memory, as a
// nested guest's do, it finds a neighbor or two again and again, and goes on missing.
bool Engine::misses_too_often(u32 site, bool grown, u64 now) {
    constexpr u32 kMostTimes = 8;
    constexpr u32 kMoreWhileGrowing = 4;
    constexpr u64 kWithin = 500'000;  // instructions
    Missing& missing = missing_[site];
    if (missing.times == 0 || now - missing.since > kWithin) {
        missing = {.times = 0, .since = now};
    }
    missing.times += grown ? 1 : kMoreWhileGrowing;
    return missing.times >= kMostTimes * kMoreWhileGrowing;
}

// Whether a conditional branch in the midst of a translation has led to what follows there. One to
// the start ends a round of a loop, and is followed by the next one (Item::repeats).
bool led_on(const Vcpu& cpu, const Insn& insn, Status status, u64 start) {
    const u64 rip = cpu.state.rip();
    if (status == Status::Next) {
        return ((rip + insn.imm) & cpu.mode.rip_mask) != start;
    }
    return status == Status::Branch && rip == start;
}

// The vCPU as it is before the site's instruction.
void Engine::leave_before(Vcpu& cpu, const Site& site) {
    cpu.state.rip() = site.rip;
    cpu.state.flags = unpack_status(cpu.translated.status);
    cpu.icount = cpu.translated.end - (static_cast<u64>(cpu.translated.remaining) + site.left);
}

// Instructions of a translation by the interpreter: because they are not translated, or because an
// access needs more than a hit in the TLB. Returns where to go on.
const u8* Engine::interpret_site(Vcpu& cpu) {
    const Site& site = code_->site(cpu.translated.site);
    const Standing before{cpu, site.translation->key};
    leave_before(cpu, site);
    const Insn* insn = site.insn;
    for (u32 done = 0;;) {
        ++(site.carried_over ? counted_.slow : counted_.not_carried);
        ++counted_.by_op[static_cast<std::size_t>(insn->op)];
        const bool shadowed =
            site.shadowed && done == 0 && (cpu.state.interruptibility & blocking::kSti) != 0;
        last_status_ = shadowed ? Interpreter::step_decoded(cpu, *insn)
                                : Interpreter::interpret_one(cpu, *insn);
        bool follows = last_status_ == Status::Next;
        if (insn->op == Op::Jcc && site.left - done > 1) {
            follows = led_on(cpu, *insn, last_status_, site.translation->rip);
        }
        if (!follows || site.translation->dead || attention_wanted(cpu) || !before.holds(cpu) ||
            cpu.icount > cpu.translated.end) {
            return go_on(cpu);
        }
        if (++done == site.count) {
            return resume(cpu, site);
        }
        insn = &code_->insn(site.first + done);
    }
}

// False: it cannot take in more pages.
bool Engine::grow_slot(Vcpu& cpu, u32 slot) {
    const DataTlb& table = slots_table(cpu.tlb.current(), cpu.mode.cpl);
    return &table == cpu.mode.data_tlb &&
           static_cast<JumpTable*>(cpu.translated.jump_table)->slots.grow(slot, table);
}

// Behind the site's instructions, in the same translation.
const u8* Engine::resume(Vcpu& cpu, const Site& site) {
    TranslatedCode& translated = cpu.translated;
    Translation& translation = *site.translation;
    if (site.slot != 0) {
        const bool grown = grow_slot(cpu, site.slot);
        if (misses_too_often(translated.site, grown, cpu.icount)) {
            code_->without_slot(site.rip);
            ++code_->counted().killed_for_slots;
            code_->kill(translation);
        }
    }
    const u64 left = site.left - site.count;
    if (cpu.icount + left > translated.end) {
        return go_on(cpu);
    }
    translated.remaining = static_cast<i64>(translated.end - cpu.icount - left);
    translated.status = pack_status(cpu.state.flags);
    if (site.window_slot != 0) {
        (void)grow_slot(cpu, site.window_slot);  // the window may lie in two pages
    }
    if (site.window && ++translation.window_misses == kMostWindowMisses) {
        Block& block = *translation.block;
        block.windows_dropped =
            static_cast<u8>(block.windows_dropped == 0 ? WindowKinds::Fixed : WindowKinds::None);
        ++code_->counted().killed_for_windows;
        code_->kill(translation);
    }
    return site.resume;
}

}  // namespace

Expected<std::shared_ptr<CodeCache>> make_code_cache(BlockCache& blocks,
                                                     const Options& options,
                                                     const NativeFeatures& native,
                                                     MachineLock* lock) {
    if (const auto checked = check_native_cpu(native); !checked) {
        return checked.error();
    }
    auto cache = CodeCache::create(blocks, options.code_bytes, native, &Engine::interpret, lock);
    if (!cache) {
        return cache.error();
    }
    cache.value()->set_listener(options.listener);
    return std::shared_ptr<CodeCache>(std::move(cache).value());
}

Statistics statistics(const CodeCache& code) {
    return code.statistics();
}

std::unique_ptr<ExecutionEngine> make_translator(std::shared_ptr<CodeCache> code,
                                                 const Options& options) {
    return std::make_unique<Engine>(std::move(code), options);
}

}  // namespace droste::jit
