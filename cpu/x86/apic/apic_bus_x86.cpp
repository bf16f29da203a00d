#include "cpu/x86/apic/apic_bus_x86.hpp"

#include "cpu/x86/apic/local_apic.hpp"

namespace droste {

void LocalApicBus::send(const InterruptMessage& message) {
    ++messages_;
    if (message.mode == DeliveryMode::LowestPriority) {
        send_lowest_priority(message);
        return;
    }
    bool heard = false;
    for (std::size_t index = 0; index < apics_.size(); ++index) {
        if (apics_[index]->matches(message)) {
            give(index, message);
            heard = true;
        }
    }
    if (!heard) {
        log_.write(LogCategory::Apic,
                   "interrupt message: vector {:02x} mode {} to {:x}: nobody there", message.vector,
                   static_cast<unsigned>(message.mode), message.destination);
    }
}

// The APIC whose arbitration priority is lowest takes it. SDM Vol. 3A, "Lowest Priority Delivery
// Mode". Ties go to the next one after the last that took such a message, so that idle CPUs share
// the work and a run repeats exactly.
void LocalApicBus::send_lowest_priority(const InterruptMessage& message) {
    LocalApic* best = nullptr;
    std::size_t best_index = 0;
    for (std::size_t step = 1; step <= apics_.size(); ++step) {
        const std::size_t index = (last_lowest_ + step) % apics_.size();
        LocalApic* apic = apics_[index];
        if (!apic->software_enabled() || !apic->matches(message)) {
            continue;
        }
        if (best == nullptr || apic->arbitration_priority() < best->arbitration_priority()) {
            best = apic;
            best_index = index;
        }
    }
    if (best != nullptr) {
        last_lowest_ = best_index;
        give(best_index, message);
    }
}

void LocalApicBus::give(std::size_t index, const InterruptMessage& message) {
    apics_[index]->accept(message);
    if (listener_) {
        listener_(index);
    }
}

}  // namespace droste
