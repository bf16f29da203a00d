#pragma once
// The interrupt-message bus of a machine: finds which local APICs a message is for.
// SDM Vol. 3A, "Determining IPI Destination" and "Lowest Priority Delivery Mode".

#include "core/apic_bus.hpp"
#include "core/log.hpp"

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace droste {

class LocalApic;

class LocalApicBus final : public ApicBus {
  public:
    explicit LocalApicBus(Log& log) : log_(log) {}

    // In the order of their ids; borrowed.
    void attach(LocalApic& apic) { apics_.push_back(&apic); }
    void send(const InterruptMessage& message) override;
    // Told the index (in order of attachment) of each APIC that accepted a message.
    void set_listener(std::function<void(std::size_t index)> listener) {
        listener_ = std::move(listener);
    }

    u64 messages() const { return messages_; }

  private:
    void send_lowest_priority(const InterruptMessage& message);
    void give(std::size_t index, const InterruptMessage& message);

    Log& log_;
    std::vector<LocalApic*> apics_;
    std::size_t last_lowest_ = 0;  // who took the last lowest-priority message: ties go round
    u64 messages_ = 0;
    std::function<void(std::size_t)> listener_;
};

}  // namespace droste
