#pragma once
// A translation in the making: the instructions it is made of, the code so far, where the guest's
// status flags are at this point of it, and what is still to be written behind it.
//
// The status flags (docs/jit/flags.md). Guest instructions that are carried over set and read the
// native ones. The code between them needs compares, so the flags are saved to
// TranslatedCode::status before the first compare after they were set, if anybody may still read
// them, and loaded again where an instruction reads them (StatusPlace, listener.hpp).

#include "core/types.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/state/features.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/code_cache.hpp"
#include "jit/emitter.hpp"
#include "jit/layout.hpp"
#include "jit/listener.hpp"
#include "jit/register_effect.hpp"
#include "jit/status_effect.hpp"
#include "jit/windows.hpp"

#include <vector>

namespace droste::jit {

struct Item {
    const Insn* insn = nullptr;
    u64 rip = 0;
    u64 rip_mask = ~u64{0};  // RIP is so wide
    StatusEffect effect;
    RegisterEffect registers;
    bool status_live_before = true;
    bool status_live_after = true;
    bool only_carry_live_before = false;  // of those that are live
    // For Listener: where its code begins, the status flags there, and whether it was carried over.
    u32 code_at = 0;
    StatusPlace status_place = StatusPlace::Saved;
    bool carried_over = false;
    bool shadowed = false;  // by the STI before it
    bool repeats = false;   // a conditional branch: what follows it is where it leads if taken
    // VMREAD and VMWRITE (carry_vmx.hpp): the field that is known to be named, or any.
    VmcsFieldPlace vmcs_field;
    u16 vmcs_encoding = 0;
    bool vmcs_any = false;
    u64 next_rip() const { return (rip + insn->length) & rip_mask; }
    // Of a relative branch.
    u64 target() const { return (rip + insn->length + insn->imm) & rip_mask; }
};

// The instructions whose FIP, FCS and FOP, and whose FDP and FDS, are still to be stored: the last
// of a run of x87 instructions, which nothing can look at from within and in which no address
// changes.
struct X87Pointers {
    const Item* last = nullptr;
    const Item* memory = nullptr;
};

struct Access {
    unsigned bytes;
    bool write;
    bool aligned = false;  // an access that is not aligned is left to the interpreter
    unsigned part = 0;     // to so many bytes, of which `bytes` is a multiple; 0: to `bytes`
    unsigned alignment() const { return part != 0 ? part : bytes; }
};
// The one that checks all of a window.
inline Access whole(const Window& window) {
    return {.bytes = window.bytes(),
            .write = window.write,
            .aligned = window.alignment != 0,
            .part = window.alignment};
}

class Assembly {
  public:
    Assembly(CodeCache& cache,
             Translation& translation,
             std::vector<Item>& items,
             WindowPlan& windows,
             const CpuFeatures& features)
        : cache_(cache)
        , translation_(translation)
        , items_(items)
        , windows_(windows)
        , features_(features)
        , e_(cache.emitter())
        , ends_(items.size()) {}

    Emitter& emitter() { return e_; }
    const Item& item() const { return items_[at_]; }
    const Insn& insn() const { return *items_[at_].insn; }
    unsigned index() const { return at_; }
    unsigned count() const { return static_cast<unsigned>(items_.size()); }
    void begin(unsigned index);
    const Translation& translation() const { return translation_; }
    // What code may be made of.
    const NativeFeatures& native() const { return cache_.native(); }
    const NativeChoices& native_choices() const { return cache_.native_choices(); }

    // --- the mode ---
    // Else it is 32-bit code, of protected or compatibility mode (docs/jit/modes.md).
    bool code64() const { return (translation_.key & mode_key::kCodeBits) == 64; }
    // Bytes of what calls and pushes put on the stack, unless the instruction says otherwise.
    unsigned word() const { return code64() ? 8 : 4; }
    // Control-flow enforcement.
    bool shadow_stack() const { return (cet() & Vcpu::kCetShadowStack) != 0; }
    bool tracked() const { return (cet() & Vcpu::kCetTracked) != 0; }
    // Whether the segment's base is to be added to an address in it.
    bool adds_base(unsigned seg) const { return seg >= FS || !flat(seg); }
    // Whether an address in the segment may lie beyond its limit, or may not be used so.
    bool checks_segment(unsigned seg, bool write) const {
        return !code64() && (seg >= FS || !flat(seg) || (seg == CS && write));
    }

    // --- status flags ---
    StatusPlace status() const { return status_; }
    // The item's own instruction has set them all, or some of the native ones.
    void set_status(StatusPlace place) { status_ = place; }
    // Compares follow. Saves the flags if somebody needs them: this item or one behind it.
    void clobber_status();
    // The native flags are needed as they are. Uses no register, so that an address may be held.
    void need_native_status();
    // They are needed in TranslatedCode::status.
    void need_saved_status();
    // Those that the item keeps stay there: they are not needed in RFLAGS.
    void keep_saved_status() { keeps_saved_status_ = true; }
    bool keeps_saved_status() const { return keeps_saved_status_; }
    // The native ones are saved, but for AF, which is set; whatever is native then.
    void save_status_with_af();

    // --- RSP ---
    // RSP moves in steps that are known, so its home is written only when it must be right. The
    // guest's RSP is the home plus so many bytes:
    i32 stack_ahead() const { return stack_ahead_; }
    void move_stack(i32 by) { stack_ahead_ += by; }
    void settle_stack();
    // An instruction has moved the home itself.
    void stack_settled_by(i32 by) { stack_settled_ += by; }
    // The home has been given another value.
    void stack_replaced() { stack_ahead_ = stack_settled_ = 0; }
    // How far the home has moved since RSP was last replaced.
    i32 stack_settled() const { return stack_settled_; }

    // --- windows ---
    // That of the item's next access, in order; null if it has none.
    Window* next_window();
    // How far its registers have come since their first access in it (WindowPlan::Use).
    i64 stepped() const { return stepped_; }
    // As interpret_if(), for the check of a window.
    void interpret_window_if(u8* place, Window& window);

    // --- page slots ---
    // How an address is computed, to do it again in another place.
    struct Address {
        enum class Kind : u8 { Operand, Window, Base } kind = Kind::Operand;
        int window = kNoWindow;
        u8 base = 0;
        i32 disp = 0;  // of a window: Assembly::stepped()
    };
    // The slot of an access: its own, or that of a kernel's stack.
    static constexpr unsigned kNoSlot = SlotNumbers::kNone;
    unsigned slot_for(bool stack, const Access& access);
    struct Refill {
        u8* place;  // of the branch of a miss
        u8* back;
        unsigned slot;
        Address address;
        Access access;
        unsigned item;
        i32 stack_ahead, stack_settled, item_stack_ahead;
        X87Pointers x87;  // before the item
    };
    // The slot at the branch did not have the page: it is filled from the TLB.
    void refill_if(u8* place, unsigned slot, const Address& address, const Access& access);
    int number_of(const Window& window) const {
        return static_cast<int>(&window - windows_.windows.data());
    }
    Window& window(int number) { return windows_.windows[static_cast<std::size_t>(number)]; }

    // --- vector registers (vector_state.hpp) ---
    // The guest's are needed in the native ones. Compares: like clobber_status().
    void need_vector();
    // The same for the x87 registers (x87_state.hpp).
    void need_x87();
    // The item was an x87 instruction that FIP, FOP and perhaps FDP name.
    void note_x87();

    // --- the shadow of STI ---
    // Whether it can end behind the next instruction: that is part of the translation, and does not
    // leave it by a branch that may fault.
    bool shadow_can_end() const;
    // The item may have set it. Code that ends it follows behind the next one.
    void begin_shadow() { items_[at_ + 1].shadowed = true; }

    // --- ways out ---
    // A conditional branch, whose displacement is at `place`, to code that interprets the present
    // item; execution goes on behind the item's code if it can. The status flags are Saved or Dead.
    void interpret_if(u8* place) {
        interpreted_.push_back({place, at_, item_stack_ahead_, kNoWindow, x87_before_});
    }
    // The same for good: nothing else is written for the item.
    void interpret();
    // t1 holds an address, t0 points at its place in a jump table: afterwards at its entry. If there
    // is none the interpreter executes the item, as by interpret_if().
    void compare_entry();
    // Writes what interpret_if() promised; behind the item's code.
    void end_item();
    // Leaves for `rip`, `retired` instructions of the translation having been executed. Jumps
    // straight to the translation there once there is one.
    void leave_to(u64 rip, unsigned retired);
    // The taken side of a conditional branch that stands at `place`.
    void leave_if(u8* place, u64 rip, unsigned retired);
    // Writes what was put off to the end, and makes the translation enterable.
    void finish();
    // The code before the first item: counts the instructions.
    void prologue();

  private:
    struct SideExit {
        u8* place;
        u64 rip;
        unsigned retired;
        StatusPlace status;
        i32 stack_ahead;
    };
    // A branch to where the interpreter executes items from the first on.
    struct Interpreted {
        u8* place;
        unsigned first;
        i32 stack_ahead;
        int window;
        X87Pointers x87;      // before the first
        u32 slot = 0;         // which has missed often
        u32 window_slot = 0;  // of the window, or 0
    };
    // A branch to where the rest of the row is looked at.
    struct SecondLook {
        u8* place;
        u8* back;
        unsigned item;
        i32 item_stack_ahead;
        X87Pointers x87;
    };
    // What holds behind an item's code.
    struct ItemEnd {
        u8* at = nullptr;
        StatusPlace status = StatusPlace::Saved;
        i32 stack_ahead = 0;
        bool vector = false, x87 = false;  // vector_ and x87_ there
    };
    struct Load {
        u8* place;
        u8* behind;
        const u8* routine;
    };

    void save_status();
    void save_live_status();  // before the item
    void load_status();
    void load_live_status();
    void adjust_count(i32 by);
    void link_at(u8* place, u64 rip, StatusPlace status);
    void write_exit(u64 rip, StatusPlace status);
    u8* jump_through_table(u64 rip);
    void jump_through_row(u8* miss, u64 rip, u32 exit);
    [[nodiscard]] u8* take_budget();
    const u8* write_budget_spent(u8* spent, u32 start);
    void write_tracked_entry();
    void write_unlinked(u32 number, StatusPlace status);
    void write_interpreted(const Interpreted& interpreted);
    void write_refill(const Refill& refill);
    void write_second_look(const SecondLook& look);
    void write_stack_refill(const Refill& refill);
    void go_on_if_ac(const Refill& refill);
    u32 new_site(unsigned first, unsigned last, bool carried_over);
    unsigned last_of(const Interpreted& interpreted) const;
    void move_home(i32 by);
    void end_shadow();
    void jump_to_interpret(u32 site);
    void need_float(bool& known, i32 native, const u8* routine);
    void jump_to_load(const u8* routine, const u8* behind);
    void write_x87_pointers(const X87Pointers& pointers, i32 stack_ahead);
    void settle_x87_pointers();
    void jump_to_trampoline(const u8* trampoline);
    bool flat(unsigned seg) const { return code64() || (translation_.key & key_flat(seg)) != 0; }
    u32 cet() const { return (translation_.key & mode_key::kCet) >> mode_key::kCetShift; }
    bool same_page(u64 rip) const { return ((rip ^ translation_.rip) & kPageMask) == 0; }

    CodeCache& cache_;
    Translation& translation_;
    std::vector<Item>& items_;
    WindowPlan& windows_;
    const CpuFeatures& features_;
    Emitter e_;
    unsigned at_ = 0;
    unsigned accesses_ = 0;  // of the item, so far
    i64 stepped_ = 0;        // at the last of them
    StatusPlace status_ = StatusPlace::Saved;
    bool keeps_saved_status_ = false;  // the present item
    i32 stack_ahead_ = 0;
    i32 stack_settled_ = 0;
    i32 item_stack_ahead_ = 0;  // before the present item
    u32 first_insn_ = 0;
    std::vector<ItemEnd> ends_;
    std::vector<Refill> refills_;
    std::vector<SecondLook> second_looks_;
    // The vector, the x87 registers are known to be in the native ones.
    bool vector_ = false, x87_ = false;
    std::vector<Load> loads_;
    X87Pointers x87_pointers_;
    X87Pointers x87_before_;  // the present item
    std::vector<SideExit> side_exits_;
    std::vector<Interpreted> interpreted_;
    struct Unlinked {
        u8* place;
        u32 exit;
        StatusPlace status;
        bool by_table = false;  // its place in the jump table is another's
    };
    std::vector<Unlinked> unlinked_;
    u8* budget_spent_ = nullptr;
    u8* body_ = nullptr;   // behind the code that takes off the budget
    u8* stale_ = nullptr;  // of a branch to Translation::stale, or null
};

// False if the memory operand is of a kind that is not translated.
bool can_address(const Insn& insn);
// Emits the check of an access of the item's memory operand; returns where it leads then, which uses
// kT0, and kT1 is free. Requires: can_address(). See memory.cpp.
Mem check_operand(Assembly& a, const Access& access);
// The same at `disp` bytes from a native register, and from the guest's RSP.
Mem check_base(Assembly& a, u8 base, i32 disp, const Access& access);
Mem check_stack(Assembly& a, i32 disp, const Access& access);

// t1 := the address; t0 may be used. Changes flags.
void compute(Assembly& a, const Assembly::Address& address);
// Checks an access: by its slot if it has one. The status flags have been seen to. Afterwards t0
// holds the addend.
void check(Assembly& a, const Assembly::Address& address, const Access& access, bool stack);
// An access of the operand, whose address is a constant.
Mem check_constant(Assembly& a, const Access& access);
// The same as check_operand() and check_base() for 32-bit code, and of an access of a window, `disp`
// bytes from where the registers' sum was at first. See memory32.cpp.
Mem check_operand32(Assembly& a, const Access& access);
Mem check_base32(Assembly& a, u8 base, i32 disp, const Access& access);
Mem check_window32(Assembly& a, Window& window, i64 disp);
// Of an access whose address is in t1: t0 := the addend. Returns where the branch of a miss has its
// displacement.
[[nodiscard]] u8* probe(Assembly& a, const Access& access);

// t := the offset of the item's memory operand in its segment, the guest's RSP being so far ahead of
// its home. Uses `other`, changes no flag.
void load_offset(Assembly& a, const Item& item, i32 stack_ahead, u8 t, u8 other);

// Families. False: nothing was written, the interpreter executes the item.
bool carry_over_integer(Assembly& a);
// The same for those whose undefined flags somebody may read and the native CPU leaves otherwise.
bool carry_over_with_our_flags(Assembly& a);
bool carry_over_move(Assembly& a);
bool carry_over_branch(Assembly& a);  // and calls, returns, the stack
bool carry_over_vector(Assembly& a);
bool carry_over_x87(Assembly& a);
bool carry_over_system(Assembly& a);
bool carry_over_syscall(Assembly& a);
bool carry_over_string(Assembly& a);
bool carry_over_time(Assembly& a);
bool carry_over_vmx(Assembly& a);
// Whether x87 and MMX instructions may be carried over in this mode.
bool x87_may_run(const Assembly& a);

}  // namespace droste::jit
