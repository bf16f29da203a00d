#pragma once
// Where translated code finds things: displacements from RSP, which is the vCPU.

#include "core/bits.hpp"
#include "core/types.hpp"
#include "cpu/x86/mmu/tlb.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/emitter.hpp"
#include "jit/page_slots.hpp"

#include <bit>
#include <cstddef>

namespace droste::jit {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"  // asserted in cpu/x86/vcpu.cpp
namespace layout {
inline constexpr i32 kTranslated = offsetof(Vcpu, translated);
inline constexpr i32 kRemaining = kTranslated + offsetof(TranslatedCode, remaining);
inline constexpr i32 kNativeStack = kTranslated + offsetof(TranslatedCode, native_stack);
inline constexpr i32 kTarget = kTranslated + offsetof(TranslatedCode, target);
inline constexpr i32 kScratch = kTranslated + offsetof(TranslatedCode, scratch);
inline constexpr i32 kSite = kTranslated + offsetof(TranslatedCode, site);
inline constexpr i32 kStatus = kTranslated + offsetof(TranslatedCode, status);
inline constexpr i32 kJumpTable = kTranslated + offsetof(TranslatedCode, jump_table);
inline constexpr i32 kEnd = kTranslated + offsetof(TranslatedCode, end);
inline constexpr i32 kClockLine = kTranslated + offsetof(TranslatedCode, clock_line);
inline constexpr i32 kOtherJumpTable = kTranslated + offsetof(TranslatedCode, other_jump_table);
inline constexpr i32 window(unsigned number) {
    return static_cast<i32>(kTranslated + offsetof(TranslatedCode, windows) + number * sizeof(u64));
}
inline constexpr i32 slot(unsigned number) {
    return static_cast<i32>(kTranslated + offsetof(TranslatedCode, slots) +
                            number * sizeof(TranslatedCode::PageSlot));
}
inline constexpr i32 kVectorNative = kTranslated + offsetof(TranslatedCode, vector_native);
inline constexpr i32 kNativeMxcsr = kTranslated + offsetof(TranslatedCode, native_mxcsr);
// The byte behind the vector registers': whether the x87's are native (x87_state.hpp).
inline constexpr i32 kX87Native = kVectorNative + 1;
inline constexpr i32 kX87 = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, x87));
inline constexpr i32 kX87Control = kX87 + offsetof(X87State, control);
inline constexpr i32 kX87Status = kX87 + offsetof(X87State, status);
inline constexpr i32 kX87Tags = kX87 + offsetof(X87State, tag_valid);
inline constexpr i32 kX87Opcode = kX87 + offsetof(X87State, opcode);
inline constexpr i32 kX87InstructionPointer = kX87 + offsetof(X87State, instruction_pointer);
inline constexpr i32 kX87InstructionSelector = kX87 + offsetof(X87State, instruction_selector);
inline constexpr i32 kX87DataPointer = kX87 + offsetof(X87State, data_pointer);
inline constexpr i32 kX87DataSelector = kX87 + offsetof(X87State, data_selector);
inline constexpr i32 x87_register(unsigned physical) {
    return static_cast<i32>(kX87 + offsetof(X87State, st) + physical * sizeof(X87State::Register));
}
inline constexpr i32 selector(unsigned seg) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, seg) +
                            seg * sizeof(Segment) + offsetof(Segment, selector));
}
inline constexpr i32 kMxcsr = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, mxcsr));
inline constexpr i32 ymm(unsigned number) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, ymm) + number * sizeof(Ymm));
}
inline constexpr i32 kSystemFlags =
    static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, rflags_system));
inline constexpr i32 kEfer = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, efer));
inline constexpr i32 kStar = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, star));
inline constexpr i32 kLstar = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, lstar));
inline constexpr i32 kSfmask = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, sfmask));
inline constexpr i32 kCr4 = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, cr4));
inline constexpr i32 kInterruptibility =
    static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, interruptibility));
inline constexpr i32 kKernelGsBase =
    static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, kernel_gs_base));
inline constexpr i32 kAttention = offsetof(Vcpu, attention);
inline constexpr i32 kAttentionMask = offsetof(Vcpu, attention_mask);
inline constexpr i32 kAttentionForced =
    static_cast<i32>(offsetof(Vcpu, non_root) + offsetof(NonRootView, attention_forced));
inline constexpr i32 kIntercepts =
    static_cast<i32>(offsetof(Vcpu, non_root) + offsetof(NonRootView, intercepts));
inline constexpr i32 kRepeatingAt =
    static_cast<i32>(offsetof(Vcpu, step) + offsetof(StepMemory, repeating_at));
inline constexpr i32 kBudgetFloor =
    static_cast<i32>(offsetof(Vcpu, thread) + offsetof(MachineLock::Thread, budget_floor));
inline constexpr i32 kOthersWait = offsetof(Vcpu, others_wait);
inline constexpr i32 kVmx = offsetof(Vcpu, vmx);
inline constexpr i32 kVmcsView = offsetof(VmxInstructions, view);
inline constexpr i32 kVmcsFieldMap = offsetof(VmxInstructions, field_map);
inline constexpr i32 kShadow = kTranslated + offsetof(TranslatedCode, shadow);
inline constexpr i32 kSsp = static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, ssp));
inline constexpr i32 kShadowTlb = offsetof(Vcpu, mode) + offsetof(ModeState, shadow_tlb);
inline constexpr i32 kDataTlb = offsetof(Vcpu, mode) + offsetof(ModeState, data_tlb);
inline constexpr i32 kTscOffset =
    static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, tsc_offset));
inline constexpr i32 kTscAux =
    static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, tsc_aux));
inline constexpr i32 kCpl = offsetof(Vcpu, mode) + offsetof(ModeState, cpl);
inline constexpr i32 kModeKey = offsetof(Vcpu, mode) + offsetof(ModeState, key);
inline constexpr i32 segment_rights(unsigned seg) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, seg) +
                            seg * sizeof(Segment) + offsetof(Segment, rights));
}
inline constexpr i32 segment_base(unsigned seg) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, seg) +
                            seg * sizeof(Segment) + offsetof(Segment, base));
}
inline constexpr i32 segment_limit(unsigned seg) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, seg) +
                            seg * sizeof(Segment) + offsetof(Segment, limit));
}
inline constexpr i32 segment_checks(unsigned seg) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, seg) +
                            seg * sizeof(Segment) + offsetof(Segment, checks));
}
inline constexpr i32 gpr(unsigned number) {
    return static_cast<i32>(offsetof(Vcpu, state) + offsetof(CpuState, gpr) + number * sizeof(u64));
}
inline constexpr i32 kRip = gpr(kRipSlot);
inline constexpr i32 kReadTags = DataTlb::kReadTagsOffset;
inline constexpr i32 kWriteTags = DataTlb::kWriteTagsOffset;
inline constexpr i32 kAddends = DataTlb::kAddendsOffset;
inline constexpr i32 kShadowReadTags = TlbContext::ShadowTlb::kReadTagsOffset;
inline constexpr i32 kShadowWriteTags = TlbContext::ShadowTlb::kWriteTagsOffset;
inline constexpr i32 kShadowAddends = TlbContext::ShadowTlb::kAddendsOffset;
inline constexpr i32 kShadowEntriesMask = (TlbContext::ShadowTlb::kEntries - 1) * 8;

// The frame of enter, at TranslatedCode::native_stack.
namespace frame {
inline constexpr i32 kX87Image = 0;          // FXSAVE64's
inline constexpr i32 kX87Environment = 512;  // FLDENV's
inline constexpr i32 kBytes = 512 + 32;
}  // namespace frame
}  // namespace layout
#pragma GCC diagnostic pop

// Page slots that are the vCPU's: kernel code's of its stack, for reads and for writes.
inline constexpr unsigned kStackSlots = TranslatedCode::kStackSlots;

// Native homes of the guest's general registers: the same ones, except that RSP and R12 have moved
// (RSP is the vCPU) and R12 to R15 stay in CpuState, which leaves two to compute with and one for
// TranslatedCode::remaining: each translation takes its instructions off, and in memory that were a
// chain of stores and loads through all of them.
inline constexpr u8 kT0 = kR14, kT1 = kR15, kBudget = kR13;
inline constexpr std::array<u8, 16> kHome = {
    kRax, kRcx, kRdx, kRbx, kR12, kRbp, kRsi, kRdi, 8, 9, 10, 11, kNoReg, kNoReg, kNoReg, kNoReg};

inline Mem at_rsp(i32 disp) {
    return {.base = kRsp, .disp = disp};
}

// Targets of indirect branches, by linear address; and what else translated code keeps for an
// address space and privilege level (TranslatedCode::jump_table). All zero it is empty but for the
// entry of address 0, so that its pages are not touched before they are used.
//
// An address has its own place, where the code of a branch looks. If that is another's the other
// places of the same row are looked at, by code away from the hot path: a row is a line of the native
// cache, so that costs a few instructions. Where it has one place alone, a fork and exec of Linux
// misses 550 times.
struct alignas(64) JumpTable {
    static constexpr unsigned kEntries = 16384;
    static constexpr unsigned kRow = 4;
    struct Entry {
        u64 rip;
        const u8* code;
    };
    std::array<Entry, kEntries> entries;
    PageSlots slots;
    static constexpr i32 kSlotsAt = kEntries * sizeof(Entry);
    static constexpr void check_offsets() { static_assert(offsetof(JumpTable, slots) == kSlotsAt); }

    // The upper bits of a product: sums and differences of page numbers and offsets, which kernels
    // are full of, cancel out in simpler ones.
    static constexpr u32 kMultiplier = 0x9E37'79B1;
    static constexpr unsigned kIndexShift = 32 - std::countr_zero(kEntries);
    static constexpr unsigned index(u64 rip) {
        return static_cast<u32>(rip) * kMultiplier >> kIndexShift;
    }
    static constexpr unsigned row(unsigned index) { return index / kRow; }
    // From one place of a row to the next, in bytes of the index by exclusive or: all of them, and the
    // first again.
    static constexpr std::array<u8, kRow - 1> kSteps = {16, 48, 16};
    // With this bit of the address the other way, an entry is for indirect branches that are
    // tracked: it is that of a translation which begins with ENDBR. The index is the same.
    static constexpr unsigned kTrackedBit = 62;
    static constexpr u64 tracked(u64 rip) { return rip ^ bit(kTrackedBit); }
};
static_assert(sizeof(JumpTable::Entry) == 16);
static_assert(JumpTable::row(JumpTable::index(0)) == 0 &&
              JumpTable::row(JumpTable::index(kNoTag)) != 0);

}  // namespace droste::jit
