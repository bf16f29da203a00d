// Stacks in the middle of a far transfer: where the new one comes from, and pushes before it is
// current. SDM Vol. 3A, "Stack Switching", "Stack Switching in IA-32e Mode".

#include "cpu/x86/mmu/mem_access.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/protection.hpp"

namespace droste {

namespace {

Status tss_fault(Vcpu& cpu) {
    return raise(cpu, Exception::TS, selector_error(cpu.state.tr.selector));
}

bool is_32bit_tss(const Segment& tr) {
    return (tr.type() & 8) != 0;
}

u64 stack_mask_of(const Segment& ss, bool wide) {
    if (wide) {
        return ~u64{0};
    }
    return (ss.rights & segment_rights::kDb) != 0 ? 0xFFFF'FFFF : 0xFFFF;
}

}  // namespace

Status inner_stack(Vcpu& cpu, unsigned level, InnerStack& out) {
    const Segment& tr = cpu.state.tr;
    const bool wide = is_32bit_tss(tr);
    const u32 offset = wide ? 4 + 8 * level : 2 + 4 * level;
    if (offset + (wide ? 5U : 3U) > tr.limit) {
        return tss_fault(cpu);
    }
    u16 selector = 0;
    const auto slot = static_cast<u32>(tr.base + offset);
    if (wide) {
        u32 esp = 0;
        if (const Status status = load_system(cpu, slot, esp); status != Status::Next) {
            return status;
        }
        out.rsp = esp;
    } else {
        u16 sp = 0;
        if (const Status status = load_system(cpu, slot, sp); status != Status::Next) {
            return status;
        }
        out.rsp = sp;
    }
    if (const Status status = load_system(cpu, slot + (wide ? 4U : 2U), selector);
        status != Status::Next) {
        return status;
    }
    if (null_selector(selector)) {
        return raise(cpu, Exception::TS, selector_error(selector));
    }
    return load_stack_descriptor(cpu, selector, level, Exception::TS, out.ss);
}

Status inner_stack_ia32e(Vcpu& cpu, unsigned offset, unsigned level, InnerStack& out) {
    const Segment& tr = cpu.state.tr;
    if (offset + 7 > tr.limit) {
        return tss_fault(cpu);
    }
    if (const Status status = load_system(cpu, tr.base + offset, out.rsp); status != Status::Next) {
        return status;
    }
    out.ss = null_segment(static_cast<u16>(level), level);
    return Status::Next;
}

PendingStack::PendingStack(Vcpu& cpu)
    : PendingStack(cpu, cpu.state.seg[SS], cpu.state.gpr[RSP], cpu.mode.long_mode64, false, 0) {}

PendingStack::PendingStack(
    Vcpu& cpu, const Segment& ss, u64 rsp, bool wide, bool supervisor, u32 error_code)
    : cpu_(cpu)
    , ss_(ss)
    , rsp_(rsp)
    , mask_(stack_mask_of(ss, wide))
    , wide_(wide)
    , supervisor_(supervisor)
    , error_code_(error_code) {}

Status PendingStack::push(u64 value, unsigned bytes) {
    const u64 offset = (rsp_ - bytes) & mask_;
    LinearAddr linear = offset;
    if (wide_) {
        if (!is_canonical(cpu_, offset) || !is_canonical(cpu_, offset + bytes - 1)) {
            return raise(cpu_, Exception::SS, error_code_);
        }
    } else {
        if (ss_.unusable() || !within_segment(ss_, offset, bytes)) {
            return raise(cpu_, Exception::SS, error_code_);
        }
        linear = static_cast<u32>(ss_.base + offset);
    }
    const Status status = supervisor_ ? store_system_slow(cpu_, linear, &value, bytes)
                                      : store_slow(cpu_, linear, &value, bytes, SS);
    if (status == Status::Next) {
        rsp_ = (rsp_ & ~mask_) | offset;
    }
    return status;
}

Status peek_sized(Vcpu& cpu, unsigned bytes, u64 displacement, u64& out) {
    Status status = Status::Next;
    if (bytes == 2) {
        u16 value = 0;
        status = peek(cpu, value, displacement);
        out = value;
    } else if (bytes == 4) {
        u32 value = 0;
        status = peek(cpu, value, displacement);
        out = value;
    } else {
        status = peek(cpu, out, displacement);
    }
    return status;
}

u64 loaded_stack_pointer(u64 old_rsp, const Segment& ss, bool wide, u64 value) {
    const u64 mask = stack_mask_of(ss, wide);
    return mask == 0xFFFF ? (old_rsp & ~mask) | (value & mask) : value & mask;
}

}  // namespace droste
