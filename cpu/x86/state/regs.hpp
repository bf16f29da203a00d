#pragma once
// Names and encodings of the architectural registers. SDM Vol. 1, "Basic Execution Environment".

#include "core/types.hpp"

namespace droste {

enum Gpr : u8 {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    kZeroSlot = 16,  // always 0: stands for "no base" / "no index" in an effective address
    kRipSlot = 17,   // CpuState::rip lies here, so RIP-relative needs no branch
};

enum SegReg : u8 { ES, CS, SS, DS, FS, GS, kSegRegCount };

// RFLAGS. SDM Vol. 1, "EFLAGS Register".
namespace rflags {
inline constexpr u64 kCf = 1U << 0;
inline constexpr u64 kFixed1 = 1U << 1;
inline constexpr u64 kPf = 1U << 2;
inline constexpr u64 kAf = 1U << 4;
inline constexpr u64 kZf = 1U << 6;
inline constexpr u64 kSf = 1U << 7;
inline constexpr u64 kTf = 1U << 8;
inline constexpr u64 kIf = 1U << 9;
inline constexpr u64 kDf = 1U << 10;
inline constexpr u64 kOf = 1U << 11;
inline constexpr u64 kIopl = 3U << 12;
inline constexpr u64 kNt = 1U << 14;
inline constexpr u64 kRf = 1U << 16;
inline constexpr u64 kVm = 1U << 17;
inline constexpr u64 kAc = 1U << 18;
inline constexpr u64 kVif = 1U << 19;
inline constexpr u64 kVip = 1U << 20;
inline constexpr u64 kId = 1U << 21;
inline constexpr u64 kStatus = kCf | kPf | kAf | kZf | kSf | kOf;
inline constexpr u64 kWritable =
    kStatus | kTf | kIf | kDf | kIopl | kNt | kRf | kVm | kAc | kVif | kVip | kId;
}  // namespace rflags

// SDM Vol. 3A, "Control Registers".
namespace cr0 {
inline constexpr u64 kPe = 1U << 0, kMp = 1U << 1, kEm = 1U << 2, kTs = 1U << 3, kEt = 1U << 4,
                     kNe = 1U << 5, kWp = 1U << 16, kAm = 1U << 18, kNw = 1U << 29, kCd = 1U << 30,
                     kPg = 1U << 31;
}  // namespace cr0
namespace cr4 {
inline constexpr u64 kVme = 1U << 0, kPvi = 1U << 1, kTsd = 1U << 2, kDe = 1U << 3, kPse = 1U << 4,
                     kPae = 1U << 5, kMce = 1U << 6, kPge = 1U << 7, kPce = 1U << 8,
                     kOsfxsr = 1U << 9, kOsxmmexcpt = 1U << 10, kUmip = 1U << 11, kLa57 = 1U << 12,
                     kVmxe = 1U << 13, kSmxe = 1U << 14, kFsgsbase = 1U << 16, kPcide = 1U << 17,
                     kOsxsave = 1U << 18, kSmep = 1U << 20, kSmap = 1U << 21, kPke = 1U << 22,
                     kCet = 1U << 23;
}  // namespace cr4
// SDM Vol. 4, IA32_EFER.
namespace efer {
inline constexpr u64 kSce = 1U << 0, kLme = 1U << 8, kLma = 1U << 10, kNxe = 1U << 11;
}  // namespace efer
// SDM Vol. 3B, "Debug Status Register (DR6)" and "Debug Control Register (DR7)".
namespace dr6 {
inline constexpr u64 kBd = 1U << 13, kBs = 1U << 14, kBt = 1U << 15, kRtm = 1U << 16,
                     kReset = 0xFFFF0FF0;
}  // namespace dr6
namespace dr7 {
inline constexpr u64 kGd = 1U << 13, kReset = 0x400;
}  // namespace dr7

}  // namespace droste
