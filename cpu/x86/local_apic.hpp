#pragma once
// The local APIC, xAPIC and x2APIC modes. SDM Vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".

#include "core/apic_bus.hpp"
#include "core/event_queue.hpp"
#include "core/types.hpp"
#include "cpu/x86/exception.hpp"

#include <array>

namespace droste {

class Vcpu;

class LocalApic {
  public:
    static constexpr u64 kDefaultBase = 0xFEE0'0000;

    explicit LocalApic(Vcpu& cpu);

    // IA32_APIC_BASE as RDMSR/WRMSR see it; false = illegal transition or reserved bits: #GP(0).
    u64 base_msr() const { return base_msr_; }
    bool write_base_msr(u64 value);
    bool x2apic_enabled() const;

    // Does the xAPIC register page answer this physical address (enabled, not x2APIC)?
    bool claims(PhysAddr address) const {
        return (address & kPageMask) == mmio_page_;
    }
    u32 mmio_read(u32 offset, unsigned bytes);
    void mmio_write(u32 offset, unsigned bytes, u32 value);
    // RDMSR/WRMSR 800h..8FFh in x2APIC mode; false = #GP(0).
    bool x2apic_read(u32 msr, u64& value);
    bool x2apic_write(u32 msr, u64 value);

    // A message from the bus that already matched this APIC.
    void accept(const InterruptMessage& message);
    bool matches(const InterruptMessage& message) const;  // physical or logical destination
    u8 arbitration_priority() const;                      // for lowest-priority delivery
    // LINT0 driven by the 8259's INTR, LINT1 by NMI.
    void set_lint(unsigned pin, bool asserted);

    // Highest-priority deliverable vector above PPR, or -1; keeps Vcpu attention::kInterrupt in step.
    int pending_vector() const;
    // ExtINT through LINT0 waiting?
    bool ext_int_pending() const;
    // INTA: moves IRR -> ISR and returns the vector (spurious vector if it vanished; ExtINT asks the 8259).
    u8 acknowledge();

    u8 tpr() const;
    void set_tpr(u8 value);  // MOV CR8 writes bits 7:4
    void set_deadline(u64 tsc_deadline);  // IA32_TSC_DEADLINE
    u64 deadline() const;

    void set_ext_int_source(ExtIntSource* source);
    void set_eoi_listener(EoiListener* listener);

    void reset();  // power-on: also IA32_APIC_BASE
    void init();   // INIT: keeps IA32_APIC_BASE and the APIC id
    u32 id() const;

  private:
    Vcpu& cpu_;
    u64 base_msr_ = 0;
    u64 mmio_page_ = ~u64{0};
};

}  // namespace droste
