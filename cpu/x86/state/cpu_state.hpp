#pragma once
// The architectural state of one logical processor, and nothing else: what can be derived (mode
// key, segment fast-path bits, TLB contexts) is derived in Vcpu when its inputs change.

#include "core/types.hpp"
#include "cpu/x86/state/regs.hpp"
#include "cpu/x86/state/rflags.hpp"

#include <array>

namespace droste {

// Access rights in the VMX format. SDM Vol. 3C, "Guest Register State".
namespace segment_rights {
inline constexpr u32 kType = 0xF, kS = 1U << 4, kDpl = 3U << 5, kPresent = 1U << 7, kAvl = 1U << 12,
                     kL = 1U << 13, kDb = 1U << 14, kG = 1U << 15, kUnusable = 1U << 16;
inline constexpr u32 kTypeAccessed = 1, kTypeWritable = 2 /* data */, kTypeReadable = 2 /* code */,
                     kTypeExpandDown = 4 /* data */, kTypeConforming = 4 /* code */, kTypeCode = 8;
}  // namespace segment_rights

// A segment register with its hidden part.
struct Segment {
    u16 selector = 0;
    u16 checks = 0;      // derived: kSegReadUp, kSegWriteUp (refresh_segment_checks)
    u32 rights = 0;      // segment_rights
    u32 limit = 0xFFFF;  // in bytes (granularity applied)
    u64 base = 0;

    unsigned dpl() const { return (rights >> 5) & 3; }
    unsigned type() const { return rights & segment_rights::kType; }
    bool unusable() const { return (rights & segment_rights::kUnusable) != 0; }
    bool present() const { return (rights & segment_rights::kPresent) != 0; }
};

struct DescriptorTable {
    u64 base = 0;
    u16 limit = 0xFFFF;
};

struct alignas(32) Ymm {
    std::array<u8, 32> bytes{};
};

// x87 FPU, in the layout of the low 160 bytes of FXSAVE's view: registers are physical R0..R7.
struct X87State {
    u16 control = 0x37F;
    u16 status = 0;    // TOP lives in bits 13:11 here
    u8 tag_valid = 0;  // abridged tag word: bit i set = physical register i is not empty
    u16 opcode = 0;    // FOP, 11 bits
    u64 instruction_pointer = 0;
    u64 data_pointer = 0;
    u16 instruction_selector = 0;
    u16 data_selector = 0;
    struct alignas(16) Register {
        u64 significand = 0;
        u16 sign_exponent = 0;
    };
    std::array<Register, 8> st{};  // physical registers; MMi is st[i].significand
};

enum class Activity : u8 { Active = 0, Hlt = 1, Shutdown = 2, WaitForSipi = 3 };  // VMX encodings

// Blocking by STI / MOV SS, by NMI ... in the VMX interruptibility-state format.
namespace blocking {
inline constexpr u32 kSti = 1U << 0, kMovSs = 1U << 1, kSmi = 1U << 2, kNmi = 1U << 3;
}  // namespace blocking

struct CpuState {
    // Indexed by Gpr; [kZeroSlot] stays 0; [kRipSlot] is RIP: the start of the instruction being
    // executed.
    std::array<u64, 18> gpr{};
    LazyFlags flags;
    u64 rflags_system = rflags::kFixed1;  // every RFLAGS bit except the six status flags

    std::array<Segment, kSegRegCount> seg{};
    Segment ldtr;
    Segment tr;
    DescriptorTable gdtr;
    DescriptorTable idtr;

    u64 cr0 = 0x60000010;
    u64 cr2 = 0;
    u64 cr3 = 0;
    u64 cr4 = 0;
    std::array<u64, 4> pdpte{};  // loaded by MOV CR3 etc. under PAE paging
    u64 efer = 0;
    std::array<u64, 4> dr{};
    u64 dr6 = dr6::kReset;
    u64 dr7 = dr7::kReset;
    u32 pkru = 0;
    u64 xcr0 = 1;

    Activity activity = Activity::Active;
    u32 interruptibility = 0;  // namespace blocking
    u64 pending_debug = 0;     // DR6-format bits of a trap waiting for the instruction boundary

    // MSRs with behavior of their own. The rest live in Vcpu::msrs (msr_table_*.cpp).
    u64 star = 0, lstar = 0, cstar = 0, sfmask = 0, kernel_gs_base = 0, tsc_aux = 0;
    u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    u64 pat = 0x0007040600070406;
    u64 debugctl = 0;
    u64 xss = 0;
    u64 tsc_offset = 0;  // TSC = Clock::now_ns() + tsc_offset (WRMSR TSC / TSC_ADJUST move it)
    u64 tsc_adjust = 0;
    u64 umwait_control = 0;

    // Control-flow enforcement (cet.hpp).
    u64 u_cet = 0, s_cet = 0, ssp = 0;
    u64 pl0_ssp = 0, pl1_ssp = 0, pl2_ssp = 0, pl3_ssp = 0;
    u64 interrupt_ssp_table = 0;

    X87State x87;
    u32 mxcsr = 0x1F80;
    std::array<Ymm, 16> ymm{};

    u64& rip() { return gpr[kRipSlot]; }
    u64 rip() const { return gpr[kRipSlot]; }
    u64 rflags() const { return rflags_system | flags.status(); }
    // All bits are taken as given, except that bit 1 is set and reserved bits are cleared.
    void set_rflags(u64 value) {
        flags = LazyFlags::from_status(value);
        rflags_system = (value & rflags::kWritable & ~rflags::kStatus) | rflags::kFixed1;
    }
};

}  // namespace droste
