#pragma once
// Bits of the VMX controls. SDM Vol. 3C, "VM-Execution Control Fields", "VM-Exit Control Fields",
// "VM-Entry Control Fields". The names are the manual's; what is advertised of them is decided in
// capabilities.cpp.

#include "core/types.hpp"

namespace droste {

// "Definitions of Pin-Based VM-Execution Controls".
namespace pin {
inline constexpr u32 kExternalInterruptExiting = 1U << 0;
inline constexpr u32 kNmiExiting = 1U << 3;
inline constexpr u32 kVirtualNmis = 1U << 5;
inline constexpr u32 kPreemptionTimer = 1U << 6;
inline constexpr u32 kPostedInterrupts = 1U << 7;
inline constexpr u32 kDefault1 = 0x16;
}  // namespace pin

// "Definitions of Primary Processor-Based VM-Execution Controls".
namespace proc {
inline constexpr u32 kInterruptWindowExiting = 1U << 2;
inline constexpr u32 kTscOffsetting = 1U << 3;
inline constexpr u32 kHltExiting = 1U << 7;
inline constexpr u32 kInvlpgExiting = 1U << 9;
inline constexpr u32 kMwaitExiting = 1U << 10;
inline constexpr u32 kRdpmcExiting = 1U << 11;
inline constexpr u32 kRdtscExiting = 1U << 12;
inline constexpr u32 kCr3LoadExiting = 1U << 15;
inline constexpr u32 kCr3StoreExiting = 1U << 16;
inline constexpr u32 kCr8LoadExiting = 1U << 19;
inline constexpr u32 kCr8StoreExiting = 1U << 20;
inline constexpr u32 kTprShadow = 1U << 21;
inline constexpr u32 kNmiWindowExiting = 1U << 22;
inline constexpr u32 kMovDrExiting = 1U << 23;
inline constexpr u32 kUnconditionalIoExiting = 1U << 24;
inline constexpr u32 kUseIoBitmaps = 1U << 25;
inline constexpr u32 kMonitorTrapFlag = 1U << 27;
inline constexpr u32 kUseMsrBitmaps = 1U << 28;
inline constexpr u32 kMonitorExiting = 1U << 29;
inline constexpr u32 kPauseExiting = 1U << 30;
inline constexpr u32 kActivateSecondary = 1U << 31;
inline constexpr u32 kDefault1 = 0x0401E172;
inline constexpr u32 kTrueDefault1 = kDefault1 & ~(kCr3LoadExiting | kCr3StoreExiting);
}  // namespace proc

// "Definitions of Secondary Processor-Based VM-Execution Controls".
namespace proc2 {
inline constexpr u32 kVirtualizeApicAccesses = 1U << 0;
inline constexpr u32 kEnableEpt = 1U << 1;
inline constexpr u32 kDescriptorTableExiting = 1U << 2;
inline constexpr u32 kEnableRdtscp = 1U << 3;
inline constexpr u32 kVirtualizeX2apicMode = 1U << 4;
inline constexpr u32 kEnableVpid = 1U << 5;
inline constexpr u32 kWbinvdExiting = 1U << 6;
inline constexpr u32 kUnrestrictedGuest = 1U << 7;
inline constexpr u32 kApicRegisterVirtualization = 1U << 8;
inline constexpr u32 kVirtualInterruptDelivery = 1U << 9;
inline constexpr u32 kPauseLoopExiting = 1U << 10;
inline constexpr u32 kRdrandExiting = 1U << 11;
inline constexpr u32 kEnableInvpcid = 1U << 12;
inline constexpr u32 kEnableVmFunctions = 1U << 13;
inline constexpr u32 kVmcsShadowing = 1U << 14;
inline constexpr u32 kEnclsExiting = 1U << 15;
inline constexpr u32 kRdseedExiting = 1U << 16;
inline constexpr u32 kEnablePml = 1U << 17;
inline constexpr u32 kEptViolationVe = 1U << 18;
inline constexpr u32 kConcealVmxFromPt = 1U << 19;
inline constexpr u32 kEnableXsaves = 1U << 20;
inline constexpr u32 kModeBasedExecute = 1U << 22;
inline constexpr u32 kSubPageWrite = 1U << 23;
inline constexpr u32 kPtUsesGuestPhysical = 1U << 24;
inline constexpr u32 kUseTscScaling = 1U << 25;
inline constexpr u32 kEnableUserWaitAndPause = 1U << 26;
}  // namespace proc2

// "VM-Exit Controls".
namespace vm_exit_control {
inline constexpr u32 kSaveDebugControls = 1U << 2;
inline constexpr u32 kHostAddressSpaceSize = 1U << 9;
inline constexpr u32 kLoadPerfGlobalCtrl = 1U << 12;
inline constexpr u32 kAcknowledgeInterrupt = 1U << 15;
inline constexpr u32 kSavePat = 1U << 18;
inline constexpr u32 kLoadPat = 1U << 19;
inline constexpr u32 kSaveEfer = 1U << 20;
inline constexpr u32 kLoadEfer = 1U << 21;
inline constexpr u32 kSavePreemptionTimer = 1U << 22;
inline constexpr u32 kLoadCetState = 1U << 28;
inline constexpr u32 kDefault1 = 0x00036DFF;
inline constexpr u32 kTrueDefault1 = kDefault1 & ~kSaveDebugControls;
}  // namespace vm_exit_control

// "VM-Entry Controls".
namespace vm_entry_control {
inline constexpr u32 kLoadDebugControls = 1U << 2;
inline constexpr u32 kIa32eModeGuest = 1U << 9;
inline constexpr u32 kEntryToSmm = 1U << 10;
inline constexpr u32 kDeactivateDualMonitor = 1U << 11;
inline constexpr u32 kLoadPerfGlobalCtrl = 1U << 13;
inline constexpr u32 kLoadPat = 1U << 14;
inline constexpr u32 kLoadEfer = 1U << 15;
inline constexpr u32 kLoadCetState = 1U << 20;
inline constexpr u32 kDefault1 = 0x000011FF;
inline constexpr u32 kTrueDefault1 = kDefault1 & ~kLoadDebugControls;
}  // namespace vm_entry_control

// Format of the VM-entry interruption-information, VM-exit interruption-information and
// IDT-vectoring fields.
namespace interruption {
inline constexpr u32 kVectorMask = 0xFF;
inline constexpr unsigned kTypeShift = 8;
inline constexpr u32 kErrorCodeValid = 1U << 11;
inline constexpr u32 kNmiUnblocking = 1U << 12;  // VM exit only
inline constexpr u32 kValid = 1U << 31;
inline constexpr u32 kTypeOther = 7;  // VM entry only: pending MTF VM exit
constexpr unsigned type_of(u32 info) {
    return (info >> kTypeShift) & 7;
}
}  // namespace interruption

// Fields of the EPT pointer. SDM Vol. 3C, "Extended-Page-Table Pointer (EPTP)".
namespace eptp {
inline constexpr u64 kMemoryType = 7, kUncacheable = 0, kWriteBack = 6;
inline constexpr u64 kWalkLengthMask = 7U << 3, kWalkLength4 = 3U << 3;
inline constexpr u64 kAccessedDirty = 1U << 6;
inline constexpr u64 kSupervisorShadowStack = 1U << 7;
inline constexpr u64 kAddressMask = 0x000F'FFFF'FFFF'F000;
}  // namespace eptp

// "VM-Function Controls".
inline constexpr u64 kVmFunctionEptpSwitching = 1U << 0;

// The controls in force, digested so that a hook tests one word. Secondary controls are 0 unless
// activated.
struct ActiveControls {
    u32 pin = 0, proc = 0, proc2 = 0, exit = 0, entry = 0;
    bool has_pin(u32 bits) const { return (pin & bits) != 0; }
    bool has(u32 bits) const { return (proc & bits) != 0; }
    bool has2(u32 bits) const { return (proc2 & bits) != 0; }
    bool has_exit(u32 bits) const { return (exit & bits) != 0; }
    bool has_entry(u32 bits) const { return (entry & bits) != 0; }
};

}  // namespace droste
