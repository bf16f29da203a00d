// Interrupt messages: which are for this APIC, what they do on arrival, local interrupts, and
// sending IPIs. SDM Vol. 3A, "Handling Interrupts", "Issuing Interprocessor Interrupts" and "Local
// Interrupts".

#include "core/bits.hpp"
#include "core/log.hpp"
#include "cpu/x86/apic/apic_registers.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"

#include <bit>

namespace droste {

namespace reg = apic_reg;

namespace {

constexpr u32 kFirstLegalVector = 16;

}  // namespace

// --- 256-bit registers. ---

bool LocalApic::vector_bit(u32 base, u8 vector) const {
    return test_bit(cell(base + (vector >> 5) * 0x10U), vector & 31);
}

void LocalApic::set_vector_bit(u32 base, u8 vector, bool on) {
    u32& word = cell(base + (vector >> 5) * 0x10U);
    const u32 mask = 1U << (vector & 31);
    word = on ? word | mask : word & ~mask;
}

int LocalApic::highest_vector(u32 base) const {
    for (u32 word = 8; word-- > 0;) {
        const u32 value = cell(base + word * 0x10);
        if (value != 0) {
            return static_cast<int>(word * 32 + 31) - std::countl_zero(value);
        }
    }
    return -1;
}

// --- Destinations. SDM Vol. 3A, "Determining IPI Destination". ---

bool LocalApic::matches(const InterruptMessage& message) const {
    if (!globally_enabled() || message.excluded_id == id()) {
        return false;
    }
    const u32 destination = message.destination;
    if (destination == kEverybody) {
        return true;
    }
    if (!message.logical) {
        return destination == id();
    }
    const u32 ldr = cell(reg::kLdr);
    if (x2apic_enabled()) {
        return (destination >> 16) == (ldr >> 16) && (destination & ldr & 0xFFFF) != 0;
    }
    if (destination > 0xFF) {
        return false;
    }
    const u32 logical_id = ldr >> 24;
    if ((cell(reg::kDfr) >> 28) == 0xF) {  // flat model
        return (destination & logical_id) != 0;
    }
    // Cluster model; cluster 15 with all four bits is everybody, and never arrives here.
    return (destination >> 4) == (logical_id >> 4) && (destination & logical_id & 0xF) != 0;
}

// --- Arrival. ---

void LocalApic::accept(const InterruptMessage& message) {
    switch (message.mode) {
    case DeliveryMode::Fixed:
    case DeliveryMode::LowestPriority: accept_fixed(message.vector, message.level_triggered); break;
    case DeliveryMode::NMI: cpu_.request(attention::kNmi); break;
    case DeliveryMode::INIT:
        // The level de-assert only sets arbitration ids, which processors no longer have.
        if (message.level_assert) {
            accept_init();
        }
        break;
    case DeliveryMode::SIPI: accept_sipi(message.vector); break;
    case DeliveryMode::ExtINT:
        ext_int_message_ = true;
        update_request();
        break;
    case DeliveryMode::SMI:  // QUIRK(no-smm)
        cpu_.log.write(LogCategory::Unimplemented, "local APIC {}: SMI message ignored", id());
        break;
    default: break;
    }
}

void LocalApic::accept_fixed(u8 vector, bool level_triggered) {
    if (vector < kFirstLegalVector) {
        note_error(reg::kEsrReceivedIllegalVector);
        return;
    }
    if (!software_enabled()) {
        return;  // SDM Vol. 3A, "Local APIC State After It Has Been Software Disabled"
    }
    set_vector_bit(reg::kTmr, vector, level_triggered);
    set_vector_bit(reg::kIrr, vector, true);
    update_request();
}

// It undoes a SIPI not yet taken, unless a guest's: that makes a VM exit, and the INIT finds the
// native machine.
void LocalApic::accept_init() {
    const VmxInstructions* vmx = cpu_.vmx;
    if (vmx != nullptr && vmx->loses_init(cpu_)) {
        return;
    }
    if (vmx == nullptr || (vmx->held_back(cpu_) & attention::kInit) == 0) {
        cpu_.withdraw(attention::kSipi);
    }
    cpu_.request(attention::kInit);
}

// A SIPI means something only in the wait-for-SIPI state, which an INIT not yet taken leads to;
// otherwise it is lost.
void LocalApic::accept_sipi(u8 vector) {
    const bool waiting = cpu_.state.activity == Activity::WaitForSipi;
    const bool init_pending =
        (cpu_.attention.load(std::memory_order_relaxed) & attention::kInit) != 0;
    if (waiting || init_pending) {
        cpu_.sipi_vector = vector;
        cpu_.request(attention::kSipi);
    }
}

// SDM Vol. 3A, "Error Handling". An error already noted and not yet shown does not interrupt again.
void LocalApic::note_error(u32 esr_bit) {
    if ((errors_ & esr_bit) == 0) {
        errors_ |= esr_bit;
        deliver_local(reg::kLvtError);
    }
}

// --- Local interrupts. SDM Vol. 3A, "Local Vector Table". ---

bool LocalApic::deliver_local(u32 lvt_offset) {
    const u32 lvt = cell(lvt_offset);
    if (!globally_enabled() || (lvt & reg::kLvtMasked) != 0) {
        return false;
    }
    const bool has_mode = lvt_offset != reg::kLvtTimer && lvt_offset != reg::kLvtError;
    const bool is_lint = lvt_offset == reg::kLvtLint0 || lvt_offset == reg::kLvtLint1;
    InterruptMessage message;
    message.mode = has_mode ? static_cast<DeliveryMode>(reg::lvt_mode(lvt)) : DeliveryMode::Fixed;
    message.vector = static_cast<u8>(lvt);
    // The trigger mode counts for fixed LINT interrupts only.
    message.level_triggered =
        is_lint && message.mode == DeliveryMode::Fixed && (lvt & reg::kLvtLevel) != 0;
    if (message.mode == DeliveryMode::ExtINT) {
        return false;  // ext_int_pending() watches the pin
    }
    if (message.level_triggered) {
        cell(lvt_offset) |= reg::kLvtRemoteIrr;
    }
    accept(message);
    return true;
}

void LocalApic::set_lint(unsigned pin, bool asserted) {
    if (lint_[pin] == asserted) {
        return;
    }
    lint_[pin] = asserted;
    const u32 offset = reg::kLvtLint0 + pin * 0x10;
    if (!globally_enabled()) {
        if (pin == 1 && asserted) {
            cpu_.request(attention::kNmi);  // the NMI pin of a processor without an APIC
        }
    } else if ((cell(offset) & reg::kLvtLevel) != 0 && reg::lvt_mode(cell(offset)) == 0) {
        evaluate_lint(pin);
    } else if (asserted) {
        deliver_local(offset);
    }
    update_request();
}

// A level-triggered fixed LINT: delivers while the pin is asserted and the previous one has had its
// EOI.
void LocalApic::evaluate_lint(unsigned pin) {
    const u32 offset = reg::kLvtLint0 + pin * 0x10;
    const u32 lvt = cell(offset);
    if (lint_[pin] && (lvt & reg::kLvtLevel) != 0 && (lvt & reg::kLvtRemoteIrr) == 0 &&
        reg::lvt_mode(lvt) == 0) {
        deliver_local(offset);
    }
}

// --- Sending. SDM Vol. 3A, "Interrupt Command Register (ICR)". ---

void LocalApic::send_ipi(u32 icr_low, u32 destination) {
    InterruptMessage message;
    message.mode = static_cast<DeliveryMode>((icr_low & reg::kIcrMode) >> 8);
    message.vector = static_cast<u8>(icr_low);
    message.logical = (icr_low & reg::kIcrLogical) != 0;
    message.destination = destination;
    // Trigger mode and level mean something for INIT only: IPIs are edge-triggered.
    message.level_assert = !(message.mode == DeliveryMode::INIT &&
                             (icr_low & reg::kIcrLevel) != 0 && (icr_low & reg::kIcrAssert) == 0);
    cpu_.log.write(LogCategory::Apic, "local APIC {}: ICR {:08x} to {:x}", id(), icr_low,
                   destination);

    const bool carries_vector =
        message.mode == DeliveryMode::Fixed || message.mode == DeliveryMode::LowestPriority;
    if (carries_vector && message.vector < kFirstLegalVector) {
        note_error(reg::kEsrSendIllegalVector);
        return;
    }
    const u32 shorthand = icr_low & reg::kIcrShorthand;
    if (shorthand == reg::kShorthandSelf) {
        // Undefined for INIT and SIPI ("invalid combinations"); a processor cannot start itself, so
        // they are dropped.
        if (carries_vector || message.mode == DeliveryMode::NMI) {
            accept(message);
        }
        return;
    }
    if (shorthand != reg::kShorthandNone) {
        message.logical = false;
        message.destination = kEverybody;
        message.excluded_id = shorthand == reg::kShorthandOthers ? id() : ~0U;
    }
    if (cpu_.apic_bus != nullptr) {
        cpu_.apic_bus->send(message);
    } else if (matches(message)) {
        accept(message);
    }
}

}  // namespace droste
