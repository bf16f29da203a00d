#pragma once
// Several outputs on one wire: asserted while any of them is. ISA boards share an IRQ this way
// (COM1 and COM3 on IRQ 4), and the A20 gate is the OR of its two controllers.

#include "devices/irq/input_pin.hpp"

#include <array>
#include <cstddef>

namespace droste {

template <std::size_t kInputs>
class WiredOr {
  public:
    explicit WiredOr(IrqLine& output) : output_(output), pins_(*this) {}
    WiredOr(const WiredOr&) = delete;
    WiredOr& operator=(const WiredOr&) = delete;

    // Requires: n < kInputs.
    IrqLine& input(std::size_t n) { return pins_[n]; }

    void set_input(unsigned pin, bool asserted) {
        levels_[pin] = asserted;
        bool any = false;
        for (const bool level : levels_) {
            any = any || level;
        }
        output_.set_level(any);
    }

  private:
    IrqLine& output_;
    InputPins<WiredOr, kInputs> pins_;
    std::array<bool, kInputs> levels_{};
};

}  // namespace droste
