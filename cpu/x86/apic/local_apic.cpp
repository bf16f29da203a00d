// Life of a local APIC: enabling and disabling it, reset, INIT, and the interrupt it offers to its
// CPU. SDM Vol. 3A, "Local APIC State".

#include "cpu/x86/apic/local_apic.hpp"

#include "core/bits.hpp"
#include "cpu/x86/apic/apic_registers.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>

namespace droste {

namespace reg = apic_reg;

namespace {

constexpr u64 kBaseBsp = bit(8);
constexpr u64 kBaseX2apic = bit(10);
constexpr u64 kBaseEnable = bit(11);
constexpr u64 kBaseMode = kBaseX2apic | kBaseEnable;

// LDR in x2APIC mode: bits 31:16 are the cluster, 15:0 have one bit set.
// SDM Vol. 3A, "Deriving Logical x2APIC ID from the Local x2APIC ID".
constexpr u32 logical_x2apic_id(u32 id) {
    return ((id >> 4) << 16) | (1U << (id & 0xF));
}

// SDM Vol. 3A, Figure "Local x2APIC State Transitions with IA32_APIC_BASE, INIT, and Reset": x2APIC
// mode is left only by disabling the APIC, and entered only from xAPIC mode.
constexpr bool transition_allowed(u64 from, u64 to) {
    switch (to & kBaseMode) {
    case 0: return true;
    case kBaseEnable: return (from & kBaseMode) != kBaseMode;
    case kBaseMode: return (from & kBaseEnable) != 0;
    default: return false;  // EXTD without EN
    }
}

}  // namespace

LocalApic::LocalApic(Vcpu& cpu)
    : cpu_(cpu)
    , timer_(cpu.events, [this](u64 deadline_ns) { timer_expired(deadline_ns); }) {
    // so that reset() sees no move: there is no translation to flush yet
    mmio_page_ = kDefaultBase;
    reset();
}

u32 LocalApic::id() const {
    return cpu_.index;
}

bool LocalApic::globally_enabled() const {
    return (base_msr_ & kBaseEnable) != 0;
}

bool LocalApic::x2apic_enabled() const {
    return (base_msr_ & kBaseMode) == kBaseMode;
}

bool LocalApic::software_enabled() const {
    return globally_enabled() && (cell(reg::kSvr) & reg::kSvrEnable) != 0;
}

bool LocalApic::write_base_msr(u64 value) {
    const u64 address_bits = (bit(cpu_.features.physical_address_bits) - 1) & kPageMask;
    const u64 extended = cpu_.features.has(Feature::X2APIC) ? kBaseX2apic : 0;
    if ((value & ~(address_bits | kBaseEnable | kBaseBsp | extended)) != 0 ||
        !transition_allowed(base_msr_, value)) {
        return false;
    }
    const u64 old = base_msr_;
    base_msr_ = value;
    if ((value & kBaseEnable) == 0 && (old & kBaseEnable) != 0) {
        clear_registers();  // what is enabled again later starts as after reset
    } else if (x2apic_enabled() && (old & kBaseX2apic) == 0) {
        // Everything else survives. SDM Vol. 3A, "x2APIC State Transitions".
        cell(reg::kId) = id();
        cell(reg::kLdr) = logical_x2apic_id(id());
        cell(reg::kIcrHigh) = 0;
    }
    refresh_mmio_page();
    update_request();
    return true;
}

// Where the register page is decides what an address means, so no translation may outlive a move.
void LocalApic::refresh_mmio_page() {
    const u64 page = globally_enabled() && !x2apic_enabled()
                         ? base_msr_ & (bit(cpu_.features.physical_address_bits) - 1) & kPageMask
                         : ~u64{0};
    if (page != mmio_page_) {
        mmio_page_ = page;
        cpu_.tlb.flush_all(cpu_);
        if (cpu_.vmx != nullptr) {
            cpu_.vmx->physical_addresses_changed();
        }
    }
}

// SDM Vol. 3A, "Local APIC State After Power-Up or Reset".
void LocalApic::clear_registers() {
    timer_.disarm();
    count_from_ = 0;
    tsc_deadline_ = 0;
    errors_ = 0;
    ext_int_message_ = false;
    registers_.fill(0);
    cell(reg::kId) = x2apic_enabled() ? id() : id() << 24;
    cell(reg::kVersion) = reg::kVersionValue;
    cell(reg::kLdr) = x2apic_enabled() ? logical_x2apic_id(id()) : 0;
    cell(reg::kDfr) = ~0U;
    cell(reg::kSvr) = 0xFF;
    for (const u32 lvt : {reg::kLvtTimer, reg::kLvtThermal, reg::kLvtPerformance, reg::kLvtLint0,
                          reg::kLvtLint1, reg::kLvtError}) {
        cell(lvt) = reg::kLvtMasked;
    }
}

void LocalApic::reset() {
    const u64 enable = cpu_.features.has(Feature::APIC) ? kBaseEnable : 0;
    base_msr_ = kDefaultBase | enable | (cpu_.index == 0 ? kBaseBsp : 0);
    clear_registers();
    refresh_mmio_page();
    update_request();
}

// SDM Vol. 3A, "Local APIC State After an INIT Reset ("Wait-for-SIPI" State)".
void LocalApic::init() {
    clear_registers();
    update_request();
}

void LocalApic::enable_virtual_wire() {
    cell(reg::kSvr) = reg::kSvrEnable | 0xFF;
    cell(reg::kLvtLint0) = static_cast<u32>(DeliveryMode::ExtINT) << 8;
    cell(reg::kLvtLint1) = static_cast<u32>(DeliveryMode::NMI) << 8;
    update_request();
}

void LocalApic::set_ext_int_source(ExtIntSource* source) {
    ext_int_source_ = source;
}

void LocalApic::set_eoi_listener(EoiListener* listener) {
    eoi_listener_ = listener;
}

// --- Priorities and acceptance. SDM Vol. 3A, "Interrupt, Task, and Processor Priority". ---

u8 LocalApic::tpr() const {
    return static_cast<u8>(cell(reg::kTpr));
}

void LocalApic::set_tpr(u8 value) {
    cell(reg::kTpr) = value;
    update_request();
}

u8 LocalApic::ppr() const {
    const u32 task = cell(reg::kTpr) & 0xFF;
    const u32 in_service = static_cast<u32>(std::max(highest_vector(reg::kIsr), 0));
    // With equal classes bits 3:0 may be those of TPR or 0; TPR's are what APIC virtualization
    // prescribes.
    return static_cast<u8>((task >> 4) >= (in_service >> 4) ? task : in_service & 0xF0);
}

u8 LocalApic::arbitration_priority() const {
    const u32 task = cell(reg::kTpr) & 0xFF;
    const u32 in_service = static_cast<u32>(std::max(highest_vector(reg::kIsr), 0));
    const u32 requested = static_cast<u32>(std::max(highest_vector(reg::kIrr), 0));
    if ((task >> 4) >= (requested >> 4) && (task >> 4) > (in_service >> 4)) {
        return static_cast<u8>(task);
    }
    return static_cast<u8>(std::max({task >> 4, in_service >> 4, requested >> 4}) << 4);
}

int LocalApic::pending_vector() const {
    if (!globally_enabled()) {
        return -1;
    }
    const int vector = highest_vector(reg::kIrr);
    return vector >= 0 && (vector >> 4) > (ppr() >> 4) ? vector : -1;
}

// With the APIC globally disabled LINT0 is the INTR pin of a processor without an APIC.
bool LocalApic::ext_int_pending() const {
    if (!globally_enabled()) {
        return lint_[0];
    }
    const u32 lvt = cell(reg::kLvtLint0);
    const bool through_pin = lint_[0] && (lvt & reg::kLvtMasked) == 0 &&
                             reg::lvt_mode(lvt) == static_cast<u32>(DeliveryMode::ExtINT);
    return through_pin || ext_int_message_;
}

u8 LocalApic::acknowledge() {
    // ExtINT knows no priority: TPR does not hold it back.
    if (ext_int_pending()) {
        ext_int_message_ = false;
        const u8 vector = ext_int_source_ != nullptr ? ext_int_source_->acknowledge() : u8{0xFF};
        update_request();
        return vector;
    }
    const int pending = pending_vector();
    if (pending < 0) {
        return static_cast<u8>(cell(reg::kSvr));  // SDM Vol. 3A, "Spurious Interrupt": no ISR bit
    }
    const auto vector = static_cast<u8>(pending);
    set_vector_bit(reg::kIrr, vector, false);
    set_vector_bit(reg::kIsr, vector, true);
    update_request();
    return vector;
}

void LocalApic::update_request() {
    if (pending_vector() >= 0 || ext_int_pending()) {
        cpu_.request(attention::kInterrupt);
    } else {
        cpu_.withdraw(attention::kInterrupt);
    }
}

}  // namespace droste
