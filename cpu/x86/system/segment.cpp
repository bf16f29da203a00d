// Loading segment registers: MOV, POP, LDS and friends, and the checks that task switches and
// returns share. SDM Vol. 3A, "Segment Registers", "Privilege Level Checking When Accessing Data
// Segments"; Vol. 2B, "MOV—Move".

#include "cpu/x86/system/segment.hpp"

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/protection.hpp"

namespace droste {

void refresh_segment_checks(Segment& segment) {
    using namespace segment_rights;
    segment.checks = 0;
    if ((segment.rights & (kUnusable | kPresent | kS)) != (kPresent | kS)) {
        return;
    }
    const unsigned type = segment.type();
    if ((type & kTypeCode) != 0) {
        segment.checks = (type & kTypeReadable) != 0 ? kSegReadUp : 0;
    } else if ((type & kTypeExpandDown) == 0) {
        segment.checks =
            static_cast<u16>(kSegReadUp | ((type & kTypeWritable) != 0 ? kSegWriteUp : 0));
    }
}

void set_segment(Vcpu& cpu, SegReg reg, const Segment& segment) {
    cpu.state.seg[reg] = segment;
    refresh_segment_checks(cpu.state.seg[reg]);
}

void load_real_mode_segment(Vcpu& cpu, SegReg reg, u16 selector) {
    cpu.state.seg[reg] = real_mode_segment(cpu.state.seg[reg], selector, cpu.mode.virtual8086);
}

Status
load_stack_descriptor(Vcpu& cpu, u16 selector, unsigned cpl, Exception vector, Segment& out) {
    Descriptor d;
    if (const Status status = read_descriptor(cpu, selector, vector, d); status != Status::Next) {
        return status;
    }
    if (rpl_of(selector) != cpl || !is_writable_data(d) || d.dpl() != cpl) {
        return raise(cpu, vector, selector_error(selector));
    }
    if (!d.present()) {
        return raise(cpu, Exception::SS, selector_error(selector));
    }
    if (const Status status = set_accessed(cpu, selector, d); status != Status::Next) {
        return status;
    }
    out = segment_from(selector, d);
    return Status::Next;
}

Status load_data_descriptor(Vcpu& cpu, u16 selector, unsigned cpl, Exception vector, Segment& out) {
    if (null_selector(selector)) {
        out = null_segment(selector);
        return Status::Next;
    }
    Descriptor d;
    if (const Status status = read_descriptor(cpu, selector, vector, d); status != Status::Next) {
        return status;
    }
    const bool privilege_matters = (d.type() & segment_rights::kTypeCode) == 0 || !is_conforming(d);
    if (!is_data_or_readable_code(d) ||
        (privilege_matters && (rpl_of(selector) > d.dpl() || cpl > d.dpl()))) {
        return raise(cpu, vector, selector_error(selector));
    }
    if (!d.present()) {
        return raise(cpu, Exception::NP, selector_error(selector));
    }
    if (const Status status = set_accessed(cpu, selector, d); status != Status::Next) {
        return status;
    }
    out = segment_from(selector, d);
    return Status::Next;
}

Status load_segment(Vcpu& cpu, SegReg reg, u16 selector) {
    if (!cpu.mode.protected_mode || cpu.mode.virtual8086) {
        load_real_mode_segment(cpu, reg, selector);
        if (reg == SS) {
            mode_changed(cpu);
        }
        return Status::Next;
    }
    Segment segment;
    if (reg != SS) {
        if (const Status status =
                load_data_descriptor(cpu, selector, cpu.mode.cpl, Exception::GP, segment);
            status != Status::Next) {
            return status;
        }
        cpu.state.seg[reg] = segment;
        return Status::Next;
    }
    if (null_selector(selector)) {
        // Only 64-bit mode below privilege level 3 can do without a stack segment.
        if (!cpu.mode.long_mode64 || cpu.mode.cpl == 3 || rpl_of(selector) != cpu.mode.cpl) {
            return raise(cpu, Exception::GP, 0);
        }
        segment = null_segment(selector, cpu.mode.cpl);
    } else if (const Status status =
                   load_stack_descriptor(cpu, selector, cpu.mode.cpl, Exception::GP, segment);
               status != Status::Next) {
        return status;
    }
    cpu.state.seg[SS] = segment;
    mode_changed(cpu);
    return Status::Next;
}

Status check_code_mode_and_presence(Vcpu& cpu, u16 selector, const Descriptor& d) {
    if (ia32e_mode(cpu) && is_64bit_code(d) && is_32bit_default(d)) {
        return raise(cpu, Exception::GP, selector_error(selector));
    }
    return d.present() ? Status::Next : raise(cpu, Exception::NP, selector_error(selector));
}

Status check_entry_point(Vcpu& cpu, const Segment& code, u64 offset) {
    const bool wide = ia32e_mode(cpu) && (code.rights & segment_rights::kL) != 0;
    const bool legal = wide ? is_canonical(cpu, offset) : offset <= code.limit;
    return legal ? Status::Next : raise(cpu, Exception::GP, 0);
}

bool within_segment(const Segment& s, u64 offset, unsigned bytes) {
    const u64 last = offset + bytes - 1;
    const bool expand_down =
        (s.type() & (segment_rights::kTypeCode | segment_rights::kTypeExpandDown)) ==
        segment_rights::kTypeExpandDown;
    if (!expand_down) {
        return last <= s.limit;
    }
    const u64 top = (s.rights & segment_rights::kDb) != 0 ? 0xFFFF'FFFF : 0xFFFF;
    return offset > s.limit && last <= top;
}

void commit_code(Vcpu& cpu, Segment code, unsigned cpl, u64 rip) {
    if (cpu.mode.protected_mode && !cpu.mode.virtual8086) {
        code.selector = with_rpl(code.selector, cpl);
    }
    set_segment(cpu, CS, code);
    cpu.state.rip() = rip;
}

void commit_flags(Vcpu& cpu, u64 value, u64 mask) {
    if ((mask & rflags::kStatus) == 0) {
        cpu.state.rflags_system =
            (cpu.state.rflags_system & ~mask) | (value & mask) | rflags::kFixed1;
    } else {
        cpu.state.set_rflags((cpu.state.rflags() & ~mask) | (value & mask));
    }
}

// IRET and far RET say "SegmentSelector := 0" and "segment invalid", of a selector that is null
// already (1 to 3) too. The hidden part stays as it is: 64-bit code that set its FS or GS base by
// WRFSBASE or an MSR finds it again. SDM Vol. 2A, "IRET", "RETURN-TO-OUTER-PRIVILEGE-LEVEL".
void drop_inner_data_segments(Vcpu& cpu) {
    for (const SegReg reg : {ES, DS, FS, GS}) {
        Segment& s = cpu.state.seg[reg];
        const bool inner =
            !s.unusable() && is_data_or_nonconforming_code(s) && s.dpl() < cpu.mode.cpl;
        if (inner || null_selector(s.selector)) {
            s.selector = 0;
            s.rights |= segment_rights::kUnusable;
            refresh_segment_checks(s);
        }
    }
}

}  // namespace droste
