#include "jit/assembly.hpp"

#include "cpu/x86/interp/branch.hpp"

namespace droste::jit {

namespace {

// RAX is where LAHF and SAHF work; it waits in a register or in memory.
void lahf(Emitter& e) {
    e.byte(0x9F);
}
void sahf(Emitter& e) {
    e.byte(0x9E);
}

}  // namespace

void Assembly::save_status() {
    e_.mov(kT0, kRax);
    lahf(e_);
    e_.setcc(cc::kO, kRax);
    // All 32 bits, whatever is above: a load of more than was stored would wait for the store.
    e_.store32(at_rsp(layout::kStatus), kRax);
    e_.mov(kRax, kT0);
}

void Assembly::save_status_with_af() {
    constexpr i32 kAf = 0x1000;
    e_.mov(kT0, kRax);
    lahf(e_);
    e_.setcc(cc::kO, kRax);
    e_.alu_imm(1, kRax, kAf, false);  // or: not in memory, where it would be half of what is loaded
    e_.store32(at_rsp(layout::kStatus), kRax);
    e_.mov(kRax, kT0);
    status_ = StatusPlace::Saved;
}

// CF alone stands in all bits. Of the other flags nobody asks.
void Assembly::save_live_status() {
    if (!item().only_carry_live_before) {
        save_status();
        return;
    }
    e_.rr({.opcode = 0x1B}, kT0, kT0);  // sbb
    e_.store32(at_rsp(layout::kStatus), kT0);
}

// OF comes from adding 7Fh to a byte of 1, the others from AH.
void Assembly::load_status() {
    e_.store(at_rsp(layout::kScratch), kRax);
    e_.load32(kRax, at_rsp(layout::kStatus));
    e_.byte(0x04);  // add al, 7Fh
    e_.byte(0x7F);
    sahf(e_);
    e_.load(kRax, at_rsp(layout::kScratch));
}

void Assembly::load_live_status() {
    if (!item().only_carry_live_before) {
        load_status();
        return;
    }
    constexpr u8 kCarry = 8;
    e_.xm({.opcode = 0xBA, .map = OpcodeMap::Map0F}, 4, at_rsp(layout::kStatus));  // bt
    e_.byte(kCarry);
}

void Assembly::clobber_status() {
    // QUIRK(dead-status-flags): an event taken here sees older ones.
    if (!item().status_live_before) {
        status_ = StatusPlace::Dead;
        return;
    }
    if (status_ == StatusPlace::Native) {
        save_live_status();
    }
    status_ = StatusPlace::Saved;
}

void Assembly::need_native_status() {
    if (status_ == StatusPlace::Saved) {
        load_live_status();
        status_ = StatusPlace::Both;
    }
}

void Assembly::need_saved_status() {
    if (status_ == StatusPlace::Native) {
        save_status();
        status_ = StatusPlace::Both;
    }
}

void Assembly::need_float(bool& known, i32 native, const u8* routine) {
    if (known) {
        return;
    }
    clobber_status();
    e_.compare_imm8(at_rsp(native), 0);
    u8* place = e_.jcc(cc::kE);
    loads_.push_back({place, e_.at(), routine});
    known = true;
}
void Assembly::need_vector() {
    need_float(vector_, layout::kVectorNative, cache_.trampolines().load_vector);
}
void Assembly::need_x87() {
    need_float(x87_, layout::kX87Native, cache_.trampolines().load_x87);
}

void Assembly::jump_to_trampoline(const u8* trampoline) {
    const u8* place = cache_.executable(e_.at()) + 1;
    u8* displacement = e_.jmp();
    Emitter::patch(displacement, place, trampoline);
}

void Assembly::jump_to_load(const u8* routine, const u8* behind) {
    e_.lea_rip(kT0, behind);
    jump_to_trampoline(routine);
}

void Assembly::note_x87() {
    x87_pointers_.last = &item();
    if (insn().mem() && !features_.has(Feature::FDP_EXCPTN_ONLY)) {
        x87_pointers_.memory = &item();
    }
}

// Changes no flag. SDM Vol. 1, "x87 FPU Instruction and Data (Operand) Pointers".
void Assembly::write_x87_pointers(const X87Pointers& pointers, i32 stack_ahead) {
    const bool zero = features_.has(Feature::ZERO_FCS_FDS);
    const auto store_selector = [&](i32 place, unsigned seg) {
        if (zero) {
            e_.load_imm(kT0, 0);
        } else {
            e_.rm({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT0, at_rsp(layout::selector(seg)));
        }
        e_.rm({.opcode = 0x89, .opsize = true}, kT0, at_rsp(place));
    };
    const Insn& insn = *pointers.last->insn;
    e_.xm({.opcode = 0xC7, .opsize = true}, 0, at_rsp(layout::kX87Opcode));
    e_.word(static_cast<u16>((insn.opcode & 7U) << 8 | insn.modrm));
    e_.load_imm(kT0, pointers.last->rip);
    e_.store(at_rsp(layout::kX87InstructionPointer), kT0);
    store_selector(layout::kX87InstructionSelector, CS);
    if (pointers.memory != nullptr) {
        load_offset(*this, *pointers.memory, stack_ahead, kT1, kT0);
        e_.store(at_rsp(layout::kX87DataPointer), kT1);
        store_selector(layout::kX87DataSelector, pointers.memory->insn->seg);
    }
}

void Assembly::settle_x87_pointers() {
    if (x87_pointers_.last != nullptr) {
        write_x87_pointers(x87_pointers_, stack_ahead_);
        x87_pointers_ = {};
    }
}

void Assembly::begin(unsigned index) {
    at_ = index;
    items_[index].code_at = static_cast<u32>(e_.size());
    items_[index].status_place = status_;
    accesses_ = 0;
    keeps_saved_status_ = false;
    if (insn().map != OpcodeMap::X87 || insn().op == Op::FNSTSW) {
        settle_x87_pointers();
    }
    x87_before_ = x87_pointers_;
    // Registers named by the instruction must be right; those it moves RSP by need not.
    const Insn& insn = *items_[index].insn;
    const bool names_rsp = (insn.rm == RSP && !insn.mem()) || insn.reg == RSP || insn.vvvv == RSP;
    if (names_rsp && (items_[index].registers.moves_stack == 0 || insn.op == Op::PUSH)) {
        settle_stack();
    }
    item_stack_ahead_ = stack_ahead_;
    if (items_[index].shadowed && insn.ends_block()) {
        end_shadow();  // before a branch, which cannot fault
        items_[index].shadowed = false;
    }
}

bool Assembly::shadow_can_end() const {
    if (at_ + 1 == count()) {
        return false;
    }
    const Item& next = items_[at_ + 1];
    const Insn& insn = *next.insn;
    if (!insn.ends_block()) {
        return true;
    }
    const bool known = insn.op == Op::Jcc || (insn.op == Op::JMP_NEAR && insn.form == Form::I);
    return known && insn.opsize == 8 && canonical_in_any_width(next.next_rip() + insn.imm);
}

// Changes no flag.
void Assembly::end_shadow() {
    e_.store_imm32(at_rsp(layout::kInterruptibility), 0);
}

void Assembly::move_home(i32 by) {
    if (by != 0) {
        e_.lea(kHome[RSP], {.base = kHome[RSP], .disp = by}, code64());
    }
}

void Assembly::settle_stack() {
    move_home(stack_ahead_);
    stack_settled_ += stack_ahead_;
    stack_ahead_ = 0;
}

Window* Assembly::next_window() {
    if (accesses_ == 2) {
        return nullptr;
    }
    const WindowPlan::Use& use = windows_.of_item[at_][accesses_++];
    stepped_ = use.stepped;
    return use.window == kNoWindow ? nullptr
                                   : &windows_.windows[static_cast<std::size_t>(use.window)];
}

unsigned Assembly::slot_for(bool stack, const Access& access) {
    const bool kernel = (translation_.key & mode_key::kUser) == 0;
    if (kernel && stack) {
        return access.write ? 1 : 0;
    }
    if ((kernel && !cache_.wants_slots(translation_.rip)) || !cache_.has_slot(item().rip) ||
        (translation_.key & mode_key::kAlignment) != 0) {  // no access may hit
        return kNoSlot;
    }
    return cache_.new_slot(access.bytes, access.write);
}

void Assembly::refill_if(u8* place, unsigned slot, const Address& address, const Access& access) {
    refills_.push_back({place, e_.at(), slot, address, access, at_, stack_ahead_, stack_settled_,
                        item_stack_ahead_, x87_before_});
}

void Assembly::write_refill(const Refill& refill) {
    e_.lands_here(refill.place);
    at_ = refill.item;
    stack_ahead_ = refill.stack_ahead;
    stack_settled_ = refill.stack_settled;
    compute(*this, refill.address);
    const bool own = refill.slot >= kStackSlots && refill.address.window != kNoWindow;
    interpreted_.push_back({probe(*this, refill.access), refill.item, refill.item_stack_ahead,
                            refill.address.window, refill.x87, 0, own ? refill.slot : 0});
    if (refill.slot < kStackSlots) {
        write_stack_refill(refill);
        return;
    }
    constexpr i32 kSlots = JumpTable::kSlotsAt;
    e_.load(kT1, at_rsp(layout::kJumpTable));
    e_.xm({.opcode = 0x80}, 0,
          {.base = kT1, .disp = kSlots + PageSlots::impatience_of(refill.slot)});  // add byte
    e_.byte(PageSlots::kImpatience);
    u8* impatient = e_.jcc(cc::kE);
    interpreted_.push_back({impatient, refill.item, refill.item_stack_ahead, refill.address.window,
                            refill.x87, refill.slot});
    go_on_if_ac(refill);
    e_.xm({.opcode = 0xC7, .w = true}, 0,
          {.base = kT1, .disp = kSlots + PageSlots::room_of(refill.slot)});
    e_.dword(SlotNumbers::room(refill.access.bytes));
    e_.xm({.opcode = 0xC6}, 0, {.base = kT1, .disp = kSlots + PageSlots::pages_of(refill.slot)});
    e_.byte(1);
    e_.store({.base = kT1, .disp = kSlots + PageSlots::addend_of(refill.slot)}, kT0);
    e_.xm({.opcode = 0x80}, 1,
          {.base = kT1, .disp = kSlots + PageSlots::filled_byte(refill.slot)});  // or byte
    e_.byte(1U << refill.slot % 8);
    compute(*this, refill.address);
    e_.load(kT0, at_rsp(layout::kJumpTable));
    e_.alu_imm(4, kT1, -4096);
    e_.store({.base = kT0, .disp = kSlots + PageSlots::first_of(refill.slot)}, kT1);
    e_.rm({.opcode = 0x21, .w = true}, kT1,
          {.base = kT0, .disp = kSlots + PageSlots::kAddresses});  // and [addresses], t1
    e_.load(kT0, {.base = kT0, .disp = kSlots + PageSlots::addend_of(refill.slot)});
    u8* back = e_.jmp();
    Emitter::patch(back, back, refill.back);
}

// What a kernel reaches while RFLAGS.AC lifts SMAP may be out of reach later: no slot is filled.
void Assembly::go_on_if_ac(const Refill& refill) {
    if ((translation_.key & mode_key::kUser) != 0) {
        return;
    }
    e_.xm({.opcode = 0xF6}, 0, at_rsp(layout::kSystemFlags + 2));  // test byte
    e_.byte(rflags::kAc >> 16);
    u8* lifted = e_.jcc(cc::kNE);
    Emitter::patch(lifted, lifted, refill.back);
}

// The two of kernel stacks are in the vCPU.
void Assembly::write_stack_refill(const Refill& refill) {
    go_on_if_ac(refill);
    const Mem addend = at_rsp(layout::slot(refill.slot) + 8);
    e_.store(addend, kT0);
    compute(*this, refill.address);
    e_.alu_imm(4, kT1, -4096);
    e_.store(at_rsp(layout::slot(refill.slot)), kT1);
    e_.load(kT0, addend);
    u8* back = e_.jmp();
    Emitter::patch(back, back, refill.back);
}

void Assembly::compare_entry() {
    e_.rm({.opcode = 0x3B, .w = true}, kT1, {.base = kT0});
    u8* place = e_.jcc(cc::kNE);
    second_looks_.push_back({place, e_.at(), at_, item_stack_ahead_, x87_before_});
}

void Assembly::write_second_look(const SecondLook& look) {
    e_.lands_here(look.place);
    for (const u8 step : JumpTable::kSteps) {
        e_.alu_imm(6, kT0, step);  // xor
        e_.rm({.opcode = 0x3B, .w = true}, kT1, {.base = kT0});
        u8* found = e_.jcc(cc::kE);
        Emitter::patch(found, found, look.back);
    }
    interpreted_.push_back({e_.jmp(), look.item, look.item_stack_ahead, kNoWindow, look.x87});
}

void Assembly::interpret_window_if(u8* place, Window& window) {
    interpreted_.push_back({place, at_, item_stack_ahead_, number_of(window), x87_before_});
}

// What lies behind a window's last access may stand on other windows, which were to be checked in
// between; or by the item itself, when the first of its two accesses sent it to the interpreter.
unsigned Assembly::last_of(const Interpreted& interpreted) const {
    unsigned last = interpreted.window == kNoWindow
                        ? interpreted.first
                        : windows_.windows[static_cast<std::size_t>(interpreted.window)].last;
    for (bool again = true; again;) {
        again = false;
        for (const Window& w : windows_.windows) {
            if (w.checked && w.checked_at >= interpreted.first && w.checked_at <= last &&
                w.last > last) {
                last = w.last;
                again = true;
            }
        }
    }
    return last;
}

u32 Assembly::new_site(unsigned first, unsigned last, bool carried_over) {
    return cache_.add(Site{.translation = &translation_,
                           .rip = items_[first].rip,
                           .insn = items_[first].insn,
                           .left = count() - first,
                           .first = first_insn_ + first,
                           .count = last - first + 1,
                           .carried_over = carried_over,
                           .shadowed = items_[first].shadowed});
}

void Assembly::jump_to_interpret(u32 site) {
    e_.store_imm32(at_rsp(layout::kSite), site);
    jump_to_trampoline(cache_.trampolines().interpret);
}

void Assembly::interpret() {
    settle_x87_pointers();
    need_saved_status();
    settle_stack();
    const u32 site = new_site(at_, at_, false);
    jump_to_interpret(site);
    cache_.site(site).resume = cache_.executable(e_.at());
    status_ = StatusPlace::Saved;
    stack_settled_ += items_[at_].registers.moves_stack;
    vector_ = x87_ = false;
}

void Assembly::end_item() {
    const RegisterEffect& effect = items_[at_].registers;
    if (!effect.known) {
        settle_stack();
        stack_replaced();
    } else if ((effect.writes >> RSP & 1) != 0) {
        stack_replaced();
    }
    ends_[at_] = {e_.at(), status_, stack_ahead_, vector_, x87_};
    if (items_[at_].shadowed) {
        end_shadow();
    }
}

void Assembly::write_interpreted(const Interpreted& interpreted) {
    e_.lands_here(interpreted.place);
    move_home(interpreted.stack_ahead);
    if (interpreted.x87.last != nullptr) {
        write_x87_pointers(interpreted.x87, 0);
    }
    const unsigned last = last_of(interpreted);
    const ItemEnd& end = ends_[last];
    const u32 site = new_site(interpreted.first, last, true);
    cache_.site(site).window = interpreted.window != kNoWindow && interpreted.slot == 0;
    cache_.site(site).slot = interpreted.slot;
    cache_.site(site).window_slot = interpreted.window_slot;
    jump_to_interpret(site);
    cache_.site(site).resume = cache_.executable(e_.at());
    move_home(-end.stack_ahead);
    if (end.x87) {
        // Changes flags, so they come after it.
        u8* behind = e_.lea_rip(kT0);
        jump_to_trampoline(cache_.trampolines().load_x87);
        e_.lands_here(behind);
    }
    if (end.status == StatusPlace::Native || end.status == StatusPlace::Both) {
        load_status();
    }
    if (end.vector) {
        jump_to_load(cache_.trampolines().load_vector, end.at);
        return;
    }
    u8* back = e_.jmp();
    Emitter::patch(back, back, end.at);
}

// The count was taken for the whole translation. Changes no flag.
void Assembly::adjust_count(i32 by) {
    if (by != 0) {
        e_.lea(kBudget, {.base = kBudget, .disp = by});
    }
}

void Assembly::write_unlinked(u32 number, StatusPlace status) {
    if (status == StatusPlace::Native) {
        save_status();
    }
    e_.store_imm32(at_rsp(layout::kSite), number);
    jump_to_trampoline(cache_.trampolines().leave);
}

// The jump whose displacement is at `place` leads to the engine until it is linked.
void Assembly::link_at(u8* place, u64 rip, StatusPlace status) {
    const u32 number = cache_.add(Exit{
        .rip = rip,
        .key = translation_.key,
        .place = cache_.executable(place),
        .native_status = status == StatusPlace::Native || status == StatusPlace::Both,
    });
    unlinked_.push_back({place, number, status});
}

// Where the jump table says. Returns where the branch that does not find it in its own place has its
// displacement; the status flags are Saved or Dead.
u8* Assembly::jump_through_table(u64 rip) {
    const auto entry = static_cast<i32>(JumpTable::index(rip) * sizeof(JumpTable::Entry));
    e_.load(kT0, at_rsp(layout::kJumpTable));
    e_.load_imm(kT1, rip);
    e_.rm({.opcode = 0x3B, .w = true}, kT1, {.base = kT0, .disp = entry});
    u8* miss = e_.jcc(cc::kNE);
    e_.jmp_mem({.base = kT0, .disp = entry + 8});
    return miss;
}

// From there: by another place of the row, or to the engine as the exit of that number.
void Assembly::jump_through_row(u8* miss, u64 rip, u32 exit) {
    const auto entry = static_cast<i32>(JumpTable::index(rip) * sizeof(JumpTable::Entry));
    e_.lands_here(miss);
    e_.store_imm32(at_rsp(layout::kSite), exit);
    e_.lea(kT0, {.base = kT0, .disp = entry});
    jump_to_trampoline(cache_.trampolines().leave_by_row);
}

// A jump that can be linked, or a look into the jump table.
void Assembly::write_exit(u64 rip, StatusPlace status) {
    if (same_page(rip)) {
        link_at(e_.jmp(), rip, status);
        return;
    }
    if (status == StatusPlace::Native) {
        save_status();
    }
    u8* miss = jump_through_table(rip);
    const u32 number = cache_.add(Exit{.rip = rip, .key = translation_.key});
    unlinked_.push_back({miss, number, StatusPlace::Saved, true});
}

void Assembly::leave_to(u64 rip, unsigned retired) {
    settle_x87_pointers();
    settle_stack();
    adjust_count(static_cast<i32>(count() - retired));
    write_exit(rip, status_);
}

void Assembly::leave_if(u8* place, u64 rip, unsigned retired) {
    if (retired == count() && same_page(rip) && stack_ahead_ == 0) {
        link_at(place, rip, status_);
        return;
    }
    side_exits_.push_back({place, rip, retired, status_, stack_ahead_});
}

void Assembly::prologue() {
    std::vector<const Insn*> insns;
    insns.reserve(items_.size());
    for (const Item& item : items_) {
        insns.push_back(item.insn);
    }
    first_insn_ = cache_.add_insns(insns);
    const bool dead = !items_.front().status_live_before;
    translation_.entry_native = cache_.executable(e_.at());
    if (!dead) {
        save_live_status();  // at_ is the first item
    }
    translation_.entry_linked = cache_.executable(e_.at());
    if (translation_.block->second_page != Block::kInvalid) {
        stale_ = jump_through_table(translation_.rip);
    }
    translation_.entry = cache_.executable(e_.at());
    status_ = dead ? StatusPlace::Dead : StatusPlace::Saved;
    budget_spent_ = take_budget();
    body_ = e_.at();
}

u8* Assembly::take_budget() {
    e_.alu_imm(5, kBudget, static_cast<i32>(count()));  // sub
    if (cache_.lock() == nullptr) {
        return e_.jcc(cc::kS);
    }
    // The same, unless others ask to leave.
    e_.rm({.opcode = 0x3B, .w = true}, kBudget, at_rsp(layout::kBudgetFloor));  // cmp
    return e_.jcc(cc::kL);
}

// Where to go from `spent`, a branch of take_budget(): by the exit of that number.
const u8* Assembly::write_budget_spent(u8* spent, u32 start) {
    e_.lands_here(spent);
    e_.alu_imm(0, kBudget, static_cast<i32>(count()));  // add
    const u8* stale = e_.at();
    write_unlinked(start, StatusPlace::Saved);
    return stale;
}

// The code does not wait: that it begins with ENDBR is what lets a tracked branch come here.
void Assembly::write_tracked_entry() {
    translation_.entry_tracked = cache_.executable(e_.at());
    u8* spent = take_budget();
    u8* body = e_.jmp();
    Emitter::patch(body, body, body_);
    const u32 start =
        cache_.add(Exit{.rip = translation_.rip, .key = translation_.key, .waits = true});
    translation_.stale_tracked = cache_.executable(write_budget_spent(spent, start));
}

void Assembly::finish() {
    for (const SideExit& side : side_exits_) {
        e_.lands_here(side.place);
        move_home(side.stack_ahead);
        adjust_count(static_cast<i32>(count() - side.retired));
        write_exit(side.rip, side.status);
    }
    for (const Refill& refill : refills_) {
        write_refill(refill);
    }
    for (const SecondLook& look : second_looks_) {
        write_second_look(look);
    }
    for (const Interpreted& interpreted : interpreted_) {
        write_interpreted(interpreted);
    }
    for (const Load& load : loads_) {
        e_.lands_here(load.place);
        jump_to_load(load.routine, load.behind);
    }
    for (const Unlinked& unlinked : unlinked_) {
        if (unlinked.by_table) {
            jump_through_row(unlinked.place, cache_.exit(unlinked.exit).rip, unlinked.exit);
            continue;
        }
        e_.lands_here(unlinked.place);
        cache_.exit(unlinked.exit).unlinked = cache_.executable(e_.at());
        write_unlinked(unlinked.exit, unlinked.status);
    }
    const u32 start = cache_.add(Exit{.rip = translation_.rip, .key = translation_.key});
    translation_.stale = cache_.executable(write_budget_spent(budget_spent_, start));
    if (stale_ != nullptr) {
        jump_through_row(stale_, translation_.rip, start);
    }
    if (tracked() && items_.front().insn->op == Op::ENDBR) {
        write_tracked_entry();
    }
    cache_.commit(e_);
}

}  // namespace droste::jit
