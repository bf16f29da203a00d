#pragma once
// The seam between whoever sends interrupt messages (IOAPIC, MSI, local APICs) and the local APICs.
// SDM Vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".

#include "core/types.hpp"

namespace droste {

enum class DeliveryMode : u8 {  // encodings of the ICR / redirection-table field
    Fixed = 0,
    LowestPriority = 1,
    SMI = 2,
    NMI = 4,
    INIT = 5,
    SIPI = 6,
    ExtINT = 7,
};

// In a message of the I/O APIC, of an MSI or of an ICR in xAPIC mode the destination has 8 bits, and
// all of them set mean everybody. In an ICR of x2APIC mode it has 32 bits, and FFH is one APIC.
inline constexpr u32 kEverybody = ~u32{0};
constexpr u32 destination_from_8_bits(u32 field) {
    return field == 0xFF ? kEverybody : field;
}

struct InterruptMessage {
    u32 destination = 0;  // APIC id (physical) or logical id, or kEverybody
    bool logical = false;
    bool level_triggered = false;
    bool level_assert = true;  // false only for the INIT level de-assert
    DeliveryMode mode = DeliveryMode::Fixed;
    u8 vector = 0;
    // physical id that does not hear a broadcast: the ICR's "all excluding self"
    u32 excluded_id = ~u32{0};
};

class ApicBus {
  public:
    ApicBus() = default;
    ApicBus(const ApicBus&) = delete;
    ApicBus& operator=(const ApicBus&) = delete;
    virtual ~ApicBus() = default;

    virtual void send(const InterruptMessage& message) = 0;
};

// Hears the EOI of level-triggered vectors (the IOAPIC's remote IRR).
class EoiListener {
  public:
    EoiListener() = default;
    EoiListener(const EoiListener&) = delete;
    EoiListener& operator=(const EoiListener&) = delete;
    virtual ~EoiListener() = default;

    virtual void end_of_interrupt(u8 vector) = 0;
};

// Gives the vector of an ExtINT interrupt (the 8259 pair): the INTA cycle.
class ExtIntSource {
  public:
    ExtIntSource() = default;
    ExtIntSource(const ExtIntSource&) = delete;
    ExtIntSource& operator=(const ExtIntSource&) = delete;
    virtual ~ExtIntSource() = default;

    virtual u8 acknowledge() = 0;
};

}  // namespace droste
