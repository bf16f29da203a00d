#pragma once
// Exceptions, interrupts and how a fault travels from an instruction to the delivery code.
// SDM Vol. 3A, "Interrupt and Exception Handling".

#include "core/types.hpp"

namespace droste {

enum class Exception : u8 {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    OF = 4,
    BR = 5,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    MF = 16,
    AC = 17,
    MC = 18,
    XM = 19,
    VE = 20,
    CP = 21,
};

// Values are those of the VMX interruption-type field. SDM Vol. 3C, "VM-Entry Controls for Event
// Injection".
enum class EventType : u8 {
    ExternalInterrupt = 0,
    NMI = 2,
    HardwareException = 3,
    SoftwareInterrupt = 4,            // INT n
    PrivilegedSoftwareException = 5,  // INT1
    SoftwareException = 6,            // INT3, INTO
};

// An exception or interrupt on its way to the IDT.
struct Event {
    EventType type = EventType::HardwareException;
    u8 vector = 0;
    bool has_error_code = false;
    u8 insn_length = 0;  // of INT n / INT3 / INTO / INT1: the pushed RIP points behind them
    // by a VM entry: delivery leaves CR2, DR6, DR7.GD and IA32_DEBUGCTL as they are
    bool injected = false;
    u32 error_code = 0;
    u64 payload = 0;  // #PF: linear address for CR2; #DB: bits for DR6
};

// What executing one instruction came to.
enum class Status : u8 {
    Next,      // done; RIP advances by the instruction's length; same mode
    Branch,    // done; the handler set RIP; same mode. Ends a block
    Sync,      // done; RIP advances; mode, mappings, shadows or pending events may have changed
    Switched,  // the handler set RIP (possibly to itself); anything may have changed (IRET, VM
               // exit, HLT ...)
    Fault,     // nothing was changed; cpu.fault holds the exception
};

}  // namespace droste
