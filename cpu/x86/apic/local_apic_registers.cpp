// Register accesses: one row a register says what the xAPIC page and the x2APIC MSRs may do with
// it. SDM Vol. 3A, "Local APIC Register Address Map" and "x2APIC Register Address Space".
//
// What differs between the two views: the page ignores writes to read-only bits and answers a
// register that is not there with an "illegal register address" error; the MSRs raise #GP(0) for
// reserved bits and missing registers.

#include "core/log.hpp"
#include "cpu/x86/apic/apic_registers.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>
#include <array>

namespace droste {

namespace reg = apic_reg;

namespace {

constexpr u8 kRead = 1;
constexpr u8 kWrite = 2;
constexpr u8 kBoth = kRead | kWrite;

struct RegisterRow {
    u32 offset;
    u32 count;  // consecutive registers alike
    u8 xapic;   // kRead | kWrite
    u8 x2apic;
    u32 writable;  // bits a write may change
    u32 status;    // read-only bits a write may carry; any other bit is #GP in x2APIC mode
};

constexpr u32 kLintWritable =
    reg::kLvtVector | reg::kLvtMode | reg::kLvtPolarity | reg::kLvtLevel | reg::kLvtMasked;
constexpr u32 kLocalWritable = reg::kLvtVector | reg::kLvtMode | reg::kLvtMasked;
constexpr u32 kLintStatus = reg::kLvtDeliveryStatus | reg::kLvtRemoteIrr;
constexpr u32 kIcrWritable = 0xFFU | reg::kIcrMode | reg::kIcrLogical | reg::kIcrAssert |
                             reg::kIcrLevel | reg::kIcrShorthand;
constexpr u32 kSvrWritable =
    0xFFU | reg::kSvrEnable | reg::kSvrFocusDisabled | reg::kSvrSuppressEoiBroadcast;

// clang-format off
constexpr auto kRegisters = std::to_array<RegisterRow>({
    // offset                   count xapic  x2apic  writable                              status
    {reg::kId,                  1,    kBoth, kRead,  0,                                    0},  // ignores writes
    {reg::kVersion,             1,    kBoth, kRead,  0,                                    0},
    {reg::kTpr,                 1,    kBoth, kBoth,  0xFF,                                 0},
    {reg::kApr,                 1,    kBoth, 0,      0,                                    0},
    {reg::kPpr,                 1,    kBoth, kRead,  0,                                    0},
    {reg::kEoi,                 1,    kBoth, kWrite, 0,                                    0},
    {reg::kRrd,                 1,    kBoth, 0,      0,                                    0},
    {reg::kLdr,                 1,    kBoth, kRead,  0xFF00'0000,                          0},
    {reg::kDfr,                 1,    kBoth, 0,      0xF000'0000,                          0},
    {reg::kSvr,                 1,    kBoth, kBoth,  kSvrWritable,                         0},
    {reg::kIsr,                 8,    kBoth, kRead,  0,                                    0},
    {reg::kTmr,                 8,    kBoth, kRead,  0,                                    0},
    {reg::kIrr,                 8,    kBoth, kRead,  0,                                    0},
    {reg::kEsr,                 1,    kBoth, kBoth,  0,                                    0},
    {reg::kIcrLow,              1,    kBoth, kBoth,  kIcrWritable,                         0},
    {reg::kIcrHigh,             1,    kBoth, 0,      0xFF00'0000,                          0},
    {reg::kLvtTimer,            1,    kBoth, kBoth,  reg::kLvtVector | reg::kLvtMasked | reg::kLvtTimerMode,
                                                                                           reg::kLvtDeliveryStatus},
    {reg::kLvtThermal,          1,    kBoth, kBoth,  kLocalWritable,                       reg::kLvtDeliveryStatus},
    {reg::kLvtPerformance,      1,    kBoth, kBoth,  kLocalWritable,                       reg::kLvtDeliveryStatus},
    {reg::kLvtLint0,            2,    kBoth, kBoth,  kLintWritable,                        kLintStatus},
    {reg::kLvtError,            1,    kBoth, kBoth,  reg::kLvtVector | reg::kLvtMasked,    reg::kLvtDeliveryStatus},
    {reg::kInitialCount,        1,    kBoth, kBoth,  ~0U,                                  0},
    {reg::kCurrentCount,        1,    kBoth, kRead,  0,                                    0},
    {reg::kDivideConfiguration, 1,    kBoth, kBoth,  0xB,                                  0},
    {reg::kSelfIpi,             1,    0,     kWrite, 0xFF,                                 0},
});
// clang-format on

const RegisterRow* find_row(u32 offset) {
    const auto* row =
        std::find_if(kRegisters.begin(), kRegisters.end(), [offset](const RegisterRow& candidate) {
            return offset >= candidate.offset && offset < candidate.offset + candidate.count * 16;
        });
    return row == kRegisters.end() ? nullptr : row;
}

}  // namespace

// --- The two views. ---

u32 LocalApic::mmio_read(u32 offset, unsigned bytes) {
    // Only aligned 32-bit accesses are architectural. A narrower read inside the 4 bytes gets its
    // part of them, and the 12 bytes between two registers read as 0.
    const u32 register_offset = offset & ~0xFU;
    const RegisterRow* row = find_row(register_offset);
    if (row == nullptr || (row->xapic & kRead) == 0) {
        cpu_.log.write(LogCategory::GuestErrors,
                       "local APIC {}: {}-byte read of no register at offset {:03x}", id(), bytes,
                       offset);
        note_error(reg::kEsrIllegalRegister);
        return 0;
    }
    return (offset & 0xC) != 0 ? 0 : read_register(register_offset) >> ((offset & 3) * 8);
}

void LocalApic::mmio_write(u32 offset, unsigned bytes, u32 value) {
    const RegisterRow* row = find_row(offset & ~0xFU);
    if (row == nullptr || (row->xapic & kWrite) == 0) {
        cpu_.log.write(LogCategory::GuestErrors,
                       "local APIC {}: {}-byte write to no register at offset {:03x}", id(), bytes,
                       offset);
        note_error(reg::kEsrIllegalRegister);
        return;
    }
    if ((offset & 0xF) != 0 || bytes < 4) {
        cpu_.log.write(LogCategory::GuestErrors,
                       "local APIC {}: {}-byte write at offset {:03x} dropped", id(), bytes,
                       offset);
        return;
    }
    write_register(offset, value & row->writable);
}

bool LocalApic::x2apic_read(u32 msr, u64& value) {
    const u32 offset = (msr & 0xFF) << 4;
    const RegisterRow* row = x2apic_enabled() ? find_row(offset) : nullptr;
    if (row == nullptr || (row->x2apic & kRead) == 0) {
        return false;
    }
    value = read_register(offset);
    if (offset == reg::kIcrLow) {
        value |= u64{cell(reg::kIcrHigh)} << 32;
    }
    return true;
}

bool LocalApic::x2apic_write(u32 msr, u64 value) {
    const u32 offset = (msr & 0xFF) << 4;
    const RegisterRow* row = x2apic_enabled() ? find_row(offset) : nullptr;
    if (row == nullptr || (row->x2apic & kWrite) == 0) {
        return false;
    }
    const u64 high = offset == reg::kIcrLow ? ~u64{0} << 32 : 0;  // ICR is one 64-bit register
    if ((value & ~(row->writable | row->status | high)) != 0) {
        return false;
    }
    if (offset == reg::kIcrLow) {
        cell(reg::kIcrHigh) = static_cast<u32>(value >> 32);
    }
    write_register(offset, static_cast<u32>(value) & row->writable);
    return true;
}

// --- What the registers do. ---

u32 LocalApic::read_register(u32 offset) {
    switch (offset) {
    case reg::kApr: return arbitration_priority();
    case reg::kPpr: return ppr();
    case reg::kCurrentCount: return current_count();
    case reg::kEoi: return 0;
    default: return cell(offset);
    }
}

// Requires: `value` holds only writable bits of the register's row.
void LocalApic::write_register(u32 offset, u32 value) {
    switch (offset) {
    case reg::kTpr: set_tpr(static_cast<u8>(value)); break;
    case reg::kEoi: end_of_interrupt(); break;
    case reg::kLdr: cell(reg::kLdr) = value; break;
    case reg::kDfr: cell(reg::kDfr) = value | 0x0FFF'FFFF; break;
    case reg::kSvr: write_spurious_vector(value); break;
    case reg::kEsr:
        // "... a write (of any value) to the ESR must be done to update the register before
        // attempting to read it."
        cell(reg::kEsr) = errors_;
        errors_ = 0;
        break;
    case reg::kIcrLow:
        cell(reg::kIcrLow) = value;
        send_ipi(value, x2apic_enabled() ? cell(reg::kIcrHigh)
                                         : destination_from_8_bits(cell(reg::kIcrHigh) >> 24));
        break;
    case reg::kIcrHigh: cell(reg::kIcrHigh) = value; break;
    case reg::kLvtTimer:
    case reg::kLvtThermal:
    case reg::kLvtPerformance:
    case reg::kLvtLint0:
    case reg::kLvtLint1:
    case reg::kLvtError: write_lvt(offset, value); break;
    case reg::kInitialCount:
        // SDM Vol. 3A, "TSC-Deadline Mode": writes to the initial-count register are ignored.
        if ((cell(reg::kLvtTimer) & reg::kLvtTimerMode) != reg::kTimerTscDeadline) {
            cell(reg::kInitialCount) = value;
            start_timer(value);
        }
        break;
    case reg::kDivideConfiguration: rescale_timer(value); break;
    case reg::kSelfIpi: send_ipi(reg::kShorthandSelf | (value & 0xFF), 0); break;
    default: break;  // read-only: the page drops the write
    }
}

void LocalApic::write_lvt(u32 offset, u32 value) {
    if (offset == reg::kLvtTimer && !cpu_.features.has(Feature::TSC_DEADLINE)) {
        value &= ~reg::kTimerTscDeadline;
    }
    // SDM Vol. 3A, "Local APIC State After It Has Been Software Disabled": mask bits cannot be
    // cleared.
    if ((cell(reg::kSvr) & reg::kSvrEnable) == 0) {
        value |= reg::kLvtMasked;
    }
    const u32 old = cell(offset);
    const bool level_fixed = (value & reg::kLvtLevel) != 0 && reg::lvt_mode(value) == 0;
    cell(offset) = value | (level_fixed ? old & reg::kLvtRemoteIrr : 0);
    switch (offset) {
    case reg::kLvtTimer: change_timer_mode(old, value); break;
    case reg::kLvtLint0: evaluate_lint(0); break;
    case reg::kLvtLint1: evaluate_lint(1); break;
    default: break;
    }
    update_request();
}

void LocalApic::write_spurious_vector(u32 value) {
    cell(reg::kSvr) = value;
    if ((value & reg::kSvrEnable) == 0) {
        for (u32 lvt = reg::kLvtTimer; lvt <= reg::kLvtError; lvt += 0x10) {
            cell(lvt) |= reg::kLvtMasked;
        }
    }
    update_request();
}

// SDM Vol. 3A, "Signaling Interrupt Servicing Completion".
void LocalApic::end_of_interrupt() {
    const int highest = highest_vector(reg::kIsr);
    if (highest < 0) {
        return;
    }
    const auto vector = static_cast<u8>(highest);
    set_vector_bit(reg::kIsr, vector, false);
    if (vector_bit(reg::kTmr, vector)) {
        for (unsigned pin = 0; pin < 2; ++pin) {
            u32& lvt = cell(reg::kLvtLint0 + pin * 0x10);
            if ((lvt & reg::kLvtRemoteIrr) != 0 && (lvt & reg::kLvtVector) == vector) {
                lvt &= ~reg::kLvtRemoteIrr;
                evaluate_lint(pin);  // still asserted: again
            }
        }
        if (eoi_listener_ != nullptr && (cell(reg::kSvr) & reg::kSvrSuppressEoiBroadcast) == 0) {
            eoi_listener_->end_of_interrupt(vector);
        }
    }
    update_request();
}

}  // namespace droste
