#pragma once
// The local APIC, xAPIC and x2APIC modes. SDM Vol. 3A, "Advanced Programmable Interrupt Controller
// (APIC)".
//
// All registers live in one array indexed as the 4-KByte register page is (apic/apic_registers.hpp
// names the offsets), so MMIO and MSRs speak of the same cells.
// What an access may do is a table of rows (apic/local_apic_registers.cpp); messages are in
// local_apic_messages.cpp, the timer in local_apic_timer.cpp. docs/x86/apic.md has the choices the
// manual leaves open.
//
// Invariant: attention::kInterrupt of the vCPU is set exactly while pending_vector() >= 0 or
// ext_int_pending(); update_request() is called after every change of IRR, ISR, TPR, SVR, LINT0 and
// the enable bits.

#include "core/apic_bus.hpp"
#include "core/event_queue.hpp"
#include "core/types.hpp"
#include "cpu/x86/state/exception.hpp"

#include <array>

namespace droste {

class Vcpu;

class LocalApic {
  public:
    static constexpr u64 kDefaultBase = 0xFEE0'0000;
    // What the timer counts before its divider: CPUID leaf 15H, ECX. 40 ns a tick.
    static constexpr u64 kCrystalHz = 25'000'000;

    explicit LocalApic(Vcpu& cpu);

    // IA32_APIC_BASE as RDMSR/WRMSR see it; false = illegal transition or reserved bits: #GP(0).
    u64 base_msr() const { return base_msr_; }
    bool write_base_msr(u64 value);
    bool x2apic_enabled() const;
    bool globally_enabled() const;  // IA32_APIC_BASE[11]; also what CPUID.01H:EDX.APIC shows

    // Does the xAPIC register page answer this physical address (enabled, not x2APIC)?
    bool claims(PhysAddr address) const { return (address & kPageMask) == mmio_page_; }
    u32 mmio_read(u32 offset, unsigned bytes);
    void mmio_write(u32 offset, unsigned bytes, u32 value);
    // RDMSR/WRMSR 800h..8FFh in x2APIC mode; false = #GP(0).
    bool x2apic_read(u32 msr, u64& value);
    bool x2apic_write(u32 msr, u64 value);

    // A message from the bus that already matched this APIC.
    void accept(const InterruptMessage& message);
    bool matches(const InterruptMessage& message) const;  // physical or logical destination
    bool software_enabled() const;                        // SVR[8]: takes fixed interrupts
    u8 arbitration_priority() const;                      // for lowest-priority delivery
    // LINT0 driven by the 8259's INTR, LINT1 by NMI.
    void set_lint(unsigned pin, bool asserted);

    // Highest-priority deliverable vector above PPR, or -1; keeps Vcpu attention::kInterrupt in
    // step.
    int pending_vector() const;
    // ExtINT through LINT0 waiting?
    bool ext_int_pending() const;
    // INTA: moves IRR -> ISR and returns the vector (spurious vector if it vanished; ExtINT asks
    // the 8259).
    u8 acknowledge();

    u8 tpr() const;
    void set_tpr(u8 value);  // MOV CR8 writes bits 7:4
    u8 ppr() const;
    void set_deadline(u64 tsc_deadline);  // IA32_TSC_DEADLINE
    u64 deadline() const;
    void tsc_changed();  // CpuState::tsc_offset moved: an armed deadline is now nearer or farther

    void set_ext_int_source(ExtIntSource* source);
    void set_eoi_listener(EoiListener* listener);

    void reset();  // power-on: also IA32_APIC_BASE
    void init();   // INIT: keeps IA32_APIC_BASE and the APIC id
    u32 id() const;
    // What firmware leaves on the bootstrap processor: enabled, LINT0 = ExtINT, LINT1 = NMI
    // ("virtual wire mode").
    void enable_virtual_wire();

    // The cell behind a register-page offset (16-byte aligned, below 400h), without side effects.
    u32 register_at(u32 offset) const { return registers_[offset >> 4]; }

  private:
    static constexpr unsigned kRegisters = 64;

    u32& cell(u32 offset) { return registers_[offset >> 4]; }
    u32 cell(u32 offset) const { return registers_[offset >> 4]; }
    void clear_registers();
    void refresh_mmio_page();
    void update_request();

    // local_apic_registers.cpp
    u32 read_register(u32 offset);
    void write_register(u32 offset, u32 value);
    void write_lvt(u32 offset, u32 value);
    void write_spurious_vector(u32 value);
    void end_of_interrupt();

    // local_apic_messages.cpp: a 256-bit register (ISR, TMR, IRR) is eight cells.
    bool vector_bit(u32 base, u8 vector) const;
    void set_vector_bit(u32 base, u8 vector, bool on);
    int highest_vector(u32 base) const;
    void accept_fixed(u8 vector, bool level_triggered);
    void accept_init();
    void accept_sipi(u8 vector);
    void note_error(u32 esr_bit);
    bool deliver_local(
        u32 lvt_offset);  // an LVT's interrupt happens now; false: masked or not delivered
    void evaluate_lint(unsigned pin);
    void send_ipi(u32 icr_low, u32 destination);

    // local_apic_timer.cpp
    u64 tick_ns() const;
    u32 current_count() const;
    void start_timer(u32 count);
    void rescale_timer(u32 divide_configuration);
    void change_timer_mode(u32 old_lvt, u32 new_lvt);
    void arm_deadline();
    void timer_expired(u64 deadline_ns);

    Vcpu& cpu_;
    u64 base_msr_ = 0;
    u64 mmio_page_ = ~u64{0};
    std::array<u32, kRegisters> registers_{};
    u32 errors_ = 0;                // ESR bits since the last write to ESR, which shows them
    std::array<bool, 2> lint_{};    // level of the LINT pins
    bool ext_int_message_ = false;  // an ExtINT message (not the pin) waits for its INTA cycle
    ExtIntSource* ext_int_source_ = nullptr;
    EoiListener* eoi_listener_ = nullptr;

    Timer timer_;
    u64 count_start_ns_ = 0;  // when the present count-down began, at count_from_
    u32 count_from_ = 0;      // 0: not counting
    u64 tsc_deadline_ = 0;    // 0: not armed
};

}  // namespace droste
