// A translation is a straight run of decoded blocks in one page: behind a conditional branch it
// goes on with what follows, as long as that is decoded already, so that most branches not taken
// cost nothing. Instructions are carried over one by one (carry_*.cpp), with other registers and
// checked addresses; those that are not are left to the interpreter, in the midst of the
// translation.

#include "jit/translator.hpp"

#include "cpu/x86/interp/interpreter.hpp"
#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/system/cet.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/assembly.hpp"
#include "jit/carry_vmx.hpp"
#include "jit/listener.hpp"
#include "jit/vector_state.hpp"
#include "jit/x87_state.hpp"

#include <algorithm>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

namespace droste::jit {

namespace {

constexpr unsigned kMaxItems = 64;

CodeMode code_mode(u32 key) {
    constexpr unsigned kFlat64 = (1U << ES) | (1U << CS) | (1U << SS) | (1U << DS);
    return (key & mode_key::kCodeBits) == 64
               ? CodeMode{.word = 8, .flat_segments = kFlat64}
               : CodeMode{.word = 4, .flat_segments = key >> kKeyFlatShift & kFlat64};
}

// Appends the block's instructions.
void append(
    const Block& block, u64 rip, u64 rip_mask, const CodeMode& mode, std::vector<Item>& items) {
    for (unsigned i = 0; i < block.count; ++i) {
        Item item;
        item.insn = &block.insns[i];
        item.rip = rip;
        item.rip_mask = rip_mask;
        item.effect = status_effect(*item.insn);
        item.registers = register_effect(*item.insn, mode);
        items.push_back(item);
        rip = item.next_rip();
    }
}

// Ends a block because of what the interpreter looks at behind it, and goes on.
bool falls_through(Op op) {
    return op == Op::STI || op == Op::CLAC || op == Op::STAC || op == Op::SWAPGS || op == Op::POPF;
}

// Whether code behind the block's end may be part of the same translation: it can be reached, and
// the branch does not close a loop, which is better entered where it begins.
bool goes_on(const Item& last, u64 start) {
    if (!last.insn->ends_block() || falls_through(last.insn->op)) {
        return true;
    }
    if (last.insn->op != Op::Jcc) {
        return false;
    }
    const u64 target = last.target();
    return target > last.rip || target < (start & kPageMask);
}

// The interpreter steps over what is in the shadow of STI, so that no block begins there yet.
Block* decode_behind(Vcpu& cpu, u64 rip) {
    constexpr unsigned kMostInsnBytes = 15;
    if (rip % kPageBytes > kPageBytes - kMostInsnBytes) {
        return nullptr;
    }
    Block* block = nullptr;
    CodePage page;
    u64& now = cpu.state.rip();
    const u64 kept = std::exchange(now, rip);
    (void)Interpreter{kMaxBlockInsns}.find_block(cpu, page, cpu.tlb.generation(), block);
    now = kept;
    return block;
}

// Nothing if there was no room for another block: then none is left.
std::vector<Block*> collect(Vcpu& cpu, Block& first, std::vector<Item>& items) {
    std::vector<Block*> blocks = {&first};
    const u64 start = cpu.state.rip();
    const u64 rip_mask = cpu.mode.rip_mask;
    const CodeMode mode = code_mode(translation_key(cpu));
    append(first, start, rip_mask, mode, items);
    Block* block = &first;
    while (goes_on(items.back(), start)) {
        const PhysAddr next = block->start + block->bytes;
        if (((next ^ block->start) & kPageMask) != 0) {
            break;
        }
        Block* found = cpu.blocks->find(next, first.mode);
        if (found == nullptr && items.back().insn->op == Op::STI) {
            const u64 flushes = cpu.blocks->flushes();
            found = decode_behind(cpu, items.back().next_rip());
            if (cpu.blocks->flushes() != flushes) {
                return {};
            }
        }
        if (found == nullptr || found->second_page != Block::kInvalid ||
            items.size() + found->count > kMaxItems) {
            break;
        }
        append(*found, items.back().next_rip(), rip_mask, mode, items);
        blocks.push_back(found);
        block = found;
    }
    return blocks;
}

// Whether a check of an access can do for the next round of a loop, too: its address is the same, or
// a little further.
bool rounds_share(const std::vector<Item>& items) {
    constexpr i32 kMostStep = 256;
    unsigned changed = 0;
    for (const Item& item : items) {
        const RegisterEffect& effect = item.registers;
        if (!effect.known) {
            return false;
        }
        const bool near = effect.stepped < 16 && std::abs(effect.step) <= kMostStep;
        changed |= effect.writes & ~(near ? 1U << effect.stepped : 0U);
    }
    const auto follows = [&](unsigned reg) { return reg >= 16 || (changed >> reg & 1) == 0; };
    for (const Item& item : items) {
        for (unsigned k = 0; k < item.registers.count; ++k) {
            const OperandAccess& access = item.registers.accesses[k];
            if (access.bytes != 0 && follows(access.base) && follows(access.index)) {
                return true;
            }
        }
    }
    return false;
}

// A loop that is one run is repeated a few times: its rounds share checks and the budget's.
void repeat(const Block& block, u64 start, std::vector<Item>& items) {
    constexpr std::size_t kMostRounds = 4, kMostRepeated = 40;
    const std::size_t round = items.size();
    if (block.windows_dropped != 0 || block.second_page != Block::kInvalid ||
        round * 2 > kMostRepeated || items.back().insn->op != Op::Jcc ||
        items.back().target() != start || !rounds_share(items)) {
        return;
    }
    const std::size_t rounds = std::min(kMostRounds, kMostRepeated / round);
    items.reserve(rounds * round);
    for (std::size_t i = 1; i < rounds; ++i) {
        items.back().repeats = true;
        for (std::size_t k = 0; k < round; ++k) {
            items.push_back(items[k]);
            items.back().repeats = false;
        }
    }
}

void find_live_status(std::vector<Item>& items) {
    LiveStatus live = LiveStatus::All;
    for (std::size_t i = items.size(); i-- > 0;) {
        Item& item = items[i];
        item.status_live_after = live != LiveStatus::None;
        live = live_before(item.effect, live);
        item.status_live_before = live != LiveStatus::None;
        item.only_carry_live_before = live == LiveStatus::Carry;
    }
}

bool carry_over(Assembly& a) {
    const Insn& insn = a.insn();
    const NativeChoices& native = a.native_choices();
    if (!native.results_are_ours(insn.op, insn.width)) {
        return false;
    }
    if (a.item().status_live_after && !native.flags_are_ours(insn.op, insn.width)) {
        return carry_over_with_our_flags(a);
    }
    return carry_over_integer(a) || carry_over_move(a) || carry_over_branch(a) ||
           carry_over_vector(a) || carry_over_x87(a) || carry_over_system(a) ||
           carry_over_syscall(a) || carry_over_string(a) || carry_over_time(a) || carry_over_vmx(a);
}

void report(Vcpu& cpu,
            Listener& listener,
            const Translation& translation,
            const std::vector<Item>& items,
            std::span<const u8> code,
            u32 behind_at) {
    std::vector<TranslatedInsn> insns;
    insns.reserve(items.size());
    for (const Item& item : items) {
        insns.push_back({.insn = item.insn,
                         .rip = item.rip,
                         .code_at = item.code_at,
                         .status = item.status_place,
                         .carried_over = item.carried_over});
    }
    listener.translated(cpu, {.rip = translation.rip,
                              .key = translation.key,
                              .code = code,
                              .insns = insns,
                              .behind_at = behind_at});
}

bool transfers(Op op) {
    return op == Op::JMP_NEAR || op == Op::Jcc || op == Op::CALL_NEAR || op == Op::RET_NEAR ||
           op == Op::LOOP || op == Op::JrCXZ || op == Op::SYSCALL || op == Op::SYSRET;
}

// key_flat() of the segments. Each access would have to look otherwise.
u32 flat_segments(const CpuState& state) {
    constexpr u16 kReadWrite = kSegReadUp | kSegWriteUp;
    u32 flat = 0;
    for (const unsigned seg : {ES, CS, SS, DS}) {
        const Segment& s = state.seg[seg];
        const u16 wanted = seg == CS ? kSegReadUp : kReadWrite;
        if (s.limit == ~u32{0} && (s.checks & wanted) == wanted && s.base == 0) {
            flat |= key_flat(seg);
        }
    }
    return flat;
}

}  // namespace

u32 general_mode_key(const Vcpu& cpu) {
    const u32 middle_level = (u32{cpu.mode.cpl} ^ u32{cpu.mode.cpl} >> 1) & 1;
    const u32 segments = cpu.mode.long_mode64 ? 0 : flat_segments(cpu.state);
    const bool suppressed = (cpu.mode.cet & Vcpu::kCetTracked) != 0 &&
                            (cet_control(cpu.state, cpu.mode.cpl) & cet::kSuppress) != 0;
    return cpu.mode.key | (middle_level != 0 ? kKeyMiddleLevel : 0) | segments |
           (suppressed ? kKeyTrackingSuppressed : 0);
}

// 32-bit code only if it and its stack lie in flat segments; and with the upper half of RSP clear,
// which stays so: pushes and the like leave it alone, and native ones do not.
bool can_translate_generally(const Vcpu& cpu) {
    if ((cpu.mode.cet & Vcpu::kCetTracked) != 0 &&
        ((cpu.mode.cet & Vcpu::kCetWaiting) != 0 ||
         (cet_control(cpu.state, cpu.mode.cpl) & cet::kSuppress) != 0)) {
        return false;
    }
    if (cpu.mode.long_mode64) {
        return true;
    }
    constexpr u32 kMode = mode_key::kRealOrV86 | mode_key::kCodeBits | mode_key::kStack32;
    constexpr u32 kFlat = key_flat(CS) | key_flat(SS);
    return (cpu.mode.key & kMode) == (32 | mode_key::kStack32) && cpu.state.gpr[RSP] <= ~u32{0} &&
           (flat_segments(cpu.state) & kFlat) == kFlat;
}

Translation* translate(CodeCache& code, Vcpu& cpu, Block& block) {
    std::vector<Item> items;
    const std::vector<Block*> blocks = collect(cpu, block, items);
    if (blocks.empty()) {
        return nullptr;
    }
    repeat(block, cpu.state.rip(), items);
    find_live_status(items);
    find_vmcs_fields(cpu, items);
    code.reserve(items.size());
    Translation& translation = code.new_translation();
    translation.rip = cpu.state.rip();
    translation.key = translation_key(cpu);
    translation.block = &block;
    translation.count = static_cast<u32>(items.size());
    WindowPlan windows = plan_windows(items, static_cast<WindowKinds>(block.windows_dropped));
    Assembly a{code, translation, items, windows, cpu.features};
    a.prologue();
    bool left = false;
    for (unsigned i = 0; i < a.count(); ++i) {
        a.begin(i);
        const bool carried = carry_over(a);
        if (!carried) {
            a.interpret();
        }
        items[i].carried_over = carried;
        a.end_item();
        left = carried && transfers(a.insn().op);
    }
    if (!left) {
        a.leave_to(items.back().next_rip(), a.count());
    }
    const auto behind_at = static_cast<u32>(a.emitter().size());
    a.finish();
    if (jit::Listener* listener = code.listener(); listener != nullptr) {
        report(cpu, *listener, translation, items, {translation.entry_native, a.emitter().size()},
               behind_at);
    }
    CacheStatistics& counted = code.counted();
    counted.made_guest_insns += items.size();
    counted.made_guest_bytes += items.back().next_rip() - translation.rip;
    for (Block* used : blocks) {
        code.use(*used, translation);
    }
    return &translation;
}

}  // namespace droste::jit
