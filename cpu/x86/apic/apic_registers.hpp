#pragma once
// Offsets and bits of the local APIC's registers. SDM Vol. 3A, Table "Local APIC Register Address
// Map". The x2APIC MSR of a register is 800h + offset / 16.

#include "core/types.hpp"

namespace droste::apic_reg {

inline constexpr u32 kId = 0x020, kVersion = 0x030, kTpr = 0x080, kApr = 0x090, kPpr = 0x0A0,
                     kEoi = 0x0B0, kRrd = 0x0C0, kLdr = 0x0D0, kDfr = 0x0E0, kSvr = 0x0F0,
                     kIsr = 0x100, kTmr = 0x180, kIrr = 0x200, kEsr = 0x280, kLvtCmci = 0x2F0,
                     kIcrLow = 0x300, kIcrHigh = 0x310, kLvtTimer = 0x320, kLvtThermal = 0x330,
                     kLvtPerformance = 0x340, kLvtLint0 = 0x350, kLvtLint1 = 0x360,
                     kLvtError = 0x370, kInitialCount = 0x380, kCurrentCount = 0x390,
                     kDivideConfiguration = 0x3E0, kSelfIpi = 0x3F0;
inline constexpr u32 kPageEnd = 0x400;  // no register above

// Local vector table entries.
inline constexpr u32 kLvtVector = 0xFF, kLvtMode = 7U << 8, kLvtDeliveryStatus = 1U << 12,
                     kLvtPolarity = 1U << 13, kLvtRemoteIrr = 1U << 14, kLvtLevel = 1U << 15,
                     kLvtMasked = 1U << 16, kLvtTimerMode = 3U << 17;
inline constexpr u32 kTimerOneShot = 0U << 17, kTimerPeriodic = 1U << 17,
                     kTimerTscDeadline = 2U << 17;
constexpr u32 lvt_mode(u32 lvt) {
    return (lvt & kLvtMode) >> 8;
}

// Spurious-interrupt vector register.
inline constexpr u32 kSvrEnable = 1U << 8, kSvrFocusDisabled = 1U << 9,
                     kSvrSuppressEoiBroadcast = 1U << 12;

// Error status register.
inline constexpr u32 kEsrSendIllegalVector = 1U << 5, kEsrReceivedIllegalVector = 1U << 6,
                     kEsrIllegalRegister = 1U << 7;

// Interrupt command register, low half.
inline constexpr u32 kIcrMode = 7U << 8, kIcrLogical = 1U << 11, kIcrPending = 1U << 12,
                     kIcrAssert = 1U << 14, kIcrLevel = 1U << 15, kIcrShorthand = 3U << 18;
inline constexpr u32 kShorthandNone = 0U << 18, kShorthandSelf = 1U << 18, kShorthandAll = 2U << 18,
                     kShorthandOthers = 3U << 18;

// Version 14h (integrated), 6 LVT entries, EOI-broadcast suppression.
inline constexpr u32 kVersionValue = 0x14U | (5U << 16) | (1U << 24);

}  // namespace droste::apic_reg
