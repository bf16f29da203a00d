#include "cpu/x86/system/shadow_stack.hpp"

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/protection.hpp"

#include <array>

namespace droste {

namespace {

Status general_protection(Vcpu& cpu) {
    return raise(cpu, Exception::GP, 0);
}

// A transfer out of virtual-8086 mode asks about the level it enters.
bool in_force_at_inner(const Vcpu& cpu, u64 bit) {
    return (cpu.state.cr4 & cr4::kCet) != 0 && (cpu.state.s_cet & bit) != 0;
}

bool is_wide(const Vcpu& cpu, const Segment& code) {
    return ia32e_mode(cpu) && (code.rights & segment_rights::kL) != 0;
}

u64 linear_of(const Vcpu& cpu, const Segment& code, u64 rip) {
    return is_wide(cpu, code) ? rip : static_cast<u32>(code.base + rip);
}

// "adjust so bits 63:N get the value of bit N-1, where N is the CPU's maximum linear-address width"
u64 adjusted(const Vcpu& cpu, u64 ssp) {
    return ia32e_mode(cpu) ? sign_extend(ssp, cpu.features.linear_address_bits) : ssp;
}

// CS, linear RIP and SSP, as they lie in memory from `ssp` - 24 up.
Status push_frame(Vcpu& cpu, u64& ssp, const ShadowFrame& frame, u64 saved_ssp, bool user) {
    const std::array<u64, 3> words = {saved_ssp, frame.linear_rip, frame.selector};
    for (std::size_t i = words.size(); i-- > 0;) {
        const Status status =
            store_shadow_stack(cpu, ssp - 8 * (words.size() - i), &words[i], 8, user);
        if (status != Status::Next) {
            return status;
        }
    }
    ssp -= sizeof(words);
    return Status::Next;
}

// Takes a supervisor shadow stack into use.
Status acquire_token(Vcpu& cpu, u64 ssp, bool wide) {
    constexpr u64 kRegion = ~u64{0x1F};  // token and frame lie in one aligned 32-byte region
    const bool misplaced = (ssp & 7) != 0 || (ssp & kRegion) != ((ssp - 24) & kRegion);
    if (misplaced || (!wide && (ssp >> 32) != 0)) {
        return general_protection(cpu);
    }
    bool matched = false;
    if (const Status status = exchange_token(cpu, ssp, ssp, ssp | kTokenBusy, matched);
        status != Status::Next) {
        return status;
    }
    return matched ? Status::Next : general_protection(cpu);
}

Status interrupt_ssp(Vcpu& cpu, unsigned ist, u64& ssp) {
    return load_system(cpu, cpu.state.interrupt_ssp_table + 8 * ist, ssp);
}

// The frame at SSP against the return address; `previous` is the SSP it holds.
Status match_frame(Vcpu& cpu, const Segment& code, u64 rip, u64& previous) {
    const bool user = cpu.mode.cpl == 3;
    std::array<u64, 3> words{};  // SSP, linear RIP, CS
    for (std::size_t i = 0; i < words.size(); ++i) {
        const Status status = load_shadow_stack(cpu, cpu.state.ssp + 8 * i, &words[i], 8, user);
        if (status != Status::Next) {
            return status;
        }
    }
    const bool same = words[2] == code.selector && words[1] == linear_of(cpu, code, rip);
    if (!same || (words[0] & 3) != 0) {
        return raise(cpu, ControlProtection::FarReturn);
    }
    previous = words[0];
    return Status::Next;
}

Status check_loaded_ssp(Vcpu& cpu, const Segment& code, u64 ssp) {
    const bool legal = is_wide(cpu, code) ? is_canonical(cpu, ssp) : (ssp >> 32) == 0;
    return legal ? Status::Next : general_protection(cpu);
}

// A token that is not there, or not busy, is left alone.
Status release_token(Vcpu& cpu, u64 ssp) {
    bool matched = false;
    return exchange_token(cpu, ssp, ssp | kTokenBusy, ssp, matched);
}

Status leave_to_same_level(Vcpu& cpu, const Segment& code, u64 rip, ShadowReturn kind) {
    u64 previous = 0;
    if (const Status status = match_frame(cpu, code, rip, previous); status != Status::Next) {
        return status;
    }
    if (const Status status = check_loaded_ssp(cpu, code, previous); status != Status::Next) {
        return status;
    }
    // An interrupt through an IST came from another shadow stack, which this one is left for.
    const u64 popped = cpu.state.ssp + 24;
    if (kind == ShadowReturn::Iret && ia32e_mode(cpu) && previous != popped) {
        if (const Status status = release_token(cpu, popped); status != Status::Next) {
            return status;
        }
    }
    cpu.state.ssp = previous;
    return Status::Next;
}

Status leave_to_outer_level(Vcpu& cpu, const Segment& code, unsigned level, u64 rip) {
    CpuState& s = cpu.state;
    const bool left = shadow_stack_enabled(cpu, cpu.mode.cpl);
    u64 token = s.ssp;
    u64 next = s.pl3_ssp;
    if (left && level != 3) {
        if (const Status status = match_frame(cpu, code, rip, next); status != Status::Next) {
            return status;
        }
        token += 24;
    }
    const bool entered = shadow_stack_enabled(cpu, level);
    if (entered) {
        if (const Status status = check_loaded_ssp(cpu, code, next); status != Status::Next) {
            return status;
        }
    }
    if (left) {
        if (const Status status = release_token(cpu, token); status != Status::Next) {
            return status;
        }
    }
    if (entered) {
        s.ssp = next;
    }
    return Status::Next;
}

}  // namespace

Status push_shadow(Vcpu& cpu, u64 value, unsigned bytes) {
    const u64 ssp = cpu.state.ssp - bytes;
    const Status status = store_shadow_stack(cpu, ssp, &value, bytes, cpu.mode.cpl == 3);
    if (status == Status::Next) {
        cpu.state.ssp = ssp;
    }
    return status;
}

Status peek_shadow(Vcpu& cpu, unsigned bytes, u64& value) {
    value = 0;
    return load_shadow_stack(cpu, cpu.state.ssp, &value, bytes, cpu.mode.cpl == 3);
}

Status exchange_token(Vcpu& cpu, u64 address, u64 expected, u64 desired, bool& matched) {
    u64 token = 0;
    if (const Status status = probe_shadow_stack(cpu, address, 8, false); status != Status::Next) {
        return status;
    }
    if (const Status status = load_shadow_stack(cpu, address, &token, 8, false);
        status != Status::Next) {
        return status;
    }
    matched = token == expected;
    return matched ? store_shadow_stack(cpu, address, &desired, 8, false) : Status::Next;
}

ShadowFrame shadow_frame(const Vcpu& cpu, u64 return_rip) {
    const Segment& code = cpu.state.seg[CS];
    return {code.selector, linear_of(cpu, code, return_rip)};
}

void commit_shadow(Vcpu& cpu, const ShadowCommit& commit) {
    CpuState& s = cpu.state;
    if (commit.saves_user_ssp) {
        s.pl3_ssp = adjusted(cpu, s.ssp);
    }
    if (commit.loads_ssp) {
        s.ssp = commit.ssp;
    }
}

Status enter_same_level(Vcpu& cpu, const ShadowFrame& frame, unsigned ist, ShadowCommit& out) {
    if (!shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        return Status::Next;
    }
    const bool user = cpu.mode.cpl == 3;
    const u64 old_ssp = cpu.state.ssp;
    u64 ssp = old_ssp;
    if (ist != 0) {
        if (const Status status = interrupt_ssp(cpu, ist, ssp); status != Status::Next) {
            return status;
        }
        if (const Status status = acquire_token(cpu, ssp, true); status != Status::Next) {
            return status;
        }
    }
    constexpr u32 kPadding = 0;  // what an SSP that is aligned to 4 bytes only leaves free
    if (const Status status = store_shadow_stack(cpu, ssp - 4, &kPadding, 4, user);
        status != Status::Next) {
        return status;
    }
    ssp &= ~u64{7};
    if (const Status status = push_frame(cpu, ssp, frame, old_ssp, user); status != Status::Next) {
        return status;
    }
    out.loads_ssp = true;
    out.ssp = ssp;
    return Status::Next;
}

Status enter_inner_level(Vcpu& cpu,
                         unsigned level,
                         const ShadowFrame& frame,
                         unsigned ist,
                         bool wide,
                         ShadowCommit& out) {
    const bool from_user = cpu.mode.cpl == 3;
    out.saves_user_ssp = from_user && shadow_stack_enabled(cpu, 3);
    if (!in_force_at_inner(cpu, cet::kShadowStack)) {
        return Status::Next;
    }
    u64 ssp = level_ssp(cpu.state, level);
    if (ist != 0) {
        if (const Status status = interrupt_ssp(cpu, ist, ssp); status != Status::Next) {
            return status;
        }
    }
    if (const Status status = acquire_token(cpu, ssp, wide); status != Status::Next) {
        return status;
    }
    if (!from_user) {
        if (const Status status = push_frame(cpu, ssp, frame, cpu.state.ssp, false);
            status != Status::Next) {
            return status;
        }
    }
    out.loads_ssp = true;
    out.ssp = ssp;
    return Status::Next;
}

Status check_ssp_reachable(Vcpu& cpu, bool wide) {
    const bool beyond =
        !wide && shadow_stack_enabled(cpu, cpu.mode.cpl) && (cpu.state.ssp >> 32) != 0;
    return beyond ? general_protection(cpu) : Status::Next;
}

void enter_by_system_call(Vcpu& cpu) {
    CpuState& s = cpu.state;
    if (shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        s.pl3_ssp = adjusted(cpu, s.ssp);
    }
    if (in_force_at_inner(cpu, cet::kShadowStack)) {
        s.ssp = 0;
    }
    expect_endbranch_at(cpu, 0);
}

void leave_by_system_call(Vcpu& cpu) {
    if (shadow_stack_enabled(cpu, 3)) {
        cpu.state.ssp = cpu.state.pl3_ssp;
    }
}

Status leave_level(Vcpu& cpu, const Segment& code, unsigned level, u64 rip, ShadowReturn kind) {
    const bool left = shadow_stack_enabled(cpu, cpu.mode.cpl);
    if (!left && !shadow_stack_enabled(cpu, level)) {
        return Status::Next;
    }
    if (left && (cpu.state.ssp & 7) != 0) {
        return raise(cpu, ControlProtection::FarReturn);
    }
    return level == cpu.mode.cpl ? leave_to_same_level(cpu, code, rip, kind)
                                 : leave_to_outer_level(cpu, code, level, rip);
}

Status leave_to_virtual8086(Vcpu& cpu) {
    const CpuState& s = cpu.state;
    if (shadow_stack_enabled(cpu, 3) || endbranch_enabled(cpu, 3)) {
        return general_protection(cpu);
    }
    if (!shadow_stack_enabled(cpu, cpu.mode.cpl)) {
        return Status::Next;
    }
    return (s.ssp & 7) != 0 ? raise(cpu, ControlProtection::FarReturn) : release_token(cpu, s.ssp);
}

void expect_endbranch_at(Vcpu& cpu, unsigned cpl) {
    const u64 control = cet_control(cpu.state, cpl);
    if ((cpu.state.cr4 & cr4::kCet) != 0 && (control & cet::kEndbranch) != 0) {
        cet_control(cpu.state, cpl) = (control | cet::kTracker) & ~cet::kSuppress;
    }
}

}  // namespace droste
